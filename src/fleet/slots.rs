//! Where pushes go: a slot for each token of this replica that asks, waits or leads.

use crate::{
    fleet::{
        engine::{Checked, Name, Push, Token, Waiting},
        node::Node,
    },
    sync::Mutex,
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

/// What a token is told: by a push, or by the task that looks after all of them.
#[derive(Debug)]
pub(crate) enum Told {
    /// A flight that it leads has a follower.
    Joined,
    /// A flight that it leads was sealed, so that it has to take no more.
    Sealed,
    /// The lease of a flight that it leads was lost.
    LeaseLost,
    /// The flight that it waits for was closed.
    Closed,
    /// The flight that it waits for landed.
    Landed(Option<Bytes>),
    /// The flight that it waits for was given up.
    Again,
    /// What became of the flight that it waits for.
    Checked(Checked),
    /// The engine does not answer.
    Lost,
}

/// The slots of a replica, by token. A token has its slot before the engine hears of it, so no push
/// is missed.
#[derive(Default)]
pub(crate) struct TokenSlots(Mutex<SlotTable>);

#[derive(Default)]
struct SlotTable {
    slots: HashMap<Token, SlotEntry>,
    /// How many slots wait.
    waiting: usize,
    /// Whether the task that looks after them runs.
    is_kept: bool,
}

struct SlotEntry {
    tell: UnboundedSender<Told>,
    part: SlotPart,
}

/// What a token does.
enum SlotPart {
    Asks,
    Waits(Waiting),
    Leads {
        name: Name,
        lease: Duration,
        /// When its lease began, or was renewed.
        since: Instant,
        /// Set once its callers here have gone, until it takes no more: calls here may follow it.
        for_others: Option<MayFollow>,
        takes_no_more: bool,
    },
}

impl SlotPart {
    /// From now on no call here follows it. Gives back what let calls follow it, to be dropped once
    /// nothing is locked.
    fn take_no_more(&mut self) -> Option<MayFollow> {
        let Self::Leads { for_others, takes_no_more, .. } = self else { return None };
        *takes_no_more = true;
        for_others.take()
    }
}

/// Whether the running code may follow a call of its own replica that goes on for others. It must
/// not if the call would wait for itself.
pub(crate) type MayFollow = Arc<dyn Fn() -> bool + Send + Sync>;

/// A token that can be told something, until this is dropped.
pub(crate) struct TokenSlot {
    node: Arc<Node>,
    token: Token,
    told: UnboundedReceiver<Told>,
}

impl TokenSlots {
    pub(crate) fn open(node: &Arc<Node>, token: Token) -> TokenSlot {
        let (tell, told) = unbounded_channel();
        node.slots.0.lock().slots.insert(token, SlotEntry { tell, part: SlotPart::Asks });
        TokenSlot { node: node.clone(), token, told }
    }

    /// Passes a push on to the token that it is for.
    pub(crate) fn push(&self, push: Push) {
        match push {
            Push::Joined { flight } => self.tell(flight, Told::Joined),
            Push::Closed { token } => self.tell(token, Told::Closed),
            Push::Landed { token, payload } => self.tell(token, Told::Landed(payload)),
            Push::Again { token } => self.tell(token, Told::Again),
            Push::Sealed { .. } | Push::Reconnected => {}
        }
    }

    pub(crate) fn tell(&self, token: Token, what: Told) {
        let mut state = self.0.lock();
        let mut sealed = None;
        let tell = state.slots.get_mut(&token).map(|entry| {
            if matches!(what, Told::Sealed) {
                sealed = entry.part.take_no_more();
            }
            entry.tell.clone()
        });
        drop(state);
        drop(sealed);
        if let Some(tell) = tell {
            drop(tell.send(what));
        }
    }

    /// True if this flight of this replica goes on for others, and calls here may follow it.
    pub(crate) fn is_for_others(&self, token: Token) -> bool {
        self.for_others(token).is_some()
    }

    /// True if the running code may follow this flight of this replica.
    pub(crate) fn may_follow(&self, token: Token) -> bool {
        self.for_others(token).is_some_and(|may_follow| may_follow())
    }

    fn for_others(&self, token: Token) -> Option<MayFollow> {
        match &self.0.lock().slots.get(&token)?.part {
            SlotPart::Leads { for_others, .. } => for_others.clone(),
            SlotPart::Asks | SlotPart::Waits(_) => None,
        }
    }

    /// Tells all that wait to go alone.
    pub(crate) fn lose_waiting(&self) {
        let waiting = self.waiting();
        waiting.into_iter().for_each(|waiting| self.tell(waiting.token, Told::Lost));
    }

    /// True if this token of this replica can be told something.
    pub(crate) fn has(&self, token: Token) -> bool {
        self.0.lock().slots.contains_key(&token)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.0.lock().waiting > 0
    }

    /// All that wait.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let state = self.0.lock();
        let waiting = state.slots.values().filter_map(|entry| match &entry.part {
            SlotPart::Waits(waiting) => Some(waiting.clone()),
            SlotPart::Asks | SlotPart::Leads { .. } => None,
        });
        waiting.collect()
    }

    /// The flights that are to be renewed now, grouped by their lease: each is older than a third
    /// of it. They count as renewed.
    pub(crate) fn take_due(&self, now: Instant) -> Vec<(Duration, Vec<(Name, Token)>)> {
        let mut due: Vec<(Duration, Vec<(Name, Token)>)> = Vec::new();
        for (token, entry) in &mut self.0.lock().slots {
            let SlotPart::Leads { name, lease, since, .. } = &mut entry.part else { continue };
            if now < *since + *lease / 3 {
                continue;
            }
            *since = now;
            match due.iter_mut().find(|(other, _)| other == lease) {
                Some((_, flights)) => flights.push((*name, *token)),
                None => due.push((*lease, vec![(*name, *token)])),
            }
        }
        due
    }

    /// When the next flight is to be renewed.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let state = self.0.lock();
        let due = state.slots.values().filter_map(|entry| match entry.part {
            SlotPart::Leads { lease, since, .. } => Some(since + lease / 3),
            SlotPart::Asks | SlotPart::Waits(_) => None,
        });
        due.min()
    }

    /// True if a task has to be started, which looks after the slots.
    pub(crate) fn wants_keeper(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().is_kept, true)
    }

    /// True if there is nothing left to look after. Then the task ends.
    pub(crate) fn dismisses_keeper(&self) -> bool {
        let mut state = self.0.lock();
        let is_needed = state.slots.values().any(|entry| !matches!(entry.part, SlotPart::Asks));
        state.is_kept = is_needed;
        !is_needed
    }

    /// The task has ended.
    pub(crate) fn lost_keeper(&self) {
        self.0.lock().is_kept = false;
    }
}

impl TokenSlot {
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// It waits for a flight now.
    pub(crate) fn waits(&self, name: &Name, flight: Token) {
        let waiting = Waiting { name: *name, flight, token: self.token };
        self.plays(SlotPart::Waits(waiting));
    }

    /// It leads a flight now.
    pub(crate) fn leads(&self, name: &Name, lease: Duration) {
        self.plays(SlotPart::Leads {
            name: *name,
            lease,
            since: Instant::now(),
            for_others: None,
            takes_no_more: false,
        });
    }

    /// The flight that it leads goes on for others alone. Calls here may follow it, unless it takes
    /// no more.
    pub(crate) fn goes_on_for_others(&self, may_follow: MayFollow) {
        let mut state = self.node.slots.0.lock();
        let entry = state.slots.get_mut(&self.token);
        if let Some(SlotPart::Leads { for_others, takes_no_more: false, .. }) =
            entry.map(|entry| &mut entry.part)
        {
            *for_others = Some(may_follow);
        }
    }

    /// The flight that it leads takes no more.
    pub(crate) fn takes_no_more(&self) {
        let mut state = self.node.slots.0.lock();
        let entry = state.slots.get_mut(&self.token);
        let for_others = entry.and_then(|entry| entry.part.take_no_more());
        drop(state);
        drop(for_others);
    }

    /// It does neither now.
    pub(crate) fn rests(&self) {
        self.plays(SlotPart::Asks);
    }

    fn plays(&self, part: SlotPart) {
        let mut state = self.node.slots.0.lock();
        let Some(entry) = state.slots.get_mut(&self.token) else { return };
        let earlier = std::mem::replace(&mut entry.part, part);
        let waits = matches!(entry.part, SlotPart::Waits(_));
        state.waiting += usize::from(waits);
        state.waiting -= usize::from(matches!(earlier, SlotPart::Waits(_)));
    }

    pub(crate) async fn recv(&mut self) -> Told {
        self.told.recv().await.unwrap_or(Told::Lost)
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        self.told.poll_recv(cx).map(|told| told.unwrap_or(Told::Lost))
    }

    pub(crate) fn try_recv(&mut self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}

impl Drop for TokenSlot {
    fn drop(&mut self) {
        let mut state = self.node.slots.0.lock();
        let entry = state.slots.remove(&self.token);
        let waited = entry.as_ref().is_some_and(|entry| matches!(entry.part, SlotPart::Waits(_)));
        state.waiting -= usize::from(waited);
        drop(state);
        drop(entry);
    }
}
