//! Writes the oldest frames of a body to the file.

use std::{
    io,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    file::{Extent, Spill},
    log::Piece,
};
use crate::{
    http::body::{
        broadcast::{Broadcast, Deferred},
        pause::{Cause, disk_patience},
        state::{BodyState, Position},
    },
    sync::now,
};

/// The writes of one body.
#[derive(Default)]
pub(in crate::http::body) struct SpillState {
    /// Set when the log first holds a frame.
    body: Weak<Broadcast>,
    /// Since when a job writes its batch. There is one at a time, so that the pieces stay in order.
    writes_since: Option<Instant>,
    /// A write failed, or took too long. No other is begun.
    has_failed: bool,
}

/// Frames on their way to the file. They stay in the log until they are there.
pub(in crate::http::body) struct Batch {
    pub(in crate::http::body) first: u64,
    pub(in crate::http::body) end: u64,
    pub(in crate::http::body) start: u64,
    pub(in crate::http::body) len: u64,
    pub(in crate::http::body) data: Vec<Bytes>,
}

/// Writes batches of a body, one after the other, until its window has room. If it is dropped
/// before, or panics, that counts as a failed write.
pub(in crate::http::body) struct WriteJob {
    spill: Spill,
    body: Weak<Broadcast>,
    write: Option<Write>,
}

/// A batch, and its place in the file.
pub(in crate::http::body) struct Write {
    batch: Batch,
    extent: Extent,
}

impl WriteJob {
    /// Begins to write. Call it under no lock.
    pub(in crate::http::body) fn start(self) {
        let spill = self.spill.clone();
        spill.disk().run(Box::new(|| self.run()));
    }

    fn run(mut self) {
        while let Some(write) = &self.write {
            let result = write.extent.write(&write.batch.data);
            self.finish(result);
        }
    }

    /// Tells the body, and takes its next batch.
    fn finish(&mut self, result: io::Result<()>) {
        if let Some(write) = self.write.take() {
            let Write { batch, extent } = write;
            let Batch { first, end, start, len, data } = batch;
            let piece =
                Piece { first, end, start, len, readers: 0, taken: 0, extent: Arc::new(extent) };
            self.write = self.body.upgrade().and_then(|body| body.written(piece, result.is_ok()));
            drop(data);
        }
    }
}

impl Drop for WriteJob {
    fn drop(&mut self) {
        self.finish(Err(io::ErrorKind::Interrupted.into()));
    }
}

impl SpillState {
    /// True if a job writes.
    pub(in crate::http::body) fn is_writing(&self) -> bool {
        self.writes_since.is_some()
    }
}

impl BodyState {
    /// Sets the body that the jobs report to.
    pub(in crate::http::body) fn register_spill(&mut self, body: &Arc<Broadcast>) {
        self.spill.body = Arc::downgrade(body);
    }

    /// How many bytes may be held: while a job writes, more than the window.
    pub(in crate::http::body) fn window(&self) -> usize {
        let slack = self
            .config
            .spill
            .as_ref()
            .filter(|_| self.spill.is_writing())
            .map_or(0, |spill| spill.limits().slack);
        self.config.limit.saturating_add(slack)
    }

    /// True if upstream may go on while a job writes.
    pub(in crate::http::body) fn has_slack(&self) -> bool {
        let window = self.config.limit / 2 + self.window() / 2;
        self.spill.is_writing() && !self.log.is_full(window) && !self.lacks_budget()
    }

    /// Begins to write the oldest frames, if the file has room for them. True if a job writes.
    pub(in crate::http::body) fn start_write(&mut self, deferred: &mut Deferred) -> bool {
        let Some(spill) = &self.config.spill else { return false };
        if !self.spill.is_writing() && spill.disk().is_ready() {
            if let Some(write) = self.next_write(spill) {
                let (spill, body) = (spill.clone(), self.spill.body.clone());
                deferred.write = Some(WriteJob { spill, body, write: Some(write) });
                self.spill.writes_since = Some(now());
            }
        }
        self.spill.is_writing()
    }

    /// Begins to write when the window is full, for
    /// [`SlowReader::Unbounded`](super::super::SlowReader), which never pauses.
    pub(in crate::http::body) fn start_write_if_outgrown(&mut self, deferred: &mut Deferred) {
        if self.over.is_none() && self.has_outgrown() && self.start_write(deferred) {
            self.log.release_start(&mut deferred.passed);
        }
    }

    fn has_outgrown(&self) -> bool {
        self.log.is_full(self.config.limit) || self.log.is_over_budget()
    }

    fn next_write(&self, spill: &Spill) -> Option<Write> {
        if self.spill.has_failed {
            return None;
        }
        let batch = self.log.batch(spill.limits().piece, self.config.limit as u64 / 2)?;
        let extent = spill.reserve(batch.len)?;
        Some(Write { batch, extent })
    }

    /// Takes the result of a write, and gives the next one.
    pub(in crate::http::body) fn written(
        &mut self,
        piece: Piece,
        is_ok: bool,
        deferred: &mut Deferred,
    ) -> Option<Write> {
        self.spill.has_failed |= !is_ok;
        if self.spill.has_failed {
            deferred.passed.pieces.push(piece);
        } else {
            self.log.spill(piece, &mut deferred.passed);
        }
        let spill = self.config.spill.as_ref().filter(|_| self.has_outgrown());
        let next = spill.and_then(|spill| self.next_write(spill));
        self.spill.writes_since = next.is_some().then(now);
        self.pause = self.pause.map(|pause| {
            if pause.cause() == Cause::Disk { pause.watched_from_now() } else { pause }
        });
        self.relax(deferred);
        next
    }

    /// Moves a reader that got data from the file. False: it was evicted.
    pub(in crate::http::body) fn pass_spilled(
        &mut self,
        position: &mut Position,
        len: u64,
        deferred: &mut Deferred,
    ) -> bool {
        let bytes = position.bytes + len;
        let Some(at) = self.log.pass_spilled(position.at, bytes, &mut deferred.passed) else {
            return false;
        };
        (position.at, position.bytes) = (at, bytes);
        if self.pause.is_some() {
            self.readers[position.slot].moved_to = Some(at);
            if self.is_full() {
                self.start_write(deferred);
            }
            self.relax(deferred);
        }
        true
    }

    /// True if the disk has taken too long with a batch, although no reader waits for it.
    pub(in crate::http::body) fn disk_hangs(&self) -> bool {
        let patience = disk_patience(&self.config);
        patience
            .zip(self.spill.writes_since)
            .is_some_and(|(patience, since)| now().duration_since(since) >= patience)
    }

    /// Stops writing, as after a failed write: the disk takes too long.
    pub(in crate::http::body) fn give_up_writing(&mut self) {
        (self.spill.has_failed, self.spill.writes_since) = (true, None);
    }
}
