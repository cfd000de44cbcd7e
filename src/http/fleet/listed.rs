//! The flights of a layer that a write on another replica may concern.

use crate::{
    core::key::Address,
    fleet::{
        engine::{Tag, Token},
        node::Node,
        slots::Told,
    },
    layer::tables::GroupTables,
    sync::Mutex,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

/// The flights of a layer, and the responses whose bodies stream, by the tags of the writes that
/// concern them.
pub(super) struct Listed<K>(Mutex<ListedState>, Arc<GroupTables<K>>);

#[derive(Default)]
struct ListedState {
    by_tag: HashMap<Tag, HashMap<u64, ListedFlight>>,
    next: u64,
}

struct ListedFlight {
    what: What,
    /// The flight that this replica leads for the fleet, if it leads one.
    leads: Arc<OnceLock<Token>>,
}

/// What a write with a tag concerns here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// All flights of the path with this hash.
    Path(u64),
    /// All flights of the key with this hash.
    Key(u64),
}

/// Keeps a flight listed until it is dropped.
pub(super) struct Listing<K> {
    listed: Arc<Listed<K>>,
    tags: [Tag; 2],
    number: u64,
    leads: Arc<OnceLock<Token>>,
}

impl<K> Listed<K> {
    pub(super) fn new(group: Arc<GroupTables<K>>) -> Arc<Self> {
        Arc::new(Self(Mutex::default(), group))
    }

    /// Lists a flight under the tag of its path or key, and under the tag with which its key is
    /// forgotten.
    pub(super) fn list(
        self: &Arc<Self>,
        strict: (Tag, What),
        forgotten: Tag,
        address: Address,
    ) -> Listing<K> {
        let (tags, leads) = ([strict.0, forgotten], Arc::new(OnceLock::new()));
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        for (tag, what) in [strict, (forgotten, What::Key(address.shard))] {
            state
                .by_tag
                .entry(tag)
                .or_default()
                .insert(number, ListedFlight { what, leads: leads.clone() });
        }
        Listing { listed: self.clone(), tags, number, leads }
    }

    /// Takes the flights with this tag off the tables, so that no call joins them. `None`: all
    /// flights.
    pub(super) fn seal(&self, tag: Option<&Tag>, node: &Node) {
        let (mut all, mut leads) = (HashSet::new(), HashSet::new());
        let mut add = |flights: &HashMap<u64, ListedFlight>| {
            for flight in flights.values() {
                all.insert(flight.what);
                leads.extend(flight.leads.get().copied());
            }
        };
        let state = self.0.lock();
        match tag {
            Some(tag) => state.by_tag.get(tag).into_iter().for_each(&mut add),
            None => state.by_tag.values().for_each(&mut add),
        }
        drop(state);
        for what in all {
            self.1.for_each(|table| match what {
                What::Path(path) => table.seal(0, &|_| false, path),
                What::Key(hash) => table.forget_key(hash, &|_| true),
            });
        }
        leads.into_iter().for_each(|token| node.slots.tell(token, Told::Sealed));
    }
}

impl<K> Listing<K> {
    /// The tag of the writes that concern the flight.
    pub(super) fn tag(&self) -> Tag {
        self.tags[0]
    }

    /// This replica leads the flight for the fleet.
    pub(super) fn leads(&self, token: Token) {
        let _ = self.leads.set(token);
    }
}

impl<K> Drop for Listing<K> {
    fn drop(&mut self) {
        let mut state = self.listed.0.lock();
        for tag in self.tags {
            if let Some(entries) = state.by_tag.get_mut(&tag) {
                entries.remove(&self.number);
                if entries.is_empty() {
                    state.by_tag.remove(&tag);
                }
            }
        }
    }
}
