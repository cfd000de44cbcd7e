//! The state of all replicas, the store, and the writer.

use super::Setup;
use crate::fleet::{
    engine::{Checked, Closed, Entry, Name, Push, Replica, Tag, Token},
    follow::Asking,
    lead::Leading,
    testing::store::{Store, StorePush},
};
use bytes::Bytes;
use std::collections::VecDeque;
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Enter(Option<Token>),
    Check(Token),
    Fetch(Token),
    Close,
    /// `None` is "go".
    Land(Vec<Token>, Option<u64>),
    Release,
}

#[derive(Clone, Debug)]
pub(super) enum StoreReply {
    Entered(Entry),
    Checked(Checked),
    Fetched(Option<Bytes>),
    Closed(Closed),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CallPhase {
    Idle,
    Asks,
    /// Its own call runs. The others get its result if it leads.
    Calls,
    Closes,
    Reads,
    Done,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) phase: CallPhase,
    pub(super) asking: Option<Asking>,
    pub(super) leading: Option<Leading>,
    pub(super) token: Token,
    pub(super) command: Option<Command>,
    pub(super) reply: Option<StoreReply>,
    pub(super) pushes: VecDeque<Push>,
    /// Until when it waits for a push.
    pub(super) waits: Option<Instant>,
    pub(super) follows: Option<Token>,
    pub(super) tokens: Vec<Token>,
    /// The flight under which it lands. Another's, with a mutant.
    pub(super) lands_as: Token,
    /// How many writes had been answered when it asked.
    pub(super) least: u64,
    /// The version that its call read.
    pub(super) read: u64,
    pub(super) is_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub(super) enum Writer {
    Rests,
    Applied,
    Sealed,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) members: Vec<Member>,
    pub(super) store: Store,
    pub(super) version: u64,
    pub(super) answered: u64,
    pub(super) writer: Writer,
    pub(super) faults: usize,
    pub(super) next: u64,
    pub(super) closed: Vec<Token>,
}

pub(super) fn name() -> Name {
    Name::new(Tag::new([1; 16]), [1; 32])
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let member = |at: usize| Member {
            token: Token::new(Replica::new([at as u8 + 1; 8]), 0),
            ..Member::new(CallPhase::Idle)
        };
        Self {
            members: (0..setup.replicas).map(member).collect(),
            store: Store::default(),
            version: 0,
            answered: 0,
            writer: Writer::Rests,
            faults: setup.faults,
            next: 1,
            closed: Vec::new(),
        }
    }

    pub(super) fn deliver(&mut self, told: Vec<StorePush>) {
        for told in told {
            let StorePush::Token(token, push) = told else { continue };
            let member =
                self.members.iter_mut().find(|member| member.token == token && member.is_alive);
            if let Some(member) = member {
                member.pushes.push_back(push);
            }
        }
    }

    /// Forgets what no step can ask for any more, so that more states are equal.
    pub(super) fn tidy(mut self) -> Self {
        for member in &mut self.members {
            let is_over = member.phase == CallPhase::Done && member.command.is_none();
            if is_over || !member.is_alive {
                let is_alive = member.is_alive;
                *member = Member { is_alive, ..Member::new(CallPhase::Done) };
            }
        }
        self
    }
}

impl Member {
    fn new(phase: CallPhase) -> Self {
        Self {
            phase,
            asking: None,
            leading: None,
            token: Token::MARK,
            command: None,
            reply: None,
            pushes: VecDeque::new(),
            waits: None,
            follows: None,
            tokens: Vec::new(),
            lands_as: Token::MARK,
            least: 0,
            read: 0,
            is_alive: true,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_alive
            && self.leading.is_some()
            && (self.phase != CallPhase::Done || self.command.is_some())
    }
}
