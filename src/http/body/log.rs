//! The frames that some reader has yet to get, and where every reader stands.

use std::{collections::VecDeque, mem};

use tokio::time::Instant;

use super::{budget::Budget, frame::SharedFrame};
use crate::sync::now;

/// How many frames a reader may fall behind, so that the bookkeeping of tiny frames, which no
/// window of bytes bounds, stays small too.
const MAX_FRAMES: usize = 1 << 16;

/// A queue of frames with as many ends to read from as there are readers.
///
/// A place is the number of frames before it: a reader at place `n` gets frame `n` next.
///
/// 0. The door is open for newcomers, or it was closed for good.
/// 1. Every reader that is not evicted is counted once: in the entry of the frame it gets next, or
///    in `at_end` if it got them all.
/// 2. The first entry has a reader, or the door is open and it is the first frame of all. So, but for
///    newcomers, what every reader has passed is not held, `held` is the lag of the slowest reader,
///    and a reader that finds itself before the first entry was evicted.
/// 3. `held` is the sum of the entries' bytes, and exactly that is taken from the budget.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    end: u64,
    bytes: u64,
    held: u64,
    at_end: usize,
    door: Door,
    budget: Budget,
    /// Giving back made the budget sufficient again, and nobody was told yet.
    relief: bool,
}

/// Whether frames are kept from the first on, for newcomers.
#[derive(Debug, PartialEq)]
enum Door {
    Closed,
    Open,
    OpenUntil(Instant),
}

#[derive(Debug)]
struct Entry {
    frame: SharedFrame,
    readers: usize,
}

/// What is at a reader's place.
pub(super) enum Next {
    Frame(SharedFrame),
    End,
    Evicted,
}

impl Log {
    /// An empty log with one reader.
    pub(super) fn new(budget: Budget) -> Self {
        let (entries, door, relief) = (VecDeque::new(), Door::Closed, false);
        Self { entries, end: 0, bytes: 0, held: 0, at_end: 1, door, budget, relief }
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// All bytes that came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether all readers are gone or evicted.
    pub(super) fn is_deserted(&self) -> bool {
        self.at_end == 0 && self.entries.is_empty()
    }

    /// Whether the slowest reader is as far behind as it may be. One frame behind is never too
    /// far, or no frame larger than the window could pass.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        let frames = self.entries.len();
        frames > 1 && (self.held >= limit as u64 || frames >= MAX_FRAMES)
    }

    /// Whether the slowest reader has caught up by half of the window.
    pub(super) fn is_half_empty(&self, limit: usize) -> bool {
        let frames = self.entries.len();
        frames <= 1 || (self.held <= limit as u64 / 2 && frames <= MAX_FRAMES / 2)
    }

    /// Whether the budget is spent, and a reader more than one frame behind.
    pub(super) fn is_over_budget(&self) -> bool {
        self.entries.len() > 1 && self.budget.is_spent()
    }

    /// Keeps all frames from the first on, until `until` at most, or the window is full, or there is one reader only.
    pub(super) fn open_door(&mut self, until: Option<Instant>) {
        if self.end == 0 {
            self.door = until.map_or(Door::Open, Door::OpenUntil);
        }
    }

    /// What no reader needs is moved to `passed`.
    pub(super) fn close_door(&mut self, passed: &mut Vec<SharedFrame>) {
        if self.door != Door::Closed {
            self.door = Door::Closed;
            self.trim(passed);
        }
    }

    /// Whether the first frame is held, or there is none yet.
    pub(super) fn has_start(&self) -> bool {
        self.end == self.entries.len() as u64
    }

    /// The place of the first frame that is held.
    pub(super) fn front(&self) -> u64 {
        self.end - self.entries.len() as u64
    }

    /// A reader more at `place`.
    pub(super) fn enter(&mut self, place: u64) {
        if let Some(readers) = self.readers(place) {
            *readers += 1;
        }
    }

    /// A reader less at `place`; what nobody needs any more is moved to `passed`.
    pub(super) fn leave(&mut self, place: u64, passed: &mut Vec<SharedFrame>) {
        if let Some(readers) = self.readers(place) {
            *readers -= 1;
        }
        self.trim(passed);
    }

    /// Moves a reader on from `place`, and gives it the frame that it passed.
    pub(super) fn next(&mut self, place: u64) -> Next {
        let Some(index) = self.index(place) else {
            return Next::Evicted;
        };
        if index == self.entries.len() {
            return Next::End;
        }
        self.enter(place + 1);
        let entry = &mut self.entries[index];
        entry.readers -= 1;
        let frame = entry.frame.clone();
        if index == 0 && entry.readers == 0 && self.door == Door::Closed {
            // The clone in hand keeps it from being freed here, under the lock.
            self.pop();
        }
        Next::Frame(frame)
    }

    /// Appends a frame that one of the readers at the end has already. It is held only if there
    /// are other readers.
    pub(super) fn push(&mut self, frame: &SharedFrame, passed: &mut Vec<SharedFrame>) {
        let readers = self.at_end - 1;
        let is_alone = readers == 0 && self.entries.is_empty();
        if is_alone || matches!(self.door, Door::OpenUntil(until) if until <= now()) {
            self.close_door(passed);
        }
        self.end += 1;
        self.bytes += frame.len();
        if readers > 0 || !self.entries.is_empty() {
            self.hold(frame.clone(), readers);
        }
    }

    /// Evicts those that stand at the first entry.
    pub(super) fn evict_slowest(&mut self, passed: &mut Vec<SharedFrame>) {
        passed.extend(self.pop());
        self.trim(passed);
    }

    /// Whether the bodies that wait for the budget are to be told to go on.
    pub(super) fn take_relief(&mut self) -> bool {
        mem::take(&mut self.relief)
    }

    fn hold(&mut self, frame: SharedFrame, readers: usize) {
        self.held += frame.len();
        self.budget.take(frame.len());
        self.at_end -= readers;
        self.entries.push_back(Entry { frame, readers });
    }

    fn pop(&mut self) -> Option<SharedFrame> {
        let frame = self.entries.pop_front()?.frame;
        self.held -= frame.len();
        self.relief |= self.budget.give_back(frame.len());
        Some(frame)
    }

    fn trim(&mut self, passed: &mut Vec<SharedFrame>) {
        if self.door != Door::Closed {
            return;
        }
        while self.entries.front().is_some_and(|entry| entry.readers == 0) {
            passed.extend(self.pop());
        }
    }

    /// How many readers are at `place`, unless they are evicted.
    fn readers(&mut self, place: u64) -> Option<&mut usize> {
        let index = self.index(place)?;
        let entry = self.entries.get_mut(index);
        Some(entry.map_or(&mut self.at_end, |entry| &mut entry.readers))
    }

    fn index(&self, place: u64) -> Option<usize> {
        place.checked_sub(self.front()).map(|index| index as usize)
    }
}
