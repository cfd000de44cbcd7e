//! The state behind a [`MemoryEngine`](super::MemoryEngine), as plain data. Each method does what
//! one script does in Redis.

use crate::fleet::engine::{
    Checked, Closed, Entry, Epoch, Landing, Name, Push, Tag, Token, Waiting,
};
use bytes::Bytes;
#[cfg(test)]
use std::fmt;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// A payload up to this length is part of the push.
pub(super) const INLINE: usize = 8 * 1024;

/// How much longer the waiting tokens live than the flight that they wait for.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
pub(super) struct Store {
    open: HashMap<Name, Expiring<Open>>,
    waiting: HashMap<Name, Expiring<BTreeSet<Token>>>,
    closed: HashMap<ClosedFlight, Expiring<BTreeSet<Token>>>,
    payloads: HashMap<ClosedFlight, Expiring<Bytes>>,
    epochs: HashMap<Tag, Expiring<Epoch>>,
}

type ClosedFlight = (Tag, Token);

#[derive(Clone, Debug)]
struct Expiring<T> {
    value: T,
    end: Instant,
}

/// The entry under a name: an open flight, or the mark.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// [`Token::MARK`] stands for the mark.
    leader: Token,
    epoch: Option<Epoch>,
    is_followed: bool,
}

/// A push, and whom it is for.
pub(super) enum StorePush {
    Token(Token, Push),
    Group(String, Push),
}

impl<T> Expiring<T> {
    fn until(value: T, end: Instant) -> Self {
        Self { value, end }
    }

    fn is_live(&self, now: Instant) -> bool {
        now < self.end
    }

    fn left(&self, now: Instant) -> Duration {
        self.end.duration_since(now)
    }
}

impl Store {
    /// Drops the entries that have expired.
    pub(super) fn expire(&mut self, now: Instant) {
        self.open.retain(|_, entry| entry.is_live(now));
        self.waiting.retain(|_, entry| entry.is_live(now));
        self.closed.retain(|_, entry| entry.is_live(now));
        self.payloads.retain(|_, entry| entry.is_live(now));
        self.epochs.retain(|_, entry| entry.is_live(now));
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
            + self.waiting.len()
            + self.closed.len()
            + self.payloads.len()
            + self.epochs.len()
    }

    pub(super) fn end_open_flights(&mut self) {
        self.open.clear();
    }

    pub(super) fn end_closed_flights(&mut self) {
        self.closed.clear();
    }

    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn drop_payloads(&mut self) {
        self.payloads.clear();
    }

    pub(super) fn drop_epochs(&mut self) {
        self.epochs.clear();
    }

    /// Changes each payload that is kept.
    pub(super) fn garble_payloads(&mut self, garble: &dyn Fn(&Bytes) -> Bytes) {
        self.payloads.values_mut().for_each(|payload| payload.value = garble(&payload.value));
    }

    /// All that it holds, each entry as a text, in order.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<String> {
        fn texts<K: fmt::Debug, V: fmt::Debug>(
            all: &HashMap<K, V>,
            what: &str,
        ) -> impl Iterator<Item = String> {
            all.iter().map(move |(key, value)| format!("{what} {key:?} {value:?}"))
        }
        let Self { open, waiting, closed, payloads, epochs } = self;
        let mut all: Vec<_> = texts(open, "open")
            .chain(texts(waiting, "waiting"))
            .chain(texts(closed, "closed"))
            .chain(texts(payloads, "payload"))
            .chain(texts(epochs, "epoch"))
            .collect();
        all.sort();
        all
    }

    /// The flight that is open under this name.
    #[cfg(test)]
    pub(super) fn leader_of(&self, name: &Name) -> Option<Token> {
        self.open.get(name).map(|open| open.value.leader)
    }

    #[cfg(test)]
    pub(super) fn take_epochs_of(&mut self, other: &Self) {
        self.epochs = other.epochs.clone();
    }

    /// The open flight of this name, if `flight` leads it.
    fn open_flight(&mut self, name: &Name, flight: Token) -> Option<&mut Expiring<Open>> {
        self.open.get_mut(name).filter(|open| open.value.leader == flight)
    }

    pub(super) fn enter(
        &mut self,
        now: Instant,
        name: &Name,
        token: Token,
        lease: Duration,
        told: &mut Vec<StorePush>,
    ) -> Entry {
        self.expire(now);
        let epoch = self.epochs.get(name.tag()).map(|epoch| epoch.value);
        let Some(open) = self.open.get_mut(name) else {
            let open = Open { leader: token, epoch, is_followed: false };
            self.open.insert(*name, Expiring::until(open, now + lease));
            tell_again(self.waiting.remove(name), told);
            return Entry::Lead;
        };
        let (flight, left) = (open.value.leader, open.left(now));
        if flight == Token::MARK {
            return Entry::Pass { left };
        }
        if open.value.epoch != epoch {
            return Entry::Sealed { flight };
        }
        let end = open.end + GRACE;
        if !std::mem::replace(&mut open.value.is_followed, true) {
            told.push(StorePush::Token(flight, Push::Joined { flight }));
        }
        let waiting =
            self.waiting.entry(*name).or_insert_with(|| Expiring::until(BTreeSet::new(), end));
        waiting.value.insert(token);
        waiting.end = end;
        Entry::Follow { flight, left }
    }

    pub(super) fn shut(&mut self, now: Instant, name: &Name, sealed: Token) {
        self.expire(now);
        if self.open_flight(name, sealed).is_none() {
            return;
        }
        let left = self.open.remove(name).map_or(Duration::ZERO, |open| open.left(now));
        if let Some(waiting) = self.waiting.remove(name) {
            self.closed
                .insert((*name.tag(), sealed), Expiring::until(waiting.value, now + left + GRACE));
        }
    }

    pub(super) fn close(
        &mut self,
        now: Instant,
        name: &Name,
        flight: Token,
        lease: Duration,
        tells: bool,
        told: &mut Vec<StorePush>,
    ) -> Closed {
        self.expire(now);
        let at = (*name.tag(), flight);
        if let Some(open) = self.open_flight(name, flight) {
            let is_followed = open.value.is_followed;
            self.open.remove(name);
            match self.waiting.remove(name) {
                Some(waiting) if is_followed => self.closed.insert(at, waiting),
                Some(waiting) => {
                    self.waiting.insert(*name, waiting);
                    return Closed::Alone;
                }
                None => return Closed::Alone,
            };
        }
        let Some(closed) = self.closed.get_mut(&at) else { return Closed::Lost };
        closed.end = now + lease;
        if tells {
            told.extend(
                closed
                    .value
                    .iter()
                    .map(|token| StorePush::Token(*token, Push::Closed { token: *token })),
            );
        }
        Closed::Followed(closed.value.iter().copied().collect())
    }

    /// `has_room`: whether the store takes a payload.
    pub(super) fn land(
        &mut self,
        now: Instant,
        name: &Name,
        flight: Token,
        landing: Landing,
        has_room: bool,
        told: &mut Vec<StorePush>,
    ) -> Option<bool> {
        self.expire(now);
        let (at, end) = ((*name.tag(), flight), now + landing.keep);
        let is_inline = landing.payload.len() <= INLINE;
        if !is_inline && !has_room {
            return None;
        }
        let Some(closed) = self.closed.get_mut(&at) else { return Some(false) };
        let payload = is_inline.then(|| landing.payload.clone());
        let push = |token: &Token| Push::Landed { token: *token, payload: payload.clone() };
        told.extend(closed.value.iter().map(|token| StorePush::Token(*token, push(token))));
        if !has_room {
            return None;
        }
        closed.end = end;
        self.payloads.insert(at, Expiring::until(landing.payload, end));
        if let Some(time) = landing.mark.filter(|_| !self.open.contains_key(name)) {
            let mark = Open { leader: Token::MARK, epoch: None, is_followed: false };
            self.open.insert(*name, Expiring::until(mark, now + time));
        }
        Some(true)
    }

    pub(super) fn renew(
        &mut self,
        now: Instant,
        name: &Name,
        flight: Token,
        lease: Duration,
    ) -> bool {
        self.expire(now);
        if let Some(open) = self.open_flight(name, flight) {
            open.end = now + lease;
            if let Some(waiting) = self.waiting.get_mut(name) {
                waiting.end = now + lease + GRACE;
            }
            return true;
        }
        let closed = self.closed.get_mut(&(*name.tag(), flight));
        closed.map(|closed| closed.end = now + lease).is_some()
    }

    pub(super) fn check(
        &mut self,
        now: Instant,
        Waiting { name, flight, token }: &Waiting,
    ) -> Checked {
        self.expire(now);
        let at = (*name.tag(), *flight);
        if self.payloads.contains_key(&at) {
            return Checked::Landed;
        }
        if let Some(open) = self.open_flight(name, *flight) {
            let (end, left) = (open.end + GRACE, open.left(now));
            open.value.is_followed = true;
            let waiting =
                self.waiting.entry(*name).or_insert_with(|| Expiring::until(BTreeSet::new(), end));
            waiting.value.insert(*token);
            waiting.end = end;
            return Checked::Pending { left };
        }
        let Some(closed) = self.closed.get_mut(&at) else { return Checked::Gone };
        closed.value.insert(*token);
        Checked::Pending { left: closed.left(now) }
    }

    pub(super) fn release(
        &mut self,
        now: Instant,
        name: &Name,
        flight: Token,
        told: &mut Vec<StorePush>,
    ) {
        self.expire(now);
        let waiting = if self.open_flight(name, flight).is_some() {
            self.open.remove(name);
            self.waiting.remove(name)
        } else {
            self.closed.remove(&(*name.tag(), flight))
        };
        tell_again(waiting, told);
    }

    pub(super) fn fetch(&mut self, now: Instant, name: &Name, flight: Token) -> Option<Bytes> {
        self.expire(now);
        self.payloads.get(&(*name.tag(), flight)).map(|payload| payload.value.clone())
    }

    pub(super) fn done(&mut self, now: Instant, Waiting { name, flight, token }: &Waiting) {
        self.expire(now);
        let at = (*name.tag(), *flight);
        if let Some(closed) = self.closed.get_mut(&at) {
            closed.value.remove(token);
        }
        if self.closed.get(&at).is_none_or(|closed| closed.value.is_empty()) {
            self.closed.remove(&at);
            self.payloads.remove(&at);
        }
    }

    pub(super) fn seal(
        &mut self,
        now: Instant,
        tag: &Tag,
        group: &str,
        epoch: Epoch,
        life: Duration,
        told: &mut Vec<StorePush>,
    ) {
        self.epochs.insert(*tag, Expiring::until(epoch, now + life));
        told.push(StorePush::Group(group.to_owned(), Push::Sealed { tag: *tag }));
    }
}

/// Tells those who wait that their flight is gone.
fn tell_again(waiting: Option<Expiring<BTreeSet<Token>>>, told: &mut Vec<StorePush>) {
    let tokens = waiting.into_iter().flat_map(|waiting| waiting.value);
    told.extend(tokens.map(|token| StorePush::Token(token, Push::Again { token })));
}
