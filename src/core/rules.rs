//! The settings that a flight follows.

use std::time::Duration;

/// Which joiners a flight takes, and when it goes on without its leader or its waiters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) join_within: Option<Duration>,
    pub(crate) max_waiters: usize,
    pub(crate) run_to_completion: bool,
    /// The work moves to a task once it is pending, though nobody has joined here: others wait for
    /// it elsewhere.
    pub(crate) moves_to_task: bool,
    /// How long a result may be taken after it landed.
    pub(crate) hold_for: Option<Duration>,
    pub(crate) rounds: Rounds,
}

impl Rules {
    /// How long a result is held. Nothing counts the calls that take it, so `max_waiters` rules
    /// that out.
    #[inline]
    pub(super) fn holds_for(&self) -> Option<Duration> {
        self.hold_for.filter(|_| self.max_waiters == usize::MAX)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            join_within: None,
            max_waiters: usize::MAX,
            run_to_completion: false,
            moves_to_task: false,
            hold_for: None,
            rounds: Rounds::default(),
        }
    }
}

/// How many more times the followers go on together, in one next flight, when a result is for its
/// leader alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) after_errors: u16,
    pub(crate) after_refusals: u16,
}

/// Why a result is for its leader alone, so that the followers go on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    Error,
    /// The result judges the leader's request, and says nothing about the requests of others.
    #[allow(dead_code, reason = "only HTTP refuses")]
    Refusal,
}

impl Rounds {
    pub(super) fn left(&mut self, after: Setback) -> &mut u16 {
        match after {
            Setback::Error => &mut self.after_errors,
            Setback::Refusal => &mut self.after_refusals,
        }
    }
}
