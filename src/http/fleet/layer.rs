//! What a layer knows of its fleet.

use crate::http::{
    fleet::listed::{Listed, Listing, What},
    key::HashedKey,
    policy::HttpPolicy,
};
use crate::{
    fleet::{
        Fleet,
        engine::Tag,
        key::{FleetKey, KeyWriter},
        name::{Names, Subject},
        node::Sealing,
    },
    layer::{shared::ForgetsElsewhere, tables::GroupTables},
};
use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{Arc, Weak},
};

/// The fleet of a layer.
pub(in crate::http) struct LayerFleet<K> {
    fleet: Fleet,
    name: Arc<str>,
    write: fn(&K, &mut KeyWriter),
    names: Names,
    group: Arc<GroupTables<K>>,
    listed: Arc<Listed<K>>,
    /// Whether a write concerns the flights of its key, and not those of its path.
    ignores_path: bool,
}

// The first byte of what a tag is made of.
const PATH: u8 = 0;
const KEY: u8 = 1;
const FORGOTTEN: u8 = 2;

/// Hashes a key as every process of one build does. Two builds may differ, so this only finds
/// flights to forget.
pub(in crate::http) fn forget_hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

impl<K: Hash + Eq + Send + Sync + 'static> LayerFleet<K> {
    pub(in crate::http) fn new(
        fleet: &Fleet,
        name: &str,
        group: Arc<GroupTables<K>>,
        policy: &HttpPolicy,
    ) -> Arc<Self>
    where
        K: FleetKey,
    {
        Self::make(fleet.clone(), name.into(), K::write, group, policy)
    }

    /// The same fleet for a layer with another policy.
    pub(in crate::http) fn with_policy(&self, policy: &HttpPolicy) -> Arc<Self> {
        Self::make(self.fleet.clone(), self.name.clone(), self.write, self.group.clone(), policy)
    }

    fn make(
        mut fleet: Fleet,
        name: Arc<str>,
        write: fn(&K, &mut KeyWriter),
        group: Arc<GroupTables<K>>,
        policy: &HttpPolicy,
    ) -> Arc<Self> {
        fleet.config.layer = name.clone();
        let names = fleet.node.secret.names(&name, &fleet.config.version, &policy.fingerprint());
        let (listed, ignores_path) = (Listed::new(group.clone()), policy.request.ignore_path);
        let layer = Arc::new(Self { fleet, name, write, names, group, listed, ignores_path });
        let sealing: Weak<dyn Sealing> = Arc::downgrade(&(layer.clone() as Arc<dyn Sealing>));
        layer.fleet.node.watch(layer.names.group(), sealing);
        layer
    }

    /// Lists a flight until the value is dropped.
    pub(super) fn list(&self, key: &HashedKey<K>) -> Listing<K> {
        let (user_key, address) = (key.key.user_key(), key.address);
        let what =
            if self.ignores_path { What::Key(address.shard) } else { What::Path(address.path) };
        let strict = (self.tag_of(user_key, address.path), what);
        self.listed.list(strict, self.forget_tag(forget_hash(user_key)), address)
    }

    /// Names a flight.
    pub(super) fn subject(&self, key: &HashedKey<K>) -> Subject {
        let user_key = key.key.user_key();
        let tag = self.tag_of(user_key, key.address.path);
        self.names.subject(tag, &self.bytes_of(user_key), key.key.partition().compared())
    }

    pub(super) fn tag_of(&self, key: &K, path: u64) -> Tag {
        if self.ignores_path { self.key_tag(key) } else { self.path_tag(path) }
    }

    /// The tag of a write to this key, where the policy ignores the path.
    fn key_tag(&self, key: &K) -> Tag {
        let mut text = vec![KEY];
        text.extend_from_slice(&self.bytes_of(key));
        self.names.tag(&text)
    }

    fn bytes_of(&self, key: &K) -> Vec<u8> {
        let mut writer = KeyWriter::new();
        (self.write)(key, &mut writer);
        writer.into_bytes()
    }
}

impl<K> LayerFleet<K> {
    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn group(&self) -> &str {
        self.names.group()
    }

    /// The tag of a write to the path with this hash.
    pub(super) fn path_tag(&self, path: u64) -> Tag {
        self.hash_tag(PATH, path)
    }

    /// The tag with which the key with this hash is forgotten.
    pub(super) fn forget_tag(&self, hash: u64) -> Tag {
        self.hash_tag(FORGOTTEN, hash)
    }

    fn hash_tag(&self, what: u8, hash: u64) -> Tag {
        let mut text = [what; 9];
        text[1..].copy_from_slice(&hash.to_be_bytes());
        self.names.tag(&text)
    }
}

impl<K: Send + Sync> Sealing for LayerFleet<K> {
    fn sealed(&self, tag: &Tag) {
        self.seal_here(tag);
    }
}

impl<K> LayerFleet<K> {
    /// Seals the flights of this replica that a write concerns, with or without callers here.
    pub(super) fn seal_here(&self, tag: &Tag) {
        self.listed.seal(tag, &self.fleet.node);
    }
}

impl<K: Send + Sync> ForgetsElsewhere for LayerFleet<K> {
    fn forget(&self, hash: u64) {
        let tag = self.forget_tag(hash);
        self.seal_here(&tag);
        self.seal_later(vec![tag]);
    }
}
