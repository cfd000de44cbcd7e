//! What a layer knows of its fleet.

use crate::http::{
    fleet::listed::{Listed, Listing, What},
    key::HashedKey,
    path::path_bytes,
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
    layer::{hashed_bytes::hashed_bytes, shared::ForgetsElsewhere, tables::GroupTables},
    panics::CaughtPanic,
};
use http::Request;
use std::{
    collections::BTreeSet,
    hash::Hash,
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
    /// The tag with which all keys are forgotten.
    all: Tag,
}

// The first byte of what a tag is made of. Behind it are the bytes of the path or key, so that all
// builds on all machines make the same tags.
const PATH: u8 = 0;
const KEY: u8 = 1;
const FORGOTTEN: u8 = 2;
const ALL: u8 = 3;

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
        let (listed, ignores_path) = (Listed::new(), policy.request.ignore_path);
        let all = names.tag(&[ALL]);
        let layer = Arc::new(Self { fleet, name, write, names, group, listed, ignores_path, all });
        let sealing: Weak<dyn Sealing> = Arc::downgrade(&(layer.clone() as Arc<dyn Sealing>));
        layer.fleet.node.watch(layer.names.group(), sealing);
        layer
    }

    /// Lists a flight until the value is dropped.
    pub(super) fn list(&self, key: &HashedKey<K>, path: &[u8]) -> Listing<K> {
        let (user_key, address) = (key.key.user_key(), key.address);
        let by_key = What::Key(address.shard);
        let mut tags = vec![
            (self.tag(PATH, path), What::Path(address.path)),
            (self.forget_tag(&hashed_bytes(user_key)), by_key),
        ];
        if self.ignores_path {
            tags.insert(0, (self.key_tag(user_key), by_key));
        }
        self.listed.list(key.key.clone(), tags)
    }

    /// Names a flight. `tag`: that of the writes that concern it.
    pub(super) fn subject(&self, key: &HashedKey<K>, tag: Tag) -> Subject {
        let bytes = self.bytes_of(key.key.user_key());
        self.names.subject(tag, &bytes, key.key.partition().compared())
    }

    /// The tags of the flights that a write concerns. `key`: its key, if it is known.
    ///
    /// Another layer with this name may have a policy that ignores the path, or does not. So both
    /// tags go out, wherever both are known.
    pub(super) fn tags_of_write(&self, key: Option<&K>, head: &Request<()>) -> Vec<Tag> {
        let mut tags = vec![self.path_tag(head)];
        match key {
            Some(key) => {
                tags.push(self.forget_tag(&hashed_bytes(key)));
                if self.ignores_path {
                    tags.push(self.key_tag(key));
                }
            }
            // Any flight may be of its key.
            None => tags.push(self.all),
        }
        tags
    }

    fn key_tag(&self, key: &K) -> Tag {
        self.tag(KEY, &self.bytes_of(key))
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

    /// The tag of the writes to the path of this request.
    fn path_tag(&self, head: &Request<()>) -> Tag {
        self.tag(PATH, &path_bytes(head))
    }

    /// The tag with which a key is forgotten that gives these bytes to a hasher.
    pub(super) fn forget_tag(&self, hashed: &[u8]) -> Tag {
        self.tag(FORGOTTEN, hashed)
    }

    fn tag(&self, what: u8, bytes: &[u8]) -> Tag {
        self.names.tag(&[&[what], bytes].concat())
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
        let tag = Some(tag).filter(|tag| **tag != self.all);
        self.listed.seal(tag, &self.group, &self.fleet.node);
    }

    /// Seals the flights of all layers of this replica: a clone with another policy has flights of
    /// its own. Returns the panic of a key's `Drop`, if there was one.
    pub(super) fn seal_replica(&self, tags: &[Tag]) -> CaughtPanic {
        let mut caught = CaughtPanic::default();
        tags.iter().for_each(|tag| caught.run(|| self.fleet.node.sealed(tag)));
        caught
    }

    fn forget_tags(&self, tags: Vec<Tag>) {
        // Before a call can miss the flights here, and find one of another replica.
        let forgetting = self.fleet.node.forgetting(&tags);
        let sealed = self.seal_replica(&tags);
        drop(self.seal_later(tags, Some(forgetting)));
        sealed.resume();
    }

    /// True if the flight's key was forgotten here, and the other replicas may not know of it yet.
    pub(super) fn is_forgetting(&self, listing: &Listing<K>) -> bool {
        self.fleet.node.is_forgetting(&[listing.forgotten(), self.all])
    }
}

impl<K: Send + Sync> ForgetsElsewhere<K> for LayerFleet<K> {
    fn forget(&self, keys: &BTreeSet<Vec<u8>>) {
        self.forget_tags(keys.iter().map(|hashed| self.forget_tag(hashed)).collect());
    }

    fn forget_all(&self) {
        self.forget_tags(vec![self.all]);
    }

    fn forget_all_here(&self) {
        self.seal_here(&self.all);
    }

    fn for_each_deserted(&self, visit: &mut dyn FnMut(&K)) {
        self.listed.for_each_deserted(&self.fleet.node, visit);
    }
}

#[cfg(all(test, feature = "fleet-testing"))]
mod tests {
    use super::*;
    use crate::{fleet::testing::MemoryEngine, http::path::path_hash};

    fn layer(policy: HttpPolicy) -> Arc<LayerFleet<String>> {
        let fleet = Fleet::new(MemoryEngine::new(), "0123456789abcdef");
        LayerFleet::new(&fleet, "reports", Arc::default(), &policy)
    }

    fn write(uri: &str) -> Request<()> {
        Request::put(uri).body(()).unwrap()
    }

    /// From another implementation of HMAC (Python's). They must not change without a new version
    /// of the protocol: a write through one build has to seal the flights of another.
    #[test]
    fn the_tags_are_known() {
        let by_path = layer(HttpPolicy::new());
        let by_key = layer(HttpPolicy::new().ignore_path(true));
        let key = &"key".to_owned();
        for (tag, known) in [
            (by_path.path_tag(&write("/items/7")), "6317258a33263a072cb60afdbb739d7f"),
            (by_path.path_tag(&write("/items/%37?a")), "6317258a33263a072cb60afdbb739d7f"),
            (by_path.path_tag(&write("http://host?a")), "978c13588fe52a1e6ebc1fdf4018496f"),
            (by_path.path_tag(&write("http://host/")), "978c13588fe52a1e6ebc1fdf4018496f"),
            (by_key.key_tag(key), "1dfd409e79f9c998de80fea6e2210ecc"),
            (by_key.all, "016f127502c57282a82de412d5e72582"),
            (by_path.forget_tag(&hashed_bytes("key")), "04bb8f67b058dda34ca0fd9311134d63"),
        ] {
            assert_eq!(tag.to_string(), known);
        }
    }

    #[test]
    fn paths_with_one_hash_have_tags_of_their_own() {
        let [one, other] = ["/16mts56aa00aa0b", "/am89oz6baRYXtI~"].map(write);
        assert_eq!(path_hash(&one), path_hash(&other));
        let layer = layer(HttpPolicy::new());
        assert_ne!(layer.path_tag(&one), layer.path_tag(&other));
    }
}
