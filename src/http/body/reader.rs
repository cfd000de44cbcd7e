//! One reader of a shared body.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{
    runtime::Handle,
    time::{self, Instant, Sleep},
};

use super::{
    BodyConfig,
    broadcast::{Broadcast, Drive, Parked, Turn},
    driver::BodyDriver,
    frame::SharedFrame,
    spill::{Chunk, ChunkRead},
    state::Position,
    upstream::{BoxUpstream, Item},
};
use crate::{
    error::SharedError,
    sync::{current_runtime, now},
};

type Timer = Pin<Box<Sleep>>;

pub(super) struct Reader {
    broadcast: Arc<Broadcast>,
    position: Position,
    /// Wakes `broadcast`. Made when this reader first polls upstream.
    upstream_waker: Option<Waker>,
    /// Set while this reader waits for a slower one. Each reader has its own timer, so that it does
    /// not depend on the task or the runtime of another.
    timer: Option<Timer>,
    /// Set while this reader waits for the disk.
    read: Option<ChunkRead>,
    departure: Departure,
}

/// What a reader does when it is dropped.
#[derive(Clone, Copy, PartialEq)]
enum Departure {
    /// Leaves, or hands the body over to a driver, if the body runs to completion.
    Reader,
    /// Leaves.
    Driver,
    /// Has left.
    Gone,
}

impl Reader {
    /// Makes the first reader of a body.
    pub(super) fn new(
        upstream: BoxUpstream,
        hint: SizeHint,
        config: Arc<BodyConfig>,
        runs_to_completion: bool,
    ) -> Self {
        let (broadcast, position) = Broadcast::new(upstream, hint, config, runs_to_completion);
        Self::at(position, broadcast)
    }

    fn at(position: Position, broadcast: Arc<Broadcast>) -> Self {
        Self {
            broadcast,
            position,
            upstream_waker: None,
            timer: None,
            read: None,
            departure: Departure::Reader,
        }
    }

    /// Makes a reader at the first frame, if that is held.
    pub(super) fn at_start(broadcast: Arc<Broadcast>) -> Option<Self> {
        let position = broadcast.enter_at_start()?;
        Some(Self::at(position, broadcast))
    }

    pub(super) fn newcomers(&self, until: Option<Instant>) -> Weak<Broadcast> {
        self.broadcast.keep_start(until);
        Arc::downgrade(&self.broadcast)
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        self.timer = None;
        // Each way out writes the item in its last place: a frame is large, and each move of it
        // counts.
        loop {
            if self.read.is_some() {
                if let Some(item) = ready!(self.poll_read(cx)) {
                    return Poll::Ready(Some(item));
                }
            }
            match self.broadcast.next(&mut self.position) {
                Turn::Frame(SharedFrame::Data(data)) => {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Turn::Frame(trailers) => return Poll::Ready(Some(Ok(trailers.into()))),
                Turn::Error(error) => return Poll::Ready(Some(Err(error))),
                Turn::End => return Poll::Ready(None),
                Turn::Poll(upstream) => return self.poll_upstream(upstream, cx),
                Turn::Park => ready!(self.park(cx)),
                Turn::OnDisk(chunk) => self.start_read(chunk),
            }
        }
    }

    #[cold]
    fn start_read(&mut self, chunk: Chunk) {
        self.read = ChunkRead::start(chunk);
        if self.read.is_none() {
            self.broadcast.pass_spilled(&mut self.position, 0);
        }
    }

    /// Waits for the disk. `None`: this reader was evicted meanwhile.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SharedError>>> {
        let Some(read) = &mut self.read else { return Poll::Ready(None) };
        let read = ready!(read.poll(cx));
        self.read = None;
        Poll::Ready(match read {
            Ok(data) => {
                let is_here = self.broadcast.pass_spilled(&mut self.position, data.len() as u64);
                is_here.then(|| Ok(Frame::data(data)))
            }
            Err(error) => {
                self.broadcast.give_up(&mut self.position);
                Some(Err(error))
            }
        })
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.broadcast.size_hint(&self.position)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.broadcast.is_end_stream(&self.position)
    }

    /// Tells a driver how to go on.
    pub(super) fn drive(&mut self) -> Drive {
        let drive = self.broadcast.drive(&self.position);
        if matches!(drive, Drive::Leave) {
            self.departure = Departure::Gone;
        }
        drive
    }

    /// Leaves. If this is the last reader, a task of the current runtime reads the body to its end.
    #[cold]
    fn leave_to_driver(&self) {
        let Some(runtime) = current_runtime() else { return self.broadcast.leave(&self.position) };
        if let Some((position, window)) = self.broadcast.leave_to_driver(&self.position) {
            let mut reader = Self::at(position, Arc::clone(&self.broadcast));
            reader.departure = Departure::Driver;
            runtime.spawn(BodyDriver::new(reader, window));
        }
    }

    fn poll_upstream(&mut self, upstream: BoxUpstream, cx: &Context<'_>) -> Poll<Item> {
        let waker =
            self.upstream_waker.get_or_insert_with(|| Waker::from(Arc::clone(&self.broadcast)));
        self.broadcast.poll(upstream, waker, &mut self.position, cx)
    }

    /// Parks this reader, unless there is something to read.
    fn park(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.broadcast.park(&self.position, cx.waker().clone()) {
            Parked::Again => Poll::Ready(()),
            Parked::Wait => Poll::Pending,
            Parked::Pause(deadline) => self.poll_pause(deadline, cx),
            Parked::Evict => {
                self.broadcast.evict_full(&self.position);
                Poll::Ready(())
            }
        }
    }

    /// Waits for slower readers until `deadline`, then evicts some of them. Without tokio's clock
    /// it does not wait.
    fn poll_pause(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Handle::try_current().is_err() {
            self.broadcast.evict_full(&self.position);
            return Poll::Ready(());
        }
        if deadline > now() {
            // A new timer for each poll, because the last one may belong to another runtime.
            let timer = self.timer.insert(Box::pin(time::sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
        }
        self.broadcast.evict_stopped(&self.position);
        Poll::Ready(())
    }
}

/// The clone goes on from the same position. After an error it gets the error again, because its
/// owner has not seen it.
impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::at(self.broadcast.enter(&self.position), Arc::clone(&self.broadcast))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        match self.departure {
            Departure::Reader if self.broadcast.runs_to_completion => self.leave_to_driver(),
            Departure::Reader | Departure::Driver => self.broadcast.leave(&self.position),
            Departure::Gone => {}
        }
    }
}
