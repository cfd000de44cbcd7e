//! Finds the flight of an HTTP request: its key, partition and hashes.

use crate::http::{
    path::path_hash,
    request::partition::Partition,
    settings::{HttpMode, PolicyId},
};
use crate::{core::key::Address, layer::settings::Settings};
use http::Request;
use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

/// The key of a flight: the user's key, the partition and the policy. A clone shares them.
pub(super) struct FlightKey<K>(Arc<KeyParts<K>>);

struct KeyParts<K> {
    key: UserKey<K>,
    partition: Partition,
    /// Requests under different policies do not share: the leader's policy compares requests and
    /// judges the response.
    policy: PolicyId,
}

/// The key that the user's closure returned.
enum UserKey<K> {
    Own(K),
    /// The key of another flight, that this caller was in before. A key need not be `Clone`.
    Of(FlightKey<K>),
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
        Self(Arc::new(KeyParts { key: UserKey::Own(key), partition, policy }))
    }

    /// Returns the same user's key with another partition.
    fn with_partition(&self, partition: Partition) -> Self {
        let origin = match &self.0.key {
            UserKey::Own(_) => self,
            UserKey::Of(origin) => origin,
        };
        Self(Arc::new(KeyParts {
            key: UserKey::Of(origin.clone()),
            partition,
            policy: self.0.policy,
        }))
    }

    #[inline]
    pub(super) fn user_key(&self) -> &K {
        match &self.0.key {
            UserKey::Own(key) => key,
            UserKey::Of(origin) => origin.user_key(),
        }
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

impl<M: HttpMode> Settings<M> {
    /// Hashes the key that the user's closure returned.
    #[inline]
    pub(super) fn hashed_key(
        &self,
        key: M::Key,
        head: &Request<()>,
        partition: Partition,
    ) -> HashedKey<M::Key> {
        let address = self.flight_address(&key, head, &partition);
        HashedKey { address, key: FlightKey::new(key, partition, self.http().id) }
    }

    /// Puts the user's key of a flight into another partition.
    pub(super) fn rehashed_key(
        &self,
        key: &FlightKey<M::Key>,
        head: &Request<()>,
        partition: Partition,
    ) -> HashedKey<M::Key> {
        let address = self.flight_address(key.user_key(), head, &partition);
        HashedKey { address, key: key.with_partition(partition) }
    }

    /// The shard depends on the user's key alone: all flights of one key are in one shard, and are
    /// forgotten together.
    #[inline]
    fn flight_address(&self, key: &M::Key, head: &Request<()>, partition: &Partition) -> Address {
        // The key may be long, so one pass over it gives both hashes. `shard` equals the hash in
        // `LayerShared::address`.
        let mut hasher = self.http().keys.layer.hasher.build_hasher();
        key.hash(&mut hasher);
        let shard = hasher.finish();
        partition.hash(&mut hasher);
        Address { shard, hash: hasher.finish(), path: path_hash(head) }
    }
}

impl<K: PartialEq> PartialEq for FlightKey<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.policy == other.0.policy
            && self.user_key() == other.user_key()
            && self.0.partition == other.0.partition
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
