//! A flight that this replica leads for the fleet, as plain data: what happened goes in, what to do
//! next comes out.

use crate::fleet::{
    engine::{Closed, Token},
    wire::Go,
};
use std::time::Duration;
use tokio::time::Instant;

/// If a flight is closed later than this after its head, its followers make their own calls. A
/// token that joined meanwhile would get an answer whose head was known long before it asked.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_millis(100);

/// Invariants:
///
/// 1. Nothing lands unless the flight was closed after its head, and in time.
/// 2. Nothing lands after the lease was lost.
/// 3. The flight is closed or released, whatever happens.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    state: LeadState,
    is_followed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeadState {
    Open,
    /// Closed before its head, so that it takes no more.
    Shut,
    /// The head, or the end without one, was known then.
    Closing(Instant),
    /// Another replica may lead since the lease ended, so nothing may land.
    Lost,
    Over,
}

/// What to do about the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    /// Close the flight. `tells`: its followers are told.
    Close {
        tells: bool,
    },
    /// Give the flight up. Its followers enter again.
    Release,
    /// Land the result for these tokens.
    Land(Vec<Token>),
    /// Land "go" for these tokens.
    Go(Vec<Token>, Go),
}

/// What to do with the call when all callers here have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deserted {
    /// Drop it, and release the flight.
    Drop,
    /// Go on with it, for the followers on other replicas.
    GoOn,
}

impl Leading {
    pub(crate) fn new() -> Self {
        Self { state: LeadState::Open, is_followed: false }
    }

    /// Somebody elsewhere waits.
    pub(crate) fn joined(&mut self) {
        self.is_followed = true;
    }

    /// A renewal said that the lease was lost.
    pub(crate) fn lost(&mut self) {
        if self.state != LeadState::Over {
            self.state = LeadState::Lost;
        }
    }

    /// The flight has to take no more, before its head: it is too old, or was forgotten.
    pub(crate) fn shut(&mut self) -> Act {
        if self.state != LeadState::Open {
            return Act::Nothing;
        }
        self.state = LeadState::Shut;
        Act::Close { tells: false }
    }

    /// The head is known, or that there will be none.
    pub(crate) fn head(&mut self, now: Instant) -> Act {
        match self.state {
            LeadState::Open | LeadState::Shut => {
                self.state = LeadState::Closing(now);
                Act::Close { tells: true }
            }
            LeadState::Closing(_) | LeadState::Lost | LeadState::Over => Act::Nothing,
        }
    }

    /// The reply to closing it after the head. `None`: there was none. `go`: why there is nothing
    /// to share, if so.
    pub(crate) fn closed(&mut self, now: Instant, reply: Option<Closed>, go: Option<Go>) -> Act {
        let LeadState::Closing(head) = self.state else { return Act::Nothing };
        self.state = LeadState::Over;
        match (reply, go) {
            (Some(Closed::Followed(tokens)), _) if now.duration_since(head) > CLOSE_WITHIN => {
                Act::Go(tokens, Go::Late)
            }
            (Some(Closed::Followed(tokens)), Some(go)) => Act::Go(tokens, go),
            (Some(Closed::Followed(tokens)), None) => Act::Land(tokens),
            (Some(Closed::Alone | Closed::Lost) | None, _) => Act::Nothing,
        }
    }

    /// All callers here have gone before the head.
    pub(crate) fn deserted(&self) -> Deserted {
        match self.state {
            LeadState::Open | LeadState::Shut if self.is_followed => Deserted::GoOn,
            _ => Deserted::Drop,
        }
    }

    /// True if another replica waits.
    pub(crate) fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// True if it takes no more.
    pub(crate) fn is_shut(&self) -> bool {
        self.state != LeadState::Open
    }

    /// True if its lease was lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.state == LeadState::Lost
    }

    /// The flight is given up.
    pub(crate) fn release(&mut self) -> Act {
        let state = std::mem::replace(&mut self.state, LeadState::Over);
        if matches!(state, LeadState::Open | LeadState::Shut) { Act::Release } else { Act::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::engine::Replica;

    fn followed() -> Option<Closed> {
        Some(Closed::Followed(vec![token()]))
    }

    fn token() -> Token {
        Token::new(Replica::new([1; 8]), 1)
    }

    #[test]
    fn a_flight_that_is_closed_late_lands_go() {
        let now = Instant::now();
        for (after, act) in [
            (CLOSE_WITHIN, Act::Land(vec![token()])),
            (CLOSE_WITHIN * 2, Act::Go(vec![token()], Go::Late)),
        ] {
            let mut leading = Leading::new();
            assert_eq!(leading.head(now), Act::Close { tells: true });
            assert_eq!(leading.closed(now + after, followed(), None), act);
        }
    }

    #[test]
    fn nothing_lands_after_the_lease_was_lost() {
        let now = Instant::now();
        let mut leading = Leading::new();
        leading.lost();
        assert_eq!(leading.head(now), Act::Nothing);
        assert_eq!(leading.closed(now, followed(), None), Act::Nothing);
        let mut leading = Leading::new();
        leading.head(now);
        assert_eq!(leading.closed(now, Some(Closed::Lost), None), Act::Nothing);
    }

    #[test]
    fn a_flight_that_was_shut_is_closed_again_at_its_head() {
        let now = Instant::now();
        let mut leading = Leading::new();
        assert_eq!(leading.shut(), Act::Close { tells: false });
        assert_eq!(leading.shut(), Act::Nothing);
        assert_eq!(leading.head(now), Act::Close { tells: true });
        assert_eq!(leading.closed(now, followed(), None), Act::Land(vec![token()]));
    }

    #[test]
    fn a_call_goes_on_only_for_those_who_wait_elsewhere() {
        let mut leading = Leading::new();
        assert_eq!(leading.deserted(), Deserted::Drop);
        leading.joined();
        assert_eq!(leading.deserted(), Deserted::GoOn);
        leading.lost();
        assert_eq!(leading.deserted(), Deserted::Drop);
    }
}
