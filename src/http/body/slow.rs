//! How a body treats its slow readers: when it pauses upstream for them, and when it evicts them.

use std::time::Duration;

use super::{
    SlowReader,
    broadcast::{Deferred, Parked},
    pause::{Cause, Pause},
    state::{BodyState, Position},
};
use crate::sync::now;

impl BodyState {
    /// Begins a pause if the slowest reader has no room left.
    pub(super) fn pause_if_full(&mut self, deferred: &mut Deferred) {
        if self.pause.is_some() || !self.is_full() {
            return;
        }
        self.log.release_start(&mut deferred.passed);
        if self.is_full() {
            self.start_write(deferred);
        }
        self.pause = self.cause().map(Pause::new);
        self.forget_moves();
    }

    /// Tells a reader how to go on during a pause.
    pub(super) fn wait(&self, pause: &Pause, deferred: &mut Deferred) -> Parked {
        let budget = &self.config.budget;
        deferred.spent = budget.is_spent().then(|| budget.clone());
        match self.config.slow {
            SlowReader::Evict if pause.cause() != Cause::Disk => Parked::Evict,
            _ => pause.deadline(&self.config, self.held_back).map_or(Parked::Wait, Parked::Pause),
        }
    }

    /// Lets upstream go on if the slowest reader has made room.
    pub(super) fn relax(&mut self, deferred: &mut Deferred) {
        if self.pause.is_some_and(|pause| self.has_room(&pause)) {
            self.end_pause(deferred);
        }
    }

    /// Evicts the slowest readers at the deadline of a pause, until the pause can end: the readers
    /// that took nothing while they were watched, or all slow readers if they have held the others
    /// back for too long.
    pub(super) fn evict_stopped(&mut self, position: &Position, deferred: &mut Deferred) {
        let Some(pause) = self.pause.filter(|pause| self.is_due(pause)) else { return };
        self.take_waker(position, deferred);
        if pause.cause() == Cause::Disk {
            self.give_up_writing();
            return self.relax(deferred);
        }
        let all = pause.is_too_long(&self.config, self.held_back);
        let end = if all { self.log.end() } else { self.slowest_that_moved() };
        while !self.has_room(&pause) && self.log.front() < end {
            self.log.evict_slowest(&mut deferred.passed);
        }
        match self.has_room(&pause) {
            true => self.go_on_without(all, deferred),
            false => self.watch_again(pause),
        }
    }

    /// Evicts the slowest readers until the window is no longer full, and lets upstream go on.
    pub(super) fn evict_full(&mut self, deferred: &mut Deferred) {
        while self.is_full() {
            self.log.evict_slowest(&mut deferred.passed);
        }
        self.end_pause(deferred);
    }

    /// Makes room in a spent budget: frees the start of the body, which newcomers might have
    /// wanted, and evicts the slowest readers if they stand still, even if no other reader waits
    /// for them. What can be written to a file is not evicted, unless the disk hangs.
    pub(super) fn give_way(&mut self, deferred: &mut Deferred) {
        self.log.release_start(&mut deferred.passed);
        if self.disk_hangs() {
            self.give_up_writing();
        }
        if self.start_write(deferred) {
            return self.relax(deferred);
        }
        let slow = self.config.slow;
        match slow {
            SlowReader::PauseThenEvict(pause) if self.stands_still(pause) => {
                self.log.evict_slowest(&mut deferred.passed);
            }
            SlowReader::Evict => self.evict_full(deferred),
            _ => {}
        }
        self.drop_if_deserted(deferred);
        self.relax(deferred);
    }

    /// True if the slowest reader has not moved since this was asked a pause ago.
    fn stands_still(&mut self, pause: Duration) -> bool {
        // A reader that has everything waits for upstream, and no other reader waits for it.
        if self.log.is_empty() {
            self.still = None;
            return false;
        }
        let (progress, now) = (self.log.progress(), now());
        match self.still {
            Some((before, since)) if before == progress => now.duration_since(since) >= pause,
            _ => {
                self.still = Some((progress, now));
                false
            }
        }
    }

    fn is_due(&self, pause: &Pause) -> bool {
        pause.deadline(&self.config, self.held_back).is_some_and(|deadline| deadline <= now())
    }

    /// Ends a pause after the slow readers were evicted. The pause does not count: the remaining
    /// readers did not cause it.
    fn go_on_without(&mut self, all_slow: bool, deferred: &mut Deferred) {
        if all_slow {
            self.held_back = Duration::ZERO;
        }
        self.pause = None;
        self.unpark(deferred);
    }

    fn watch_again(&mut self, pause: Pause) {
        self.pause = Some(pause.watched_from_now());
        self.forget_moves();
    }

    fn forget_moves(&mut self) {
        for (_, reader) in &mut self.readers {
            reader.moved_to = None;
        }
    }

    /// The position of the slowest reader that moved and is not evicted, or the end of the log if
    /// there is none.
    fn slowest_that_moved(&self) -> u64 {
        let front = self.log.front();
        let moved = self.readers.iter().filter_map(|(_, reader)| reader.moved_to);
        moved.filter(|at| *at >= front).min().map_or(self.log.end(), |at| self.log.floor(at))
    }

    /// True if the slowest reader is as far behind as it may be, by the window or by the budget.
    pub(super) fn is_full(&self) -> bool {
        let (log, window) = (&self.log, self.window());
        self.config.slow != SlowReader::Unbounded && (log.is_full(window) || log.is_over_budget())
    }

    /// Tells why upstream has to pause, if it has to.
    fn cause(&self) -> Option<Cause> {
        let is_full = self.log.is_full(self.window());
        if self.spill.is_writing() {
            return (is_full || self.lacks_budget()).then_some(Cause::Disk);
        }
        match is_full {
            true => Some(Cause::Window),
            false => self.lacks_budget().then_some(Cause::Budget),
        }
    }

    /// True if the budget is spent, also after it knows that this body waits for it.
    pub(super) fn lacks_budget(&self) -> bool {
        if !self.log.is_over_budget() {
            return false;
        }
        if let Some(registration) = &self.registration {
            registration.wait();
        }
        self.log.is_over_budget()
    }

    /// True if the cause of a pause is gone.
    fn has_room(&self, pause: &Pause) -> bool {
        match pause.cause() {
            Cause::Window => self.log.is_half_empty(self.config.limit) || self.has_slack(),
            Cause::Budget => !self.lacks_budget(),
            Cause::Disk => !self.spill.is_writing() || self.has_slack(),
        }
    }

    fn end_pause(&mut self, deferred: &mut Deferred) {
        if let Some(pause) = self.pause.take() {
            self.held_back += pause.held_back();
            self.unpark(deferred);
        }
    }
}
