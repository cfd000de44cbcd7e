//! Streams: responses whose head is known, and whose body newcomers may still get from its first byte.

use crate::http::{
    body::{BodyConfig, Newcomers, SharedBody},
    flights::FlightKey,
    policy::{HttpPolicy, LateJoin},
    response::answer::Varies,
    response::field::Number,
    response::veto::Said,
};
use crate::{
    core::flight::Place,
    core::reentry::{self, Lineage, Polled, Underway},
    error::BoxError,
    panics::Debris,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        now,
    },
};
use hashbrown::HashTable;
use http::{HeaderMap, Response, header::AGE};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tokio::time::Instant;

/// The streams of a group, at most one for each key: the latest.
pub(crate) struct Late<K> {
    /// How many there are, so that nobody takes the lock while there is none.
    count: AtomicUsize,
    streams: Mutex<HashTable<Entry<K>>>,
}

struct Entry<K> {
    place: Place,
    key: FlightKey<K>,
    stream: Arc<Stream>,
}

/// One response that newcomers may join.
pub(super) struct Stream {
    head: Response<()>,
    body: Newcomers,
    varies: Option<Arc<Varies>>,
    /// When it is no longer fresh enough, or its flight too old.
    until: Option<Instant>,
    arrived: Instant,
    lineage: Lineage,
}

impl<K> Default for Late<K> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), streams: Mutex::default() }
    }
}

impl<K: Eq + Send + Sync + 'static> Late<K> {
    /// Makes a body shareable, also with newcomers for as long as it streams. `stream` has what they need, `is_open`
    /// tells whether its flight takes any.
    pub(super) fn share<B>(
        self: &Arc<Self>,
        (place, key): (Place, FlightKey<K>),
        is_open: impl Fn() -> bool,
        body: B,
        config: impl Into<Arc<BodyConfig>>,
        until: Option<Instant>,
        stream: impl FnOnce(Newcomers) -> Stream,
    ) -> SharedBody
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (body, listing) = Listed::new(body);
        let body = SharedBody::new(body, config);
        if let Some(newcomers) = body.newcomers(until) {
            let stream = Arc::new(stream(newcomers));
            listing.fill(self, place, stream.clone());
            self.list(Entry { place, key, stream }, is_open);
        }
        body
    }

    /// The response for a newcomer, if it may have it.
    pub(super) fn join(&self, place: Place, key: &FlightKey<K>, headers: &HeaderMap) -> Option<Response<SharedBody>> {
        let stream = self.find(place.hash, key)?;
        stream.takes(headers).then(|| stream.join())?
    }

    /// Whether this code runs inside the stream of this key. The flight that listed it may not have landed yet: nobody
    /// here may wait for it either.
    pub(super) fn is_inside(&self, place: Place, key: &FlightKey<K>) -> bool {
        if self.is_empty() {
            return false;
        }
        let here = Lineage::here();
        !here.is_empty() && self.find(place.hash, key).is_some_and(|stream| here.contains(&stream))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn find(&self, hash: u64, key: &FlightKey<K>) -> Option<Arc<Stream>> {
        let streams = self.streams.lock();
        streams.find(hash, |entry| entry.place.hash == hash && entry.key == *key).map(|entry| entry.stream.clone())
    }

    /// Lists a stream, unless its flight takes nobody more. This runs in the flight, so a panic of the key's `Eq` or
    /// `Drop`, which concerns none of its waiters, ends here; after one of `Eq` the stream is not listed.
    fn list(&self, entry: Entry<K>, is_open: impl Fn() -> bool) {
        let (hash, mut debris) = (entry.place.hash, Debris::default());
        let mut streams = self.streams.lock();
        // Under the lock: whoever seals the flight after this finds the stream in the table.
        let (is_open, mut earlier) = (is_open(), None);
        if is_open {
            debris.run(|| earlier = take(&mut streams, hash, |known| known.key == entry.key));
        }
        let closed = if is_open && !debris.holds_panic() {
            streams.insert_unique(hash, entry, |entry| entry.place.hash);
            self.count.store(streams.len(), Ordering::Release);
            earlier
        } else {
            Some(entry)
        };
        drop(streams);
        if let Some(closed) = closed {
            debris.run(|| closed.stream.body.close());
            debris.sweep(closed);
        }
        debris.swallow();
    }

    pub(super) fn forget_where(&self, is_it: &dyn Fn(Place, &FlightKey<K>) -> bool) {
        // With the lock, even if there is nothing to be found: so a `list` after it sees that its flight is no longer
        // open.
        let streams = self.streams.lock();
        let found = streams.iter().filter(|entry| is_it(entry.place, &entry.key));
        let found: Vec<_> = found.map(|entry| (entry.place, entry.stream.clone())).collect();
        drop(streams);
        self.unlist_all(found);
    }

    /// `is_it` is called under no lock.
    pub(super) fn forget_if(&self, is_it: &mut dyn FnMut(&FlightKey<K>) -> bool) {
        let streams = self.streams.lock();
        let all = streams.iter().map(|entry| (entry.place, entry.key.clone(), entry.stream.clone()));
        let all: Vec<_> = all.collect();
        drop(streams);
        let (mut found, mut debris) = (Vec::new(), Debris::default());
        for (place, key, stream) in all {
            debris.run(|| {
                if is_it(&key) {
                    found.push((place, stream));
                }
            });
            debris.sweep(key);
        }
        debris.run(|| self.unlist_all(found));
        debris.rethrow();
    }

    fn unlist_all(&self, found: Vec<(Place, Arc<Stream>)>) {
        let mut debris = Debris::default();
        for (place, stream) in found {
            debris.run(|| self.unlist(place, &stream));
            debris.sweep(stream);
        }
        debris.rethrow();
    }
}

impl<K> Late<K> {
    fn unlist(&self, place: Place, stream: &Arc<Stream>) {
        let mut streams = self.streams.lock();
        let unlisted = take(&mut streams, place.hash, |entry| Arc::ptr_eq(&entry.stream, stream));
        if streams.is_empty() && streams.capacity() > 64 {
            *streams = HashTable::new();
        }
        self.count.store(streams.len(), Ordering::Release);
        drop(streams);
        let mut debris = Debris::default();
        if unlisted.is_some() {
            debris.run(|| stream.body.close());
        }
        debris.sweep(unlisted);
        debris.rethrow();
    }
}

fn take<K>(streams: &mut HashTable<Entry<K>>, hash: u64, is_it: impl Fn(&Entry<K>) -> bool) -> Option<Entry<K>> {
    let found = streams.find_entry(hash, |entry| entry.place.hash == hash && is_it(entry));
    found.ok().map(|entry| entry.remove().0)
}

impl HttpPolicy {
    pub(super) fn takes_late(&self) -> bool {
        self.flight.late_joins != LateJoin::Never
    }

    /// Until when newcomers may join after this head, if they may; `Some(None)` is for as long as its body streams.
    pub(super) fn late_join_until(&self, said: &Said) -> Option<Option<Instant>> {
        match self.flight.late_joins {
            LateJoin::Never => None,
            LateJoin::Always => Some(None),
            // A time beyond the clock never comes.
            LateJoin::WhenFresh => Some(now().checked_add(said.fresh_for()?)),
        }
    }
}

/// A number that is larger need not be understood (RFC 9111 §1.2.2).
const LONGEST_AGE: u64 = 1 << 31;

impl Stream {
    /// Call it in the flight that the head is of.
    pub(super) fn new(
        head: Response<()>,
        body: Newcomers,
        varies: Option<Arc<Varies>>,
        until: Option<Instant>,
    ) -> Self {
        Self { head, body, varies, until, arrived: now(), lineage: Lineage::around() }
    }

    fn takes(&self, headers: &HeaderMap) -> bool {
        self.until.is_none_or(|end| now() < end) && self.varies.as_ref().is_none_or(|varies| varies.agree(headers))
    }

    /// `None` if the first byte is held no more.
    fn join(&self) -> Option<Response<SharedBody>> {
        let body = self.body.join()?;
        let mut response = self.head.clone().map(|()| body);
        response.headers_mut().insert(AGE, self.age().into());
        Some(response)
    }

    /// In seconds: what it was when it arrived and the time since then (RFC 9111 §4.2.3). One that cannot be read does
    /// not count (§5.1).
    fn age(&self) -> u64 {
        let mut said = Number::default();
        let is_read = self.head.headers().get_all(AGE).iter().try_for_each(|line| said.read(line)).is_ok();
        let said = said.largest().filter(|_| is_read).unwrap_or(0);
        said.saturating_add(now().duration_since(self.arrived).as_secs()).min(LONGEST_AGE)
    }
}

/// A body that newcomers ask for inside itself would wait for itself.
impl Underway for Stream {
    fn is_underway(&self) -> bool {
        true
    }

    fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }
}

pin_project! {
    /// The body of a stream, which is listed until this is dropped.
    pub(super) struct Listed<B, K> {
        #[pin]
        body: B,
        listing: Arc<Listing<K>>,
    }
}

/// Filled once the stream is there.
pub(super) struct Listing<K>(OnceLock<(Arc<Late<K>>, Place, Arc<Stream>)>);

impl<B, K: Eq> Listed<B, K> {
    pub(super) fn new(body: B) -> (Self, Arc<Listing<K>>) {
        let listing = Arc::new(Listing(OnceLock::new()));
        (Self { body, listing: listing.clone() }, listing)
    }
}

impl<K: Eq + Send + Sync + 'static> Listing<K> {
    pub(super) fn fill(&self, late: &Arc<Late<K>>, place: Place, stream: Arc<Stream>) {
        let filled = self.0.set((late.clone(), place, stream));
        debug_assert!(filled.is_ok(), "a body is listed once");
    }
}

impl<K> Drop for Listing<K> {
    fn drop(&mut self) {
        if let Some((late, place, stream)) = self.0.get() {
            late.unlist(*place, stream);
        }
    }
}

impl<B: Body, K> Body for Listed<B, K> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let _entered = this.listing.0.get().map(|(_, _, stream)| reentry::enter(Polled::Flight(stream.clone())));
        this.body.poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
