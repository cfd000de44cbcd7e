//! What a request does when it hears something, or when something happens to it.

use super::{
    Checks, Mutant, Setup,
    commands::Opened,
    world::{CallPhase, Command, StoreReply, World},
};
use crate::fleet::{
    engine::{Closed, EngineError, Entry, Push, Token},
    follow::Step,
    lead::{Act, Leading},
};

impl World {
    pub(super) fn hear_reply(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let now = setup.start;
        let member = &mut self.members[at];
        let reply = member.reply.take().expect("it has one");
        let step = match reply {
            StoreReply::Entered(entry) => {
                member.follows = match &entry {
                    Entry::Follow { flight, .. } => Some(*flight),
                    _ => None,
                };
                member.asking.as_mut().map(|asking| asking.entered(now, Some(Ok(entry))))
            }
            StoreReply::Checked(checked) => {
                member.asking.as_mut().map(|asking| asking.checked(now, Some(Ok(checked))))
            }
            StoreReply::Fetched(payload) => {
                member.asking.as_mut().map(|asking| asking.fetched(now, Some(Ok(payload))))
            }
            StoreReply::Closed(closed) => {
                self.close_replied(at, Some(closed), setup);
                None
            }
            StoreReply::Nothing => None,
        };
        step.map_or(Ok(()), |step| self.go(at, step, setup))
    }

    pub(super) fn close_replied(&mut self, at: usize, closed: Option<Closed>, setup: &Setup) {
        let member = &mut self.members[at];
        let leading = member.leading.as_mut().expect("it leads");
        member.phase = match leading.closed(setup.start, closed, None) {
            Act::Land(tokens) => {
                member.tokens = tokens;
                CallPhase::Reads
            }
            _ => CallPhase::Done,
        };
    }

    pub(super) fn hear_push(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let now = setup.start;
        let member = &mut self.members[at];
        let push = member.pushes.pop_front().expect("there is one");
        if let Push::Joined { .. } = push {
            member.leading.iter_mut().for_each(Leading::joined);
            return Ok(());
        }
        let Some(asking) = &mut member.asking else { return Ok(()) };
        let step = match push {
            Push::Closed { .. } => asking.closed(now),
            Push::Landed { payload, .. } => asking.landed(now, payload),
            Push::Again { .. } => asking.again(now),
            Push::Joined { .. } | Push::Sealed { .. } | Push::Reconnected => return Ok(()),
        };
        self.go(at, step, setup)
    }

    /// Does what the state machine says.
    pub(super) fn go(&mut self, at: usize, step: Step, setup: &Setup) -> Checks<()> {
        let (next, version) = (self.next, self.version);
        let member = &mut self.members[at];
        member.waits = None;
        match step {
            Step::Enter => {
                member.token = Token::new(member.token.replica(), next);
                member.pushes.clear();
                member.command = Some(Command::Enter(None));
                self.next += 1;
            }
            Step::ShutAndEnter(sealed) => member.command = Some(Command::Enter(Some(sealed))),
            Step::Wait(until) | Step::CloseHere(until) => member.waits = Some(until),
            Step::Check(flight) => member.command = Some(Command::Check(flight)),
            Step::Fetch(flight) => member.command = Some(Command::Fetch(flight)),
            Step::Open(flight, payload) => {
                let opened = Opened::read(&payload, flight, member.token);
                let is_right = opened.is_of_flight || setup.mutant == Mutant::NoFence;
                let asking = member.asking.as_mut().expect("it asks");
                let step = asking.opened(setup.start, is_right && opened.is_for_token);
                if step != Step::Take {
                    return self.go(at, step, setup);
                }
                member.asking = None;
                match opened.value {
                    Some(value) => return self.answer(at, value),
                    None => (member.phase, member.read) = (CallPhase::Calls, version),
                }
            }
            Step::Lead { .. } => {
                (member.asking, member.leading) = (None, Some(Leading::new()));
                (member.phase, member.read) = (CallPhase::Calls, version);
            }
            Step::Alone(_) => {
                member.asking = None;
                (member.phase, member.read) = (CallPhase::Calls, version);
            }
            Step::Take => unreachable!("it follows opening"),
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, at: usize, value: u64) -> Checks<()> {
        let member = &mut self.members[at];
        if member.leading.is_none() {
            member.phase = CallPhase::Done;
        }
        if value < member.least {
            return Err(format!("{at} asked after {} writes and got {value}", member.least));
        }
        Ok(())
    }

    /// The head of its own call.
    pub(super) fn head(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let member = &mut self.members[at];
        let read = member.read;
        match member.leading.as_mut().map(|leading| leading.head(setup.start)) {
            Some(Act::Close { .. }) => {
                (member.phase, member.command) = (CallPhase::Closes, Some(Command::Close))
            }
            _ => member.phase = CallPhase::Done,
        }
        self.answer(at, read)
    }

    /// The connection of this member breaks. The command under way is lost, done or not.
    pub(super) fn disconnect(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let member = &mut self.members[at];
        member.pushes.clear();
        let lost = member.command.take().is_some() | member.reply.take().is_some();
        match member.phase {
            CallPhase::Asks if lost => {
                let asking = member.asking.as_mut().expect("it asks");
                // Whatever it asked for: an error lets it go alone.
                let step = match asking.entered(setup.start, Some(Err(EngineError::Down))) {
                    step @ Step::Alone(_) => step,
                    _ => asking.checked(setup.start, Some(Err(EngineError::Down))),
                };
                self.go(at, step, setup)
            }
            CallPhase::Asks => {
                let flight = member.follows.expect("it waits");
                (member.waits, member.command) = (None, Some(Command::Check(flight)));
                Ok(())
            }
            CallPhase::Closes if lost => {
                self.close_replied(at, None, setup);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
