//! What the store does.

use super::{
    Checks, LEASE, Mutant, Setup,
    world::{Command, StoreReply, World, name},
};
use crate::fleet::engine::{Closed, Entry, Landing, Token, Waiting};
use bytes::Bytes;

/// The payload of a flight for these tokens: a text, in which tokens look as elsewhere.
fn payload(flight: Token, tokens: &[Token], value: Option<u64>) -> Bytes {
    let value = value.map_or(GO.to_owned(), |value| value.to_string());
    let tokens: String = tokens.iter().map(|token| format!(" {token}")).collect();
    format!("{value} {flight}{tokens}").into()
}

const GO: &str = "go";

/// What is in a payload.
pub(super) struct Opened {
    /// `None` is "go".
    pub(super) value: Option<u64>,
    pub(super) is_of_flight: bool,
    pub(super) is_for_token: bool,
}

impl Opened {
    pub(super) fn read(payload: &Bytes, flight: Token, token: Token) -> Self {
        let text = std::str::from_utf8(payload).expect("a payload is a text");
        let (flight, token) = (flight.to_string(), token.to_string());
        let mut words = text.split(' ');
        let value = words.next().filter(|value| *value != GO);
        Self {
            value: value.map(|value| value.parse().expect("it is a number")),
            is_of_flight: words.next() == Some(&flight),
            is_for_token: words.any(|named| named == token),
        }
    }
}

impl World {
    /// The store does the command of this member.
    pub(super) fn execute(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let (now, name, mut told) = (setup.start, name(), Vec::new());
        let member = &mut self.members[at];
        let (token, command) = (member.token, member.command.take().expect("it has one"));
        let reply = match command {
            Command::Enter(shuts) => {
                if let Some(sealed) = shuts {
                    self.store.shut(now, &name, sealed);
                    self.closed.push(sealed);
                }
                let kept = self.store.clone();
                if setup.mutant == Mutant::NoEpoch {
                    self.store.drop_epochs();
                }
                let entry = self.store.enter(now, &name, token, LEASE, &mut told);
                self.store.take_epochs_of(&kept);
                if let Entry::Follow { flight, .. } = &entry {
                    if self.closed.contains(flight) {
                        return Err(format!("{at} joined a flight that was closed"));
                    }
                }
                StoreReply::Entered(entry)
            }
            Command::Check(flight) => {
                StoreReply::Checked(self.store.check(now, &Waiting { name, flight, token }))
            }
            Command::Fetch(flight) => StoreReply::Fetched(self.store.fetch(now, &name, flight)),
            Command::Close => {
                let open = self.store.leader_of(&name).filter(|_| setup.mutant == Mutant::NoFence);
                let flight = open.unwrap_or(token);
                self.members[at].lands_as = flight;
                let closed = self.store.close(now, &name, flight, LEASE, true, &mut told);
                if closed != Closed::Lost {
                    self.closed.push(flight);
                }
                StoreReply::Closed(closed)
            }
            Command::Land(tokens, value) => {
                let flight = member.lands_as;
                let landing =
                    Landing { payload: payload(flight, &tokens, value), keep: LEASE, mark: None };
                self.store.land(now, &name, flight, landing, true, &mut told);
                StoreReply::Nothing
            }
            Command::Release => {
                self.store.release(now, &name, token, &mut told);
                StoreReply::Nothing
            }
        };
        self.members[at].reply = Some(reply);
        self.deliver(told);
        Ok(())
    }
}
