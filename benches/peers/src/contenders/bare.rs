//! The inner service itself.

use crate::contender::{BARE, Contender, call_ready};
use crate::work::{Answered, Backend, Work};
use tower::Service;

#[derive(Clone)]
pub(crate) struct Bare<W>(Backend<W>);

impl<W: Work> Contender<W> for Bare<W> {
    const NAME: &'static str = BARE;
    const COALESCES: bool = false;
    type Answer = Answered;

    fn new(work: W) -> Self {
        Self(Backend(work))
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        call_ready(&mut self.0, key)
    }

    /// Nothing but the work, so that this is the floor.
    fn once(mut self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        self.0.call(key)
    }
}
