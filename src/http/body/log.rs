//! The frames that some reader has yet to get, and the position of every reader.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

#[cfg(feature = "spill")]
use super::spill::{Batch, Piece};
use super::{
    budget::Budget,
    frame::{SharedFrame, len_of},
    spill::{Chunk, SpilledLog},
};
use crate::sync::now;

/// How many frames a reader may fall behind. A window of bytes does not bound the bookkeeping of
/// tiny frames.
const MAX_FRAMES: usize = 1 << 16;

/// A queue of frames with one read position for each reader. With `spill`, the oldest frames may be
/// in a file.
///
/// A position is the number of frames before it: a reader at position `n` gets frame `n` next.
///
/// Invariants:
///
/// 1. Every reader that is not evicted is counted once: in the entry of the frame that it gets
///    next, or in `at_end` if it has them all. `readers` is the sum.
/// 2. The first entry has a reader, or `start` is kept and the entry is the first frame of all, or
///    `spilled` has the frames before it. So, except for newcomers, a frame that every reader has
///    passed is not held, `held` is the lag of the slowest reader in memory, and a reader whose
///    position is before the first frame was evicted.
/// 3. `held` is the sum of the entries' bytes, and exactly that is taken from the budget.
/// 4. `start` never changes back from `Released`.
#[derive(Debug)]
pub(super) struct Log {
    /// The frames before `entries`, in a file. While it has some, `start` is released.
    spilled: SpilledLog,
    entries: VecDeque<HeldFrame>,
    end: u64,
    bytes: u64,
    held: u64,
    at_end: usize,
    readers: usize,
    start: Start,
    budget: Budget,
    /// Giving back made the budget sufficient again, and the bodies that wait for it have to be
    /// told.
    relief: bool,
}

/// How long all frames are kept, from the first on, for newcomers.
#[derive(Debug, PartialEq)]
enum Start {
    Released,
    Kept,
    KeptUntil(Instant),
}

#[derive(Debug)]
struct HeldFrame {
    frame: SharedFrame,
    /// How many readers get this frame next.
    readers: usize,
}

/// What no reader needs any more. It is dropped after the lock is released.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) frames: Vec<SharedFrame>,
    #[cfg(feature = "spill")]
    pub(super) pieces: Vec<Piece>,
}

/// The entry at a reader's position.
pub(super) enum Next {
    Frame(SharedFrame),
    OnDisk(Chunk),
    End,
    Evicted,
}

impl Log {
    /// Makes an empty log with one reader.
    pub(super) fn new(budget: Budget) -> Self {
        let (spilled, entries, start, relief) =
            (SpilledLog::default(), VecDeque::new(), Start::Released, false);
        Self {
            spilled,
            entries,
            end: 0,
            bytes: 0,
            held: 0,
            at_end: 1,
            readers: 1,
            start,
            budget,
            relief,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The length of all frames so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if it holds no frame in memory.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if all readers have left or are evicted.
    pub(super) fn is_deserted(&self) -> bool {
        self.readers == 0
    }

    pub(super) fn has_one_reader(&self) -> bool {
        self.readers == 1
    }

    /// True if it holds as much as it may. A single frame is never too far, or no frame larger
    /// than the window could pass.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        let frames = self.entries.len();
        frames > 1 && (self.held >= limit as u64 || frames >= MAX_FRAMES)
    }

    /// True if the slowest reader has caught up by half of the window.
    pub(super) fn is_half_empty(&self, limit: usize) -> bool {
        let frames = self.entries.len();
        frames <= 1 || (self.held <= limit as u64 / 2 && frames <= MAX_FRAMES / 2)
    }

    /// True if the budget is spent and a reader is more than one frame behind.
    pub(super) fn is_over_budget(&self) -> bool {
        self.entries.len() > 1 && self.budget.is_spent()
    }

    /// Keeps all frames from the first on, until this time, or the window is full, or one reader is
    /// left and has had more than it may keep.
    pub(super) fn keep_start(&mut self, until: Option<Instant>) {
        if self.end == 0 {
            self.start = until.map_or(Start::Kept, Start::KeptUntil);
        }
    }

    /// Moves the frames that no reader needs to `passed`.
    pub(super) fn release_start(&mut self, passed: &mut Passed) {
        if self.start != Start::Released {
            self.start = Start::Released;
            self.trim(passed);
        }
    }

    /// True if the first frame is held, or there is none yet.
    pub(super) fn has_start(&self) -> bool {
        self.end == self.entries.len() as u64
    }

    /// The position of the first frame that is held, in memory or in a file.
    pub(super) fn front(&self) -> u64 {
        self.spilled.front().unwrap_or_else(|| self.front_in_memory())
    }

    /// What changes whenever the slowest reader moves.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.front(), self.spilled.taken_of_front())
    }

    /// The first position that is evicted together with `at`.
    pub(super) fn floor(&self, at: u64) -> u64 {
        self.spilled.floor(at)
    }

    fn front_in_memory(&self) -> u64 {
        self.end - self.entries.len() as u64
    }

    /// Adds a reader.
    pub(super) fn enter(&mut self, position: u64) {
        if let Some(readers) = self.readers_at(position) {
            *readers += 1;
            self.readers += 1;
        }
    }

    /// Removes a reader, and moves the frames that no other reader needs to `passed`. `most`: how
    /// many bytes of the start one reader keeps. `is_held`: they are kept without a reader too.
    pub(super) fn leave(&mut self, position: u64, most: u64, is_held: bool, passed: &mut Passed) {
        if let Some(readers) = self.readers_at(position) {
            *readers -= 1;
            self.readers -= 1;
        }
        if (self.is_deserted() && !is_held) || !self.may_keep(0, most) {
            self.release_start(passed);
        }
        self.trim(passed);
    }

    /// Removes a reader that has all frames, while there are others.
    pub(super) fn leave_end(&mut self) {
        self.at_end -= 1;
        self.readers -= 1;
    }

    /// Moves a reader that is not evicted past all frames, and moves those that no other reader
    /// needs to `passed`.
    pub(super) fn skip_to_end(&mut self, position: u64, passed: &mut Passed) {
        if let Some(readers) = self.readers_at(position) {
            *readers -= 1;
            self.at_end += 1;
        }
        self.trim(passed);
    }

    /// Moves a reader on by one frame, and gives it that frame. A reader that has `bytes` of the
    /// body and needs a file is not moved.
    pub(super) fn next(&mut self, position: u64, bytes: u64) -> Next {
        let Some(index) = self.index(position) else {
            return self.spilled.chunk_at(position, bytes).map_or(Next::Evicted, Next::OnDisk);
        };
        let Some(entry) = self.entries.get_mut(index) else {
            return Next::End;
        };
        entry.readers -= 1;
        let is_last = index == 0
            && entry.readers == 0
            && self.start == Start::Released
            && self.spilled.is_empty();
        let shared = (!is_last).then(|| entry.frame.clone());
        let next = self.entries.get_mut(index + 1);
        *next.map_or(&mut self.at_end, |entry| &mut entry.readers) += 1;
        shared.or_else(|| self.pop()).map_or(Next::End, Next::Frame)
    }

    /// Appends a frame that one of the readers at the end already has. It is held only for other
    /// readers and for newcomers. `most`: how many bytes of the start one reader keeps.
    pub(super) fn push(&mut self, frame: &Frame<Bytes>, most: u64, passed: &mut Passed) {
        let bytes = len_of(frame);
        if self.start != Start::Released && !self.may_keep(bytes, most) {
            self.release_start(passed);
        }
        self.end += 1;
        self.bytes += bytes;
        let others = self.at_end - 1;
        let is_needed = others > 0 || !self.entries.is_empty() || !self.spilled.is_empty();
        if is_needed || self.start != Start::Released {
            self.hold(SharedFrame::of(frame), others);
        }
    }

    /// True if the start may be kept, also with `more` bytes. For the newcomers of a lone reader,
    /// half of the budget is left to readers that lag.
    fn may_keep(&self, more: u64, most: u64) -> bool {
        match self.start {
            Start::KeptUntil(until) if until <= now() => false,
            _ => self.readers > 1 || (self.bytes + more <= most && self.budget.leaves_half(more)),
        }
    }

    /// Evicts the readers at the first entry.
    pub(super) fn evict_slowest(&mut self, passed: &mut Passed) {
        self.readers -= self.spilled.evict_front(passed).unwrap_or_else(|| {
            let readers = self.entries.front().map_or(0, |entry| entry.readers);
            passed.frames.extend(self.pop());
            readers
        });
        self.trim(passed);
    }

    /// True if the budget became sufficient again since `take_relief`.
    pub(super) fn has_relief(&self) -> bool {
        self.relief
    }

    /// True, once, after the budget became sufficient again.
    pub(super) fn take_relief(&mut self) -> bool {
        mem::take(&mut self.relief)
    }

    fn hold(&mut self, frame: SharedFrame, readers: usize) {
        self.held += frame.len();
        self.budget.take(frame.len());
        self.at_end -= readers;
        self.entries.push_back(HeldFrame { frame, readers });
    }

    fn pop(&mut self) -> Option<SharedFrame> {
        let frame = self.entries.pop_front()?.frame;
        self.held -= frame.len();
        self.relief |= self.budget.give_back(frame.len());
        Some(frame)
    }

    fn trim(&mut self, passed: &mut Passed) {
        if self.start != Start::Released {
            return;
        }
        self.spilled.trim(passed);
        while self.spilled.is_empty()
            && self.entries.front().is_some_and(|entry| entry.readers == 0)
        {
            passed.frames.extend(self.pop());
        }
    }

    /// The number of readers at `position`. `None`: they are evicted.
    fn readers_at(&mut self, position: u64) -> Option<&mut usize> {
        let Some(index) = self.index(position) else {
            return self.spilled.readers_at(position);
        };
        let entry = self.entries.get_mut(index);
        Some(entry.map_or(&mut self.at_end, |entry| &mut entry.readers))
    }

    fn index(&self, position: u64) -> Option<usize> {
        position.checked_sub(self.front_in_memory()).map(|index| index as usize)
    }
}

#[cfg(feature = "spill")]
impl Log {
    /// The oldest frames in memory, about `piece` bytes, or until the rest is no more than `keep`.
    /// Trailers are no data: they and the frames behind them stay.
    pub(super) fn batch(&self, piece: u64, keep: u64) -> Option<Batch> {
        let (mut data, mut len) = (Vec::new(), 0);
        let has_to_go = |index, len| {
            let rest = self.entries.len() - index;
            index == 0 || self.held - len > keep || rest > MAX_FRAMES / 2 || self.budget.is_spent()
        };
        for (index, entry) in self.entries.iter().enumerate() {
            match &entry.frame {
                SharedFrame::Data(frame) if len < piece && has_to_go(index, len) => {
                    data.push(frame.clone());
                    len += frame.len() as u64;
                }
                _ => break,
            }
        }
        let first = self.front_in_memory();
        let (end, start) = (first + data.len() as u64, self.bytes - self.held);
        (!data.is_empty()).then_some(Batch { first, end, start, len, data })
    }

    /// Replaces frames in memory by the file that has them.
    pub(super) fn spill(&mut self, mut piece: Piece, passed: &mut Passed) {
        // Meanwhile readers may have passed its first frames, or all of them. Readers before those
        // were evicted, and must not find their frames again: they are no longer counted.
        piece.first = piece.first.max(self.front_in_memory());
        while self.front_in_memory() < piece.end && !self.entries.is_empty() {
            piece.readers += self.entries[0].readers;
            passed.frames.extend(self.pop());
        }
        match piece.readers > 0 || !self.spilled.is_empty() {
            true => self.spilled.push(piece),
            false => passed.pieces.push(piece),
        }
    }

    /// Moves a reader that got data from the file, so that it has `bytes` of the body, and gives
    /// its new position. `None`: it was evicted.
    pub(super) fn pass_spilled(&mut self, at: u64, bytes: u64, passed: &mut Passed) -> Option<u64> {
        let next = self.spilled.pass(at, bytes)?;
        if next != at {
            // Where it goes on was not evicted, because it comes later.
            *self.readers_at(next)? += 1;
            self.trim(passed);
        }
        Some(next)
    }
}
