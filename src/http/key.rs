//! Finds the flight of an HTTP request: its key, partition and hashes.

use crate::http::{layer::Http, layer::PolicyId, path::path_hash, request::partition::Partition};
use crate::{core::key::Address, layer::settings::Settings};
use http::Request;
use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

/// The key of a flight: the user's key, the partition and the policy. A clone shares them.
pub(super) struct FlightKey<K>(Arc<KeyParts<K>>);

struct KeyParts<K> {
    key: K,
    partition: Partition,
    /// Requests under different policies do not share: the leader's policy compares requests and judges the response.
    policy: PolicyId,
}

/// The key of a flight, and the hashes that find it in a table.
pub(super) struct HashedKey<K> {
    pub(super) address: Address,
    pub(super) key: FlightKey<K>,
}

/// The flight that a call belongs to.
pub(super) enum FlightRef<K> {
    /// No flight. The response is not recorded in `UnshareableKeys`.
    Untracked,
    /// No flight. The response is recorded in `UnshareableKeys` under this hash.
    Hash(u64),
    Flight(HashedKey<K>),
}

impl<K> FlightKey<K> {
    pub(super) fn new(key: K, partition: Partition, policy: PolicyId) -> Self {
        Self(Arc::new(KeyParts { key, partition, policy }))
    }

    pub(super) fn user_key(&self) -> &K {
        &self.0.key
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.0.partition
    }
}

impl<K> FlightRef<K> {
    /// The hash under which the response is recorded in `UnshareableKeys`.
    pub(super) fn hash(&self) -> Option<u64> {
        match self {
            Self::Untracked => None,
            Self::Hash(hash) => Some(*hash),
            Self::Flight(key) => Some(key.address.hash),
        }
    }

    pub(super) fn key(&self) -> Option<&HashedKey<K>> {
        match self {
            Self::Flight(key) => Some(key),
            Self::Untracked | Self::Hash(_) => None,
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Settings<Http<K>> {
    /// Calls the user's key closure and hashes the key.
    ///
    /// The shard depends on the user's key alone: all flights of one key are in one shard, and are forgotten together.
    pub(super) fn hashed_key(&self, head: &Request<()>, partition: Partition) -> HashedKey<K> {
        let key = self.mode.keys.key(head);
        // The key may be long, so one pass over it gives both hashes. `shard` equals the hash in `LayerShared::address`.
        let mut hasher = self.mode.keys.layer.hasher.build_hasher();
        key.hash(&mut hasher);
        let shard = hasher.finish();
        partition.hash(&mut hasher);
        let address = Address { shard, hash: hasher.finish(), path: path_hash(head) };
        HashedKey { address, key: FlightKey::new(key, partition, self.mode.id) }
    }
}

impl<K: PartialEq> PartialEq for FlightKey<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.policy == other.0.policy && self.0.key == other.0.key && self.0.partition == other.0.partition
    }
}

impl<K: Eq> Eq for FlightKey<K> {}

impl<K> Clone for FlightKey<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Clone for HashedKey<K> {
    fn clone(&self) -> Self {
        Self { address: self.address, key: self.key.clone() }
    }
}
