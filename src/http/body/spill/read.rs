//! Reads the file back.

use std::{
    error::Error,
    fmt, io, mem,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{disk::DiskJob, file::Extent, log::Chunk};
use crate::{error::SharedError, panics::wake_all, sync::Mutex};

/// Waits for a chunk, for one reader. When this is dropped, its job does nothing.
pub(in crate::http::body) struct ChunkRead {
    chunk: Chunk,
    result: Arc<ReadResult>,
    /// A runtime dropped the first job.
    is_second: bool,
}

#[derive(Default)]
struct ReadResult(Mutex<(Option<ReadOutcome>, Option<Waker>)>);

enum ReadOutcome {
    Read(io::Result<Bytes>),
    /// The job was dropped.
    Lost,
}

/// Reads a chunk. Reports a loss if it is dropped before it has run.
struct ReadJob {
    extent: Arc<Extent>,
    from: usize,
    len: usize,
    result: Weak<ReadResult>,
    is_done: bool,
}

/// A reader cannot read its lag back.
#[derive(Debug)]
struct UnreadableSpill(io::Error);

impl ChunkRead {
    /// Begins to read. Call it under no lock. `None`: the chunk is empty.
    pub(in crate::http::body) fn start(chunk: Chunk) -> Option<Self> {
        if chunk.len == 0 {
            return None;
        }
        let result = Arc::default();
        chunk.extent.disk().run(job(&chunk, &result));
        Some(Self { chunk, result, is_second: false })
    }

    pub(in crate::http::body) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, SharedError>> {
        loop {
            match self.result.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ReadOutcome::Read(data)) => {
                    return Poll::Ready(data.map_err(unreadable));
                }
                Poll::Ready(ReadOutcome::Lost) if self.is_second => {
                    return Poll::Ready(Err(unreadable(io::Error::other("no thread can read it"))));
                }
                // Its runtime has shut down.
                Poll::Ready(ReadOutcome::Lost) => {
                    (self.result, self.is_second) = (Arc::default(), true);
                    self.chunk.extent.disk().run_elsewhere(job(&self.chunk, &self.result));
                }
            }
        }
    }
}

impl ReadResult {
    fn poll(&self, cx: &Context<'_>) -> Poll<ReadOutcome> {
        // Cloned and dropped under no lock.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.0.lock();
        let outcome = state.0.take();
        if outcome.is_none() {
            mem::swap(&mut state.1, &mut waker);
        }
        drop(state);
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    fn set(&self, outcome: ReadOutcome) {
        let mut state = self.0.lock();
        state.0 = Some(outcome);
        let waker = state.1.take();
        drop(state);
        wake_all(waker);
    }
}

impl ReadJob {
    fn run(mut self) {
        // The reader may have gone meanwhile.
        if self.result.strong_count() > 0 {
            let data = self.extent.read(self.from, self.len);
            self.finish(ReadOutcome::Read(data));
        }
    }

    fn finish(&mut self, outcome: ReadOutcome) {
        self.is_done = true;
        if let Some(result) = self.result.upgrade() {
            result.set(outcome);
        }
    }
}

impl Drop for ReadJob {
    fn drop(&mut self) {
        if !self.is_done {
            self.finish(ReadOutcome::Lost);
        }
    }
}

fn job(chunk: &Chunk, result: &Arc<ReadResult>) -> DiskJob {
    let (extent, result) = (chunk.extent.clone(), Arc::downgrade(result));
    let job = ReadJob { extent, from: chunk.from, len: chunk.len, result, is_done: false };
    Box::new(|| job.run())
}

fn unreadable(error: io::Error) -> SharedError {
    SharedError::new(UnreadableSpill(error))
}

impl fmt::Display for UnreadableSpill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tower-singleflight: this reader fell behind, and the temporary file with the rest of \
             its body cannot be read: {}",
            self.0
        )
    }
}

impl Error for UnreadableSpill {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
