//! A request that asks the fleet, as plain data: what happened goes in, what to do next comes out.

use crate::fleet::{
    engine::{Checked, EngineError, Entry, Token},
    stats::FleetReason,
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// How often one request enters, at most. A store that lies must not keep it entering.
const MAX_ENTRIES: u32 = 8;

/// A request on its way to lead, to take another replica's result, or to go alone.
///
/// Invariants:
///
/// 1. It leads only after the reply "lead" to its latest entry.
/// 2. It takes only what opened for the flight and the token of its latest entry.
/// 3. Each step that it returns is answered by one input of that kind. A push may come at any time.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    state: FollowState,
    entries: u32,
    /// Whether a flight that it followed went away.
    takes_over: bool,
    /// The longest time for which it waits.
    until: Instant,
    /// How much later than its lease it looks after a flight: a tenth of a lease at most.
    jitter: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FollowState {
    /// `shuts`: the entry shuts a sealed flight first.
    Entering {
        shuts: bool,
    },
    Following {
        flight: Token,
        alarm: Instant,
    },
    Checking {
        flight: Token,
        alarm: Instant,
    },
    Fetching {
        flight: Token,
    },
    /// `is_last`: nothing better can come if this does not open.
    Opening {
        flight: Token,
        is_last: bool,
    },
    Over,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Enter with a new token.
    Enter,
    /// Shut this flight, and enter with the same token.
    ShutAndEnter(Token),
    /// Wait for a push, until then.
    Wait(Instant),
    /// Let no call on this replica join any more, and go on waiting until then.
    CloseHere(Instant),
    /// Ask what became of the flight.
    Check(Token),
    /// Fetch the payload of the flight.
    Fetch(Token),
    /// Open this payload of the flight.
    Open(Token, Bytes),
    /// Make the call, for all.
    Lead { takes_over: bool },
    /// Make the call, for this replica.
    Alone(FleetReason),
    /// Take the result that was opened.
    Take,
}

impl Asking {
    /// `until`: how long it waits, at most. `jitter` is at most a tenth of a lease.
    pub(crate) fn new(until: Instant, jitter: Duration) -> (Self, Step) {
        let state = FollowState::Entering { shuts: false };
        (Self { state, entries: 1, takes_over: false, until, jitter }, Step::Enter)
    }

    /// The reply to an entry. `None`: there was none in time.
    pub(crate) fn entered(
        &mut self,
        now: Instant,
        reply: Option<Result<Entry, EngineError>>,
    ) -> Step {
        let FollowState::Entering { shuts } = self.state else { return self.unexpected(now) };
        match reply {
            None => self.alone(FleetReason::Timeout),
            Some(Err(error)) => self.alone(reason_of(error)),
            Some(Ok(Entry::Lead)) => {
                self.state = FollowState::Over;
                Step::Lead { takes_over: self.takes_over }
            }
            Some(Ok(Entry::Follow { flight, left })) => self.follow(now, flight, left),
            Some(Ok(Entry::Pass { .. })) => self.alone(FleetReason::Unshareable),
            Some(Ok(Entry::Sealed { .. })) if shuts => self.alone(FleetReason::Sealed),
            Some(Ok(Entry::Sealed { flight })) => {
                self.state = FollowState::Entering { shuts: true };
                Step::ShutAndEnter(flight)
            }
        }
    }

    /// The flight that it would follow is this replica's own. Its callers here did not join it: it
    /// was sealed, say, or full.
    pub(crate) fn entered_own(&mut self) -> Step {
        self.alone(FleetReason::Sealed)
    }

    /// The flight that it waits for was closed.
    pub(crate) fn closed(&mut self, now: Instant) -> Step {
        match self.state {
            FollowState::Following { alarm, .. } => Step::CloseHere(alarm),
            _ => self.unexpected(now),
        }
    }

    /// The flight that it waits for landed.
    pub(crate) fn landed(&mut self, now: Instant, payload: Option<Bytes>) -> Step {
        let FollowState::Following { flight, .. } = self.state else { return self.unexpected(now) };
        match payload {
            Some(payload) => {
                self.state = FollowState::Opening { flight, is_last: false };
                Step::Open(flight, payload)
            }
            None => {
                self.state = FollowState::Fetching { flight };
                Step::Fetch(flight)
            }
        }
    }

    /// The flight that it waits for was given up.
    pub(crate) fn again(&mut self, now: Instant) -> Step {
        match self.state {
            FollowState::Following { .. } => self.enter_again(now),
            _ => self.unexpected(now),
        }
    }

    /// The time to wait is over.
    pub(crate) fn alarm(&mut self, now: Instant) -> Step {
        match self.state {
            _ if now >= self.until => self.alone(FleetReason::Patience),
            FollowState::Following { flight, alarm } if now >= alarm => {
                self.state = FollowState::Checking { flight, alarm };
                Step::Check(flight)
            }
            _ => self.unexpected(now),
        }
    }

    /// The engine was asked what became of the flight, by this request or for all that wait.
    /// `None`: no reply in time.
    pub(crate) fn checked(
        &mut self,
        now: Instant,
        reply: Option<Result<Checked, EngineError>>,
    ) -> Step {
        let (FollowState::Checking { flight, .. } | FollowState::Following { flight, .. }) =
            self.state
        else {
            return self.unexpected(now);
        };
        match reply {
            None => self.alone(FleetReason::Timeout),
            Some(Err(error)) => self.alone(reason_of(error)),
            Some(Ok(Checked::Pending { left })) => self.follow(now, flight, left),
            Some(Ok(Checked::Gone)) => self.enter_again(now),
            Some(Ok(Checked::Landed)) => {
                self.state = FollowState::Fetching { flight };
                Step::Fetch(flight)
            }
        }
    }

    /// The payload was asked for. `None`: no reply in time.
    pub(crate) fn fetched(
        &mut self,
        now: Instant,
        reply: Option<Result<Option<Bytes>, EngineError>>,
    ) -> Step {
        let FollowState::Fetching { flight } = self.state else { return self.unexpected(now) };
        match reply {
            None => self.alone(FleetReason::TooSlow),
            Some(Err(error)) => self.alone(reason_of(error)),
            Some(Ok(None)) => self.alone(FleetReason::Gone),
            Some(Ok(Some(payload))) => {
                self.state = FollowState::Opening { flight, is_last: true };
                Step::Open(flight, payload)
            }
        }
    }

    /// The payload opened for this flight and token, or it did not. A pushed payload that does not
    /// open is ignored.
    pub(crate) fn opened(&mut self, now: Instant, opened: bool) -> Step {
        match self.state {
            FollowState::Opening { .. } if opened => {
                self.state = FollowState::Over;
                Step::Take
            }
            FollowState::Opening { flight, is_last: false } => {
                self.state = FollowState::Checking { flight, alarm: now };
                Step::Check(flight)
            }
            FollowState::Opening { .. } => self.alone(FleetReason::Garbled),
            _ => self.unexpected(now),
        }
    }

    /// The engine does not answer, while this request waits.
    pub(crate) fn lost(&mut self) -> Step {
        self.alone(FleetReason::Down)
    }

    fn follow(&mut self, now: Instant, flight: Token, left: Duration) -> Step {
        let alarm = (now + left + self.jitter).max(now + SHORTEST_WAIT).min(self.until);
        self.state = FollowState::Following { flight, alarm };
        Step::Wait(alarm)
    }

    fn enter_again(&mut self, now: Instant) -> Step {
        if self.entries == MAX_ENTRIES {
            return self.alone(FleetReason::Gone);
        }
        if now >= self.until {
            return self.alone(FleetReason::Patience);
        }
        (self.entries, self.takes_over) = (self.entries + 1, true);
        self.state = FollowState::Entering { shuts: false };
        Step::Enter
    }

    fn alone(&mut self, reason: FleetReason) -> Step {
        self.state = FollowState::Over;
        Step::Alone(reason)
    }

    /// An input that this state does not wait for, such as a push that came twice.
    fn unexpected(&mut self, now: Instant) -> Step {
        match self.state {
            FollowState::Following { alarm, .. } if now < alarm => Step::Wait(alarm),
            FollowState::Following { flight, alarm } => {
                self.state = FollowState::Checking { flight, alarm };
                Step::Check(flight)
            }
            _ => self.alone(FleetReason::Garbled),
        }
    }
}

/// A flight whose lease is said to be over, although it is pending, is not asked about at once
/// again.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

fn reason_of(error: EngineError) -> FleetReason {
    match error {
        EngineError::Down => FleetReason::Down,
        EngineError::Refused => FleetReason::Busy,
        EngineError::Garbled => FleetReason::Garbled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::engine::Replica;

    const JITTER: Duration = Duration::from_millis(100);

    fn asking(now: Instant) -> Asking {
        Asking::new(now + Duration::from_secs(30), JITTER).0
    }

    fn flight() -> Token {
        Token::new(Replica::new([1; 8]), 1)
    }

    fn following(now: Instant) -> Asking {
        let mut asking = asking(now);
        let left = Duration::from_secs(3);
        let step = asking.entered(now, Some(Ok(Entry::Follow { flight: flight(), left })));
        assert_eq!(step, Step::Wait(now + left + JITTER));
        asking
    }

    #[test]
    fn a_sealed_flight_is_shut_once() {
        let now = Instant::now();
        let mut asking = asking(now);
        let sealed = || Some(Ok(Entry::Sealed { flight: flight() }));
        assert_eq!(asking.entered(now, sealed()), Step::ShutAndEnter(flight()));
        assert_eq!(asking.entered(now, sealed()), Step::Alone(FleetReason::Sealed));
    }

    #[test]
    fn a_pushed_payload_that_does_not_open_is_as_if_it_had_not_come() {
        let now = Instant::now();
        let mut asking = following(now);
        let payload = Bytes::from_static(b"noise");
        assert_eq!(
            asking.landed(now, Some(payload.clone())),
            Step::Open(flight(), payload.clone())
        );
        assert_eq!(asking.opened(now, false), Step::Check(flight()));
        let pending = Checked::Pending { left: Duration::from_secs(1) };
        assert!(matches!(asking.checked(now, Some(Ok(pending))), Step::Wait(_)));
        assert_eq!(asking.landed(now, None), Step::Fetch(flight()));
        assert_eq!(
            asking.fetched(now, Some(Ok(Some(payload.clone())))),
            Step::Open(flight(), payload)
        );
        assert_eq!(asking.opened(now, false), Step::Alone(FleetReason::Garbled));
    }

    #[test]
    fn a_store_that_lies_does_not_keep_it_entering() {
        let now = Instant::now();
        let mut asking = following(now);
        let follow = || Some(Ok(Entry::Follow { flight: flight(), left: Duration::ZERO }));
        let mut entries = 1;
        while asking.again(now) == Step::Enter {
            entries += 1;
            asking.entered(now, follow());
        }
        assert_eq!(entries, MAX_ENTRIES);
    }

    #[test]
    fn it_asks_about_a_flight_only_after_its_lease() {
        let now = Instant::now();
        let mut asking = following(now);
        let alarm = now + Duration::from_secs(3) + JITTER;
        assert_eq!(asking.alarm(now), Step::Wait(alarm));
        assert_eq!(asking.alarm(alarm), Step::Check(flight()));
        assert_eq!(asking.checked(alarm, Some(Ok(Checked::Gone))), Step::Enter);
        assert_eq!(asking.entered(alarm, Some(Ok(Entry::Lead))), Step::Lead { takes_over: true });
    }

    #[test]
    fn it_waits_no_longer_than_it_may() {
        let now = Instant::now();
        let mut asking = Asking::new(now + Duration::from_secs(2), JITTER).0;
        let left = Duration::from_secs(60);
        let until = now + Duration::from_secs(2);
        assert_eq!(
            asking.entered(now, Some(Ok(Entry::Follow { flight: flight(), left }))),
            Step::Wait(until)
        );
        assert_eq!(asking.alarm(until), Step::Alone(FleetReason::Patience));
    }
}
