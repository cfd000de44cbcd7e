//! The flights of a layer that a write on another replica may concern.

use crate::{
    fleet::{
        engine::{Tag, Token},
        node::Node,
        slots::Told,
    },
    http::key::FlightKey,
    layer::tables::{FlightTable, GroupTables},
    panics::CaughtPanic,
    sync::Mutex,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// The flights of a layer, and the responses that newcomers may still join, by the tags of the
/// writes that concern them.
///
/// It does not know the tables: a response that is held there keeps its listing, and must not keep
/// its own table alive.
pub(super) struct Listed<K>(Mutex<ListedState<K>>);

struct ListedState<K> {
    by_tag: HashMap<Tag, ListedFlights<K>>,
    next: u64,
}

type ListedFlights<K> = HashMap<u64, (What, Arc<ListedFlight<K>>)>;

struct ListedFlight<K> {
    key: FlightKey<K>,
    /// The flight that this replica leads for the fleet, if it leads one.
    leads: OnceLock<Token>,
    is_sealed: AtomicBool,
}

/// What a write with a tag concerns here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// All flights of the path with this hash.
    Path(u64),
    /// All flights of the key with this hash.
    Key(u64),
}

impl What {
    fn take_off<K>(self, table: &dyn FlightTable<K>) {
        match self {
            Self::Path(path) => table.seal(0, &|_| false, path),
            Self::Key(hash) => table.forget_key(hash, &|_| true),
        }
    }
}

/// Keeps a flight listed until it is dropped.
pub(super) struct Listing<K> {
    listed: Arc<Listed<K>>,
    tags: Vec<Tag>,
    number: u64,
    flight: Arc<ListedFlight<K>>,
}

impl<K> Listed<K> {
    pub(super) fn new() -> Arc<Self> {
        let state = ListedState { by_tag: HashMap::new(), next: 0 };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Lists a flight under these tags, of which each tells what a seal with it concerns. The first
    /// is that of the writes which the flight's name counts, the last that with which its key is
    /// forgotten.
    pub(super) fn list(self: &Arc<Self>, key: FlightKey<K>, tags: Vec<(Tag, What)>) -> Listing<K> {
        let (leads, is_sealed) = (OnceLock::new(), AtomicBool::new(false));
        let flight = Arc::new(ListedFlight { key, leads, is_sealed });
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        for (tag, what) in &tags {
            state.by_tag.entry(*tag).or_default().insert(number, (*what, flight.clone()));
        }
        drop(state);
        let tags = tags.into_iter().map(|(tag, _)| tag).collect();
        Listing { listed: self.clone(), tags, number, flight }
    }

    /// Takes the flights with this tag off the tables, so that no call joins them. `None`: all
    /// flights.
    ///
    /// A panic in the `Drop` of a key is passed on after all flights were taken off.
    pub(super) fn seal(&self, tag: Option<&Tag>, group: &GroupTables<K>, node: &Node) {
        let (mut all, mut leads) = (HashSet::new(), HashSet::new());
        let mut add = |flights: &ListedFlights<K>| {
            for (what, flight) in flights.values() {
                all.insert(*what);
                flight.is_sealed.store(true, SeqCst);
                leads.extend(flight.leads.get().copied());
            }
        };
        let state = self.0.lock();
        match tag {
            Some(tag) => state.by_tag.get(tag).into_iter().for_each(&mut add),
            None => state.by_tag.values().for_each(&mut add),
        }
        drop(state);
        let mut caught = CaughtPanic::default();
        match tag {
            // At once: each path alone is looked for among all flights.
            None => caught.run(|| group.for_each(|table| table.forget_if(&mut |_| true))),
            Some(_) => all.into_iter().for_each(|what| {
                caught.run(|| group.for_each(|table| what.take_off(table)));
            }),
        }
        leads.into_iter().for_each(|token| node.slots.tell(token, Told::Sealed));
        caught.resume();
    }

    /// Calls `visit` with the key of each flight that goes on for other replicas alone, and that
    /// calls here may follow. It is called under no lock.
    pub(super) fn for_each_deserted(&self, node: &Node, visit: &mut dyn FnMut(&K)) {
        let state = self.0.lock();
        let all = state.by_tag.values().flatten();
        let led = all.filter(|(_, (_, flight))| flight.leads.get().is_some());
        let led: HashMap<_, _> =
            led.map(|(number, (_, flight))| (*number, flight.clone())).collect();
        drop(state);
        let mut caught = CaughtPanic::default();
        for flight in led.into_values() {
            if flight.leads.get().is_some_and(|token| node.slots.is_for_others(*token)) {
                caught.run(|| visit(flight.key.user_key()));
            }
            caught.drop_caught(flight);
        }
        caught.resume();
    }
}

impl<K> Listing<K> {
    /// The tag of the writes that concern the flight.
    pub(super) fn tag(&self) -> Tag {
        self.tags[0]
    }

    /// The tag with which the flight's key is forgotten.
    pub(super) fn forgotten(&self) -> Tag {
        self.tags[self.tags.len() - 1]
    }

    /// This replica leads the flight for the fleet. Returns whether it was sealed before that was
    /// known.
    #[must_use]
    pub(super) fn leads(&self, token: Token) -> bool {
        let _ = self.flight.leads.set(token);
        // After the token is there: a seal that comes later finds it.
        self.flight.is_sealed.load(SeqCst)
    }
}

impl<K> Drop for Listing<K> {
    fn drop(&mut self) {
        let mut state = self.listed.0.lock();
        for tag in &self.tags {
            if let Some(entries) = state.by_tag.get_mut(tag) {
                entries.remove(&self.number);
                if entries.is_empty() {
                    state.by_tag.remove(tag);
                }
            }
        }
    }
}
