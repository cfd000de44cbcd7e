//! What a call of any service, or of an HTTP service, can do.

use crate::{
    core::{group::Role, reentry::FlightNumber},
    layer::job_future::JobFuture,
    observe::{Caller, Work},
    stats::VetoReason,
};
use std::pin::Pin;
use tokio::time::Instant;

/// One call of an inner service. It can do the work of a flight, or pass.
pub trait Job: Send + Sized + 'static {
    /// The result of a flight.
    type Landing: Clone + Send + Sync + 'static;
    /// The result of this call.
    type Output: Send + 'static;

    /// Makes the work of a flight that `caller` leads. `opened` is the time when the flight opened,
    /// if the flight needs that.
    ///
    /// This runs under a lock: it may move the user's values, and must not call the user's code.
    fn start(self, opened: Option<Instant>, caller: Caller) -> Work<Self::Landing>;

    /// Notes that this call joined a flight. If it leads another one later, that is a second try.
    fn follows(&mut self) {}

    /// Calls the service for this caller alone. `waited` is true if the caller was in a flight
    /// before.
    fn pass(self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Decides whether a follower gets this result. `request` is the follower's own call, if it
    /// still has it.
    fn judge(_landing: &Self::Landing, _request: Option<&Self>) -> Verdict {
        Verdict::Take
    }

    /// Joins or leads another flight, after [`Verdict::Again`].
    fn again(self, _landing: &Self::Landing) -> JobFuture<Self> {
        unreachable!("only `Verdict::Again` asks for this")
    }

    /// Returns whether coalescing is turned off. Only followers are asked.
    fn is_disabled(&self) -> bool;

    /// Joins or leads a flight that is newer than `left`.
    fn newer(self, left: FlightNumber) -> JobFuture<Self>;

    /// Returns the rest of the leader's call, if its flight landed for the others only.
    #[cfg(feature = "fleet")]
    fn leader_goes_on(
        _landing: &Self::Landing,
    ) -> Option<Pin<Box<dyn Future<Output = Self::Output> + Send>>> {
        None
    }

    /// Makes the result of this call from that of its flight. `request` is a follower's own call,
    /// if it still has it.
    fn unpack(landing: Self::Landing, role: Role, request: Option<&Self>) -> Self::Output;
}

/// What a follower does with the result of its flight.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Takes it.
    Take,
    /// Sends its own request.
    Pass(VetoReason),
    /// Joins or leads another flight, together with followers that want the same.
    Again(VetoReason),
}
