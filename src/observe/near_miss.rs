//! Finds near misses: flights that go on, but that a new call cannot join.
//!
//! A note is a hash in one table of fixed size for the whole process. To add a note costs a store,
//! and to look for one costs a load. A later note may replace an earlier one, so some near misses
//! are not counted. A call that is counted was always a near miss.

use crate::stats::NearMiss;
use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

static NOTES: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];

/// Why calls cannot join a flight or its body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unjoinable {
    /// It was forgotten, or a write sealed it.
    Sealed = 1,
    /// Its body streams.
    #[allow(dead_code, reason = "only HTTP has bodies")]
    HeadKnown = 2,
}

/// The bits of a note that hold the reason, instead of the lowest bits of the hash.
const WHY: u64 = 3;

pub(crate) fn note(hash: u64, why: Unjoinable) -> Note {
    let note = Note::new(hash, why);
    place(hash).store(note.0.get(), Relaxed);
    note
}

pub(crate) fn erase(note: Note) {
    // Does nothing if another note has replaced this one.
    let _ = place(note.0.get()).compare_exchange(note.0.get(), 0, Relaxed, Relaxed);
}

#[inline]
pub(crate) fn find(hash: u64) -> Option<NearMiss> {
    let note = place(hash).load(Relaxed);
    if (note ^ hash) & !WHY != 0 {
        return None;
    }
    match note & WHY {
        1 => Some(NearMiss::Sealed),
        2 => Some(NearMiss::HeadKnown),
        _ => None,
    }
}

fn place(hash: u64) -> &'static AtomicU64 {
    &NOTES[(hash >> 32) as usize % NOTES.len()]
}

/// A hash and a reason. It is never zero, because no reason is zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note(NonZeroU64);

impl Note {
    pub(crate) fn new(hash: u64, why: Unjoinable) -> Self {
        Self(NonZeroU64::new(hash & !WHY | why as u64).expect("no reason is 0"))
    }
}

/// Notes that the body of a flight streams, until this is dropped.
#[derive(Debug)]
#[allow(dead_code, reason = "only HTTP has bodies")]
pub(crate) struct Streams(Note);

#[allow(dead_code, reason = "only HTTP has bodies")]
impl Streams {
    pub(crate) fn note(hash: u64) -> Self {
        Self(note(hash, Unjoinable::HeadKnown))
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        erase(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_by_its_hash_until_it_is_erased() {
        let hash = 0xfeed_0123_4567_89a0;
        note(hash, Unjoinable::Sealed);
        assert_eq!(find(hash), Some(NearMiss::Sealed));
        assert_eq!(find(hash ^ 8), None);
        erase(Note::new(hash, Unjoinable::HeadKnown));
        assert_eq!(find(hash), Some(NearMiss::Sealed));
        erase(Note::new(hash, Unjoinable::Sealed));
        assert_eq!(find(hash), None);
    }

    #[test]
    fn a_note_that_was_replaced_does_not_erase_the_one_that_replaced_it() {
        let (one, two) = (0xbeef_0000_0000_0010, 0xbeef_0000_0000_0020);
        note(one, Unjoinable::Sealed);
        note(two, Unjoinable::HeadKnown);
        erase(Note::new(one, Unjoinable::Sealed));
        assert_eq!((find(one), find(two)), (None, Some(NearMiss::HeadKnown)));
        erase(Note::new(two, Unjoinable::HeadKnown));
    }
}
