//! The responses of a group that newcomers may join late, by key.

use crate::http::{
    body::SharedBody,
    key::{FlightKey, HashedKey},
    late::{LateStream, listed_body::UnlistOnDrop},
};
use crate::{
    core::key::Address,
    core::reentry,
    panics::CaughtPanic,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use hashbrown::HashTable;
use http::{HeaderMap, Response};
use std::sync::Arc;

/// Late streams, at most one for each key: the latest.
pub(in crate::http) struct LateTable<K> {
    /// The length of `streams`. While it is zero, a lookup takes no lock.
    count: AtomicUsize,
    /// How often a stream was listed.
    lists: AtomicUsize,
    streams: Mutex<HashTable<LateEntry<K>>>,
}

struct LateEntry<K> {
    address: Address,
    key: FlightKey<K>,
    stream: Arc<LateStream>,
}

impl<K: Eq + Send + Sync + 'static> LateTable<K> {
    /// Lists a stream until `unlist` is dropped. Does nothing if `is_open` says that its flight was
    /// sealed.
    ///
    /// This runs inside the flight, whose waiters are not concerned by a panic in the `Eq` or
    /// `Drop` of a key. So such a panic ends here. After a panic in `Eq` the stream is not listed.
    pub(in crate::http) fn list(
        self: &Arc<Self>,
        key: &HashedKey<K>,
        stream: LateStream,
        unlist: &UnlistOnDrop<K>,
        is_open: impl Fn() -> bool,
    ) {
        let (address, stream) = (key.address, Arc::new(stream));
        unlist.arm(self, address, stream.clone());
        let mut caught = CaughtPanic::default();
        let closed =
            self.insert(LateEntry { address, key: key.key.clone(), stream }, is_open, &mut caught);
        if let Some(closed) = closed {
            caught.run(|| closed.stream.close());
            caught.drop_caught(closed);
        }
        caught.forget();
    }

    /// Returns the entry that is closed by this: an earlier one of the same key, or the new one if
    /// its flight was sealed.
    fn insert(
        &self,
        entry: LateEntry<K>,
        is_open: impl Fn() -> bool,
        caught: &mut CaughtPanic,
    ) -> Option<LateEntry<K>> {
        let (hash, mut earlier) = (entry.address.hash, None);
        let mut streams = self.streams.lock();
        // This is asked under the lock. A write that seals the flight later finds the stream in the
        // table.
        if !is_open() {
            return Some(entry);
        }
        caught.run(|| earlier = remove(&mut streams, hash, |listed| listed.key == entry.key));
        if caught.is_some() {
            return Some(entry);
        }
        streams.insert_unique(hash, entry, |entry| entry.address.hash);
        self.count.store(streams.len(), Ordering::Release);
        self.lists.fetch_add(1, Ordering::Release);
        earlier
    }

    /// Returns the response for a newcomer, if it may have it.
    pub(in crate::http) fn join(
        &self,
        key: &HashedKey<K>,
        headers: &HeaderMap,
    ) -> Option<Response<SharedBody>> {
        let stream = self.find(key)?;
        stream.accepts(headers).then(|| stream.join())?
    }

    /// True if this code runs inside the body of this key's stream. It must not wait for that body,
    /// nor for the flight that listed it and may not have landed yet.
    pub(in crate::http) fn is_inside(&self, key: &HashedKey<K>) -> bool {
        if self.is_empty() || reentry::innermost().is_none() {
            return false;
        }
        // A call inside an ended body waits for nothing when it takes what is held.
        self.find(key).is_some_and(|stream| !stream.is_held() && reentry::is_inside(stream.number))
    }

    fn find(&self, key: &HashedKey<K>) -> Option<Arc<LateStream>> {
        let (streams, hash) = (self.streams.lock(), key.address.hash);
        let found = streams.find(hash, |entry| entry.address.hash == hash && entry.key == key.key);
        found.map(|entry| entry.stream.clone())
    }

    /// Unlists the streams for which `matches` returns true. It is called under the lock.
    pub(in crate::http) fn forget_where(&self, matches: &dyn Fn(Address, &FlightKey<K>) -> bool) {
        // The lock is taken even if the table is empty: a later `list` then sees that its flight
        // was sealed.
        let streams = self.streams.lock();
        let found = streams.iter().filter(|entry| matches(entry.address, &entry.key));
        let found: Vec<_> = found.map(|entry| (entry.address, entry.stream.clone())).collect();
        drop(streams);
        self.unlist_all(found);
    }

    /// Unlists the streams for which `matches` returns true. It is called under no lock.
    pub(in crate::http) fn forget_if(&self, matches: &mut dyn FnMut(&FlightKey<K>) -> bool) {
        let streams = self.streams.lock();
        let all =
            streams.iter().map(|entry| (entry.address, entry.key.clone(), entry.stream.clone()));
        let all: Vec<_> = all.collect();
        drop(streams);
        let (mut found, mut caught) = (Vec::new(), CaughtPanic::default());
        for (address, key, stream) in all {
            caught.run(|| {
                if matches(&key) {
                    found.push((address, stream));
                }
            });
            caught.drop_caught(key);
        }
        caught.run(|| self.unlist_all(found));
        caught.resume();
    }

    fn unlist_all(&self, found: Vec<(Address, Arc<LateStream>)>) {
        let mut caught = CaughtPanic::default();
        for (address, stream) in found {
            caught.run(|| self.unlist(address, &stream));
            caught.drop_caught(stream);
        }
        caught.resume();
    }
}

impl<K> LateTable<K> {
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Changes with each stream that is listed. A flight lists its stream before it leaves the
    /// table of flights. So a call that finds neither, while this stays the same, has missed none.
    pub(in crate::http) fn version(&self) -> usize {
        self.lists.load(Ordering::Acquire)
    }

    /// Takes this stream off the table, and no other of its key.
    pub(super) fn unlist(&self, address: Address, stream: &Arc<LateStream>) {
        let mut streams = self.streams.lock();
        let unlisted =
            remove(&mut streams, address.hash, |entry| Arc::ptr_eq(&entry.stream, stream));
        if streams.is_empty() && streams.capacity() > 64 {
            *streams = HashTable::new();
        }
        self.count.store(streams.len(), Ordering::Release);
        drop(streams);
        let mut caught = CaughtPanic::default();
        if unlisted.is_some() {
            caught.run(|| stream.close());
        }
        caught.drop_caught(unlisted);
        caught.resume();
    }
}

fn remove<K>(
    streams: &mut HashTable<LateEntry<K>>,
    hash: u64,
    matches: impl Fn(&LateEntry<K>) -> bool,
) -> Option<LateEntry<K>> {
    let found = streams.find_entry(hash, |entry| entry.address.hash == hash && matches(entry));
    found.ok().map(|entry| entry.remove().0)
}

impl<K> Default for LateTable<K> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), lists: AtomicUsize::new(0), streams: Mutex::default() }
    }
}
