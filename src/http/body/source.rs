//! The source of a reader's frames: upstream itself while there is one reader, else the
//! [`Broadcast`] that all share.

use std::{
    mem,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use http_body::SizeHint;
use tokio::time::Instant;

use super::{
    BodyConfig,
    broadcast::Broadcast,
    error::BodyError,
    reader::Reader,
    upstream::{BoxUpstream, Item, Phase, Report},
};
use crate::{error::SharedError, panics::wake_all, sync::Mutex};

/// The lock is for clones: a clone has only a shared reference, and turns a sole reader into one of
/// several. A reader has `&mut`, and takes no lock.
pub(super) struct FrameSource(Mutex<Access>);

enum Access {
    Sole(Sole),
    Shared(Reader),
    /// The sole reader got everything.
    Ended,
    Failed(Failed),
}

/// The only reader. It keeps nothing, and upstream wakes its task directly.
struct Sole {
    upstream: BoxUpstream,
    report: Report,
    config: Arc<BodyConfig>,
    runs_to_completion: bool,
}

/// A reader whose upstream failed before the body was shared. Its clones get the error as well.
struct Failed {
    error: SharedError,
    /// What upstream said last of its length.
    hint: SizeHint,
    is_seen: bool,
}

impl FrameSource {
    pub(super) fn new(upstream: BoxUpstream, hint: SizeHint, config: Arc<BodyConfig>) -> Self {
        Self(Mutex::new(Access::Sole(Sole {
            upstream,
            report: Report::sole(hint),
            config,
            runs_to_completion: false,
        })))
    }

    /// Call it while there is one reader.
    pub(super) fn run_to_completion(&mut self) {
        if let Access::Sole(sole) = self.0.get_mut() {
            sole.runs_to_completion = true;
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        match self.0.get_mut() {
            Access::Sole(sole) if sole.report.streams() => {
                sole.upstream.as_mut().poll_frame(cx, &mut sole.report)
            }
            Access::Shared(reader) => reader.poll_frame(cx),
            access => Poll::Ready(access.next_after_end()),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &*self.0.lock() {
            Access::Shared(reader) => reader.size_hint(),
            Access::Sole(sole) if !sole.is_end_stream() => sole.report.hint,
            Access::Failed(Failed { hint, is_seen: false, .. }) => *hint,
            _ => SizeHint::with_exact(0),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &*self.0.lock() {
            Access::Sole(sole) => sole.is_end_stream(),
            Access::Shared(reader) => reader.is_end_stream(),
            Access::Ended => true,
            Access::Failed(failed) => failed.is_seen,
        }
    }

    pub(super) fn newcomers(&self, until: Option<Instant>) -> Weak<Broadcast> {
        self.share(|reader| reader.newcomers(until)).unwrap_or_else(|_| Weak::new())
    }

    /// Turns a sole reader into one of several. `Err`: what a clone has after the end.
    fn share<R>(&self, then: impl FnOnce(&Reader) -> R) -> Result<R, Access> {
        let mut access = self.0.lock();
        let parked = access.share();
        let result = match &*access {
            Access::Shared(reader) => Ok(then(reader)),
            Access::Failed(failed) => Err(Access::Failed(failed.unseen())),
            Access::Ended | Access::Sole(_) => Err(Access::Ended),
        };
        drop(access);
        // The next poll gives upstream another waker.
        wake_all(parked);
        result
    }
}

impl From<Reader> for FrameSource {
    fn from(reader: Reader) -> Self {
        Self(Mutex::new(Access::Shared(reader)))
    }
}

impl Clone for FrameSource {
    fn clone(&self) -> Self {
        let access = self.share(Reader::clone).map_or_else(|access| access, Access::Shared);
        Self(Mutex::new(access))
    }
}

/// A sole reader that leaves a body that runs to completion becomes one of several first, because
/// only those hand it over.
impl Drop for FrameSource {
    fn drop(&mut self) {
        let access = self.0.get_mut();
        if matches!(access, Access::Sole(sole) if sole.runs_to_completion) {
            drop(access.share());
        }
    }
}

impl Access {
    /// Turns a sole reader into one of several, and gives the waker of its task.
    fn share(&mut self) -> Option<Waker> {
        let Sole { upstream, mut report, config, runs_to_completion } = self.take_sole()?;
        let parked = report.parked.take();
        *self = match report.streams() {
            true => Self::Shared(Reader::new(upstream, report.hint, config, runs_to_completion)),
            false => Self::after(report),
        };
        parked
    }

    #[cold]
    fn next_after_end(&mut self) -> Item {
        if let Some(sole) = self.take_sole() {
            *self = Self::after(sole.report);
        }
        match self {
            Self::Failed(failed) => failed.next(),
            _ => None,
        }
    }

    /// Takes a sole reader out, and leaves `Ended`.
    fn take_sole(&mut self) -> Option<Sole> {
        match mem::replace(self, Self::Ended) {
            Self::Sole(sole) => Some(sole),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The state of a sole reader whose body is over.
    fn after(report: Report) -> Self {
        let (panicked, hint) = (report.panicked(), report.hint);
        let (error, is_seen) = match report.phase {
            _ if panicked => (SharedError::new(BodyError::Panicked), false),
            Phase::Failed(error) => (error, true),
            Phase::Ended | Phase::Streams => return Self::Ended,
        };
        Self::Failed(Failed { error, hint, is_seen })
    }
}

impl Sole {
    fn is_end_stream(&self) -> bool {
        matches!(self.report.phase, Phase::Ended | Phase::Failed(_))
    }
}

impl Failed {
    fn next(&mut self) -> Item {
        let was_seen = mem::replace(&mut self.is_seen, true);
        (!was_seen).then(|| Err(self.error.clone()))
    }

    fn unseen(&self) -> Self {
        Self { error: self.error.clone(), hint: self.hint, is_seen: false }
    }
}
