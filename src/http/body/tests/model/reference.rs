//! What readers must see, by rules that are too simple to be wrong.

use std::{collections::VecDeque, time::Duration};

use super::super::SlowReader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Up {
    Data(usize),
    Trailers,
    Yield,
    End,
    Fail,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Pending,
    Data(usize),
    Trailers,
    End,
    Error,
    Panic,
}

#[derive(Clone, Default)]
pub(super) struct ModelReader {
    pub(super) at: usize,
    pub(super) evicted: bool,
    pub(super) failed: bool,
    pub(super) parked: bool,
    /// It took something since the pause watches.
    pub(super) moved: bool,
}

/// Upstream is not polled.
#[derive(Clone, Copy)]
pub(super) struct ModelPause {
    /// For the window, not for the budget.
    pub(super) for_window: bool,
    pub(super) began: u64,
    pub(super) watched: u64,
}

/// All frames ever published, and what each reader has of them.
#[derive(Clone, Default)]
pub(super) struct ModelBody {
    pub(super) promised: Option<usize>,
    pub(super) queue: VecDeque<Up>,
    pub(super) awake: bool,
    pub(super) published: Vec<Up>,
    pub(super) over: Option<Seen>,
    pub(super) readers: Vec<ModelReader>,
    /// Newcomers may come until then.
    pub(super) door: Option<u64>,
    /// And without readers too, once it has ended well.
    pub(super) holds: bool,
    pub(super) pause: Option<ModelPause>,
    /// In all pauses for the window that are over.
    pub(super) held_back: u64,
    /// Where the slowest stood, and since when.
    pub(super) still: Option<(usize, u64)>,
}

/// Bodies that share a budget.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) limit: usize,
    pub(super) slow: SlowReader,
    /// How much of the start one reader keeps.
    pub(super) keep_start: usize,
    /// How long the slow may hold the others of a body back.
    pub(super) hold_back: u64,
    pub(super) budget: usize,
    pub(super) bodies: Vec<ModelBody>,
    /// Those that ever held a frame, in this order.
    pub(super) holders: Vec<usize>,
    pub(super) asked: Option<u64>,
    pub(super) now: u64,
}

pub(super) fn bytes(frames: &[Up]) -> usize {
    let len = |frame: &Up| match frame {
        Up::Data(len) => *len,
        _ => 0,
    };
    frames.iter().map(len).sum()
}

impl ModelBody {
    pub(super) fn live(&self) -> impl Iterator<Item = &ModelReader> {
        self.readers.iter().filter(|reader| !reader.evicted)
    }

    /// The first frame that is held.
    pub(super) fn front(&self) -> usize {
        let slowest = self.live().map(|reader| reader.at).min();
        if self.door.is_some() { 0 } else { slowest.unwrap_or(self.published.len()) }
    }

    pub(super) fn held(&self) -> &[Up] {
        &self.published[self.front()..]
    }

    /// Not those that have everything.
    pub(super) fn evict_slowest_if(&mut self, stalled: bool) {
        let front = self.front();
        for reader in &mut self.readers {
            reader.evicted |= stalled && reader.at == front && front < self.published.len();
        }
    }

    pub(super) fn takes_newcomers(&self) -> bool {
        let is_open =
            self.live().next().is_some() && self.over != Some(Seen::Error) && self.pause.is_none();
        (is_open || self.is_held()) && self.front() == 0
    }

    pub(super) fn is_held(&self) -> bool {
        self.holds && self.over == Some(Seen::End)
    }

    pub(super) fn enter(&mut self, reader: ModelReader) {
        self.readers.push(reader);
        self.still = None;
    }

    pub(super) fn slowest_moved(&self) -> bool {
        let front = self.front();
        self.live().any(|reader| reader.at == front && reader.moved)
    }

    pub(super) fn watch_anew(&mut self, now: u64) {
        self.readers.iter_mut().for_each(|reader| reader.moved = false);
        if let Some(pause) = &mut self.pause {
            pause.watched = now;
        }
    }

    pub(super) fn end_pause(&mut self, now: u64) {
        if let Some(pause) = self.pause.take() {
            self.held_back += if pause.for_window { now - pause.began } else { 0 };
        }
    }

    /// Whether the start is kept, also with `more` bytes. `half_left`: half of the budget is left
    /// then.
    pub(super) fn may_keep(&self, more: usize, keep_start: usize, half_left: bool) -> bool {
        match self.live().count() {
            0 if !self.is_held() => false,
            0 | 1 => bytes(&self.published) + more <= keep_start && half_left,
            _ => true,
        }
    }

    pub(super) fn publish(&mut self, frame: Up, may_keep: bool, now: u64) {
        self.door = self.door.filter(|until| may_keep && now < *until);
        self.published.push(frame);
    }

    pub(super) fn size_hint(&self, reader: &ModelReader) -> (u64, Option<u64>) {
        if self.is_end_stream(reader) {
            return (0, Some(0));
        }
        let behind = bytes(&self.published[reader.at..]) as u64;
        let came = bytes(&self.published);
        let left = self.promised.map(|promised| promised.saturating_sub(came) as u64);
        (behind + left.unwrap_or(0), left.map(|left| behind + left))
    }

    pub(super) fn is_end_stream(&self, reader: &ModelReader) -> bool {
        let done = reader.at == self.published.len() && self.over == Some(Seen::End);
        reader.failed || !reader.evicted && done
    }
}

impl Model {
    pub(super) fn held(&self) -> usize {
        self.bodies.iter().map(|body| bytes(body.held())).sum()
    }

    pub(super) fn leaves_half(&self, more: usize) -> bool {
        self.held().saturating_add(more) <= self.budget / 2
    }

    pub(super) fn is_spent(&self) -> bool {
        self.held() >= self.budget
    }

    pub(super) fn is_full(&self, body: usize) -> bool {
        let held = self.bodies[body].held();
        let full = bytes(held) >= self.limit || self.is_spent();
        self.slow != SlowReader::Unbounded && held.len() > 1 && full
    }

    pub(super) fn has_room(&self, body: usize, pause: ModelPause) -> bool {
        let held = self.bodies[body].held();
        let has_room =
            if pause.for_window { bytes(held) <= self.limit / 2 } else { !self.is_spent() };
        held.len() <= 1 || has_room
    }

    /// Ends what pauses are over.
    pub(super) fn relax(&mut self) {
        for body in 0..self.bodies.len() {
            if self.bodies[body].pause.is_some_and(|pause| self.has_room(body, pause)) {
                self.bodies[body].end_pause(self.now);
            }
        }
    }

    pub(super) fn evict_full(&mut self, body: usize) {
        while self.is_full(body) {
            self.bodies[body].evict_slowest_if(true);
        }
        self.bodies[body].end_pause(self.now);
        self.relax();
    }

    /// When slow readers have held the others back for as long as they may.
    pub(super) fn end_of_patience(&self, body: usize) -> Option<u64> {
        let body = &self.bodies[body];
        let pause = body.pause.filter(|pause| pause.for_window)?;
        Some(pause.began + self.hold_back.saturating_sub(body.held_back))
    }

    pub(super) fn deadline(&self, body: usize, stopped: Duration) -> Option<u64> {
        let look = self.bodies[body].pause?.watched + stopped.as_millis() as u64;
        Some(self.end_of_patience(body).map_or(look, |end| end.min(look)))
    }

    /// Evicts who made the others wait until the deadline of the pause.
    pub(super) fn evict_stopped(&mut self, body: usize, stopped: Duration) {
        let is_due = self.deadline(body, stopped).is_some_and(|deadline| deadline <= self.now);
        let Some(pause) = self.bodies[body].pause.filter(|_| is_due) else { return };
        let all = self.end_of_patience(body).is_some_and(|end| end <= self.now);
        while !self.has_room(body, pause) && (all || !self.bodies[body].slowest_moved()) {
            self.bodies[body].evict_slowest_if(true);
        }
        if self.has_room(body, pause) {
            // Those who caused it are gone, and so is what they cost.
            self.bodies[body].pause = None;
            self.bodies[body].held_back = if all { 0 } else { self.bodies[body].held_back };
        }
        self.bodies[body].watch_anew(self.now);
        self.relax();
    }

    pub(super) fn admits(&mut self) -> bool {
        if self.is_spent() {
            self.ask();
        }
        !self.is_spent()
    }

    /// Somebody is kept out, or waits.
    pub(super) fn ask(&mut self) {
        if self.asked.is_some_and(|asked| self.now - asked < 100) {
            return;
        }
        self.asked = Some(self.now);
        for body in self.holders.clone() {
            if self.is_spent() {
                self.give_way(body);
                self.relax();
            }
        }
    }

    pub(super) fn give_way(&mut self, index: usize) {
        let (slow, now) = (self.slow, self.now);
        let body = &mut self.bodies[index];
        body.door = None;
        let front = body.front();
        match (slow, body.still) {
            (SlowReader::PauseThenEvict(_), _) if front == body.published.len() => {
                body.still = None
            }
            (SlowReader::PauseThenEvict(pause), Some((at, since))) if at == front => {
                body.evict_slowest_if(now - since >= pause.as_millis() as u64);
            }
            (SlowReader::PauseThenEvict(_), _) => body.still = Some((front, now)),
            (SlowReader::Evict, _) => self.evict_full(index),
            _ => {}
        }
    }

    pub(super) fn pause_if_full(&mut self, index: usize) {
        if self.bodies[index].pause.is_some() || !self.is_full(index) {
            return;
        }
        self.bodies[index].door = None;
        let (is_full, now) = (self.is_full(index), self.now);
        let for_window = bytes(self.bodies[index].held()) >= self.limit;
        let pause = ModelPause { for_window, began: now, watched: now };
        self.bodies[index].pause = is_full.then_some(pause);
        self.bodies[index].watch_anew(now);
    }

    /// Whether the readers at the end wait for a slower one.
    pub(super) fn waits(&mut self, index: usize) -> bool {
        self.pause_if_full(index);
        if self.bodies[index].pause.is_none() {
            return false;
        }
        let deadline = match self.slow {
            SlowReader::PauseThenEvict(stopped) => self.deadline(index, stopped),
            _ => None,
        };
        if self.is_spent() {
            self.ask();
        }
        // Should they give way, the reader is woken, and looks again then.
        match self.slow {
            SlowReader::Evict => self.evict_full(index),
            SlowReader::PauseThenEvict(stopped) if deadline <= Some(self.now) => {
                self.evict_stopped(index, stopped)
            }
            _ => return true,
        }
        self.waits(index)
    }

    pub(super) fn poll(&mut self, body: usize, reader: usize) -> Seen {
        let seen = self.look(body, reader);
        let reader = &mut self.bodies[body].readers[reader];
        reader.parked = seen == Seen::Pending;
        reader.failed |= seen == Seen::Error;
        seen
    }

    pub(super) fn look(&mut self, index: usize, reader: usize) -> Seen {
        let body = &self.bodies[index];
        let ModelReader { at, evicted, failed, .. } = body.readers[reader];
        if failed {
            return Seen::End;
        }
        if evicted {
            return Seen::Error;
        }
        if at == body.published.len() {
            let seen = body.over.unwrap_or_else(|| self.pull(index));
            if self.bodies[index].over.is_some() || seen == Seen::Pending {
                return seen;
            }
        }
        let body = &mut self.bodies[index];
        body.readers[reader].at += 1;
        body.readers[reader].moved = true;
        let seen = match body.published[at] {
            Up::Data(len) => Seen::Data(len),
            _ => Seen::Trailers,
        };
        if !body.held().is_empty() && !self.holders.contains(&index) {
            self.holders.push(index);
        }
        self.relax();
        seen
    }

    /// Polls upstream: anything but pending if there is a frame, or the end.
    pub(super) fn pull(&mut self, index: usize) -> Seen {
        if !self.bodies[index].awake || self.waits(index) {
            return Seen::Pending;
        }
        let body = &mut self.bodies[index];
        body.awake = false;
        let Some(event) = body.queue.pop_front() else {
            return Seen::Pending;
        };
        body.awake = true;
        let came = bytes(&body.published);
        let (seen, over) = match event {
            Up::Yield => return Seen::Pending,
            Up::Data(_) | Up::Trailers => {
                let more = bytes(&[event]);
                let half_left = self.leaves_half(more);
                let body = &mut self.bodies[index];
                let may_keep = body.may_keep(more, self.keep_start, half_left);
                body.publish(event, may_keep, self.now);
                return Seen::Data(0);
            }
            Up::End if body.promised.is_some_and(|promised| came < promised) => {
                (Seen::Error, Seen::Error)
            }
            Up::End => (Seen::End, Seen::End),
            Up::Fail => (Seen::Error, Seen::Error),
            Up::Panic => (Seen::Panic, Seen::Error),
        };
        body.over = Some(over);
        seen
    }

    pub(super) fn leave(&mut self, body: usize, reader: usize) {
        let half_left = self.leaves_half(0);
        let body = &mut self.bodies[body];
        body.readers.swap_remove(reader);
        let may_keep = body.may_keep(0, self.keep_start, half_left);
        body.door = body.door.filter(|until| may_keep && self.now < *until);
        self.relax();
    }

    pub(super) fn close(&mut self, body: usize) {
        self.bodies[body].door = None;
        self.relax();
    }
}
