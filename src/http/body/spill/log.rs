//! The part of a log that is in the file.

use std::{collections::VecDeque, sync::Arc};

use super::file::Extent;
use crate::http::body::log::Passed;

/// Consecutive frames whose data is in the file. Their boundaries are not kept.
#[derive(Debug)]
pub(in crate::http::body) struct Piece {
    /// The number of frames before it, and the number of frames up to its end.
    pub(in crate::http::body) first: u64,
    pub(in crate::http::body) end: u64,
    /// The number of bytes before it.
    pub(in crate::http::body) start: u64,
    pub(in crate::http::body) len: u64,
    /// How many readers get some of it next.
    pub(in crate::http::body) readers: usize,
    /// How many chunks of it readers took.
    pub(in crate::http::body) taken: u64,
    pub(super) extent: Arc<Extent>,
}

/// The oldest frames of a log.
///
/// A reader inside a piece is at one of its frames, and knows by its bytes how much of the piece it
/// has.
///
/// Invariants:
///
/// 1. Each piece begins where the one before ends, and the first frame in memory follows the last
///    piece, or there is none.
/// 2. The first piece has a reader.
#[derive(Debug, Default)]
pub(in crate::http::body) struct SpilledLog(VecDeque<Piece>);

/// What a reader takes from the file next.
#[derive(Debug)]
pub(in crate::http::body) struct Chunk {
    pub(super) extent: Arc<Extent>,
    /// Where it begins in the extent.
    pub(super) from: usize,
    pub(super) len: usize,
}

impl SpilledLog {
    pub(in crate::http::body) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The position of the first frame.
    pub(in crate::http::body) fn front(&self) -> Option<u64> {
        self.0.front().map(|piece| piece.first)
    }

    /// How many chunks readers took of the first piece.
    pub(in crate::http::body) fn taken_of_front(&self) -> u64 {
        self.0.front().map_or(0, |piece| piece.taken)
    }

    /// The first position in the piece of `at`, or `at` itself if that is in no piece.
    pub(in crate::http::body) fn floor(&self, at: u64) -> u64 {
        self.index(at).map_or(at, |index| self.0[index].first)
    }

    /// The number of readers in the piece of `at`. `None`: there is no such piece.
    pub(in crate::http::body) fn readers_at(&mut self, at: u64) -> Option<&mut usize> {
        let index = self.index(at)?;
        Some(&mut self.0[index].readers)
    }

    /// What a reader gets next that has this many bytes. It may be empty. `None`: there is no such
    /// piece.
    pub(in crate::http::body) fn chunk_at(&self, at: u64, bytes: u64) -> Option<Chunk> {
        let piece = &self.0[self.index(at)?];
        let from = bytes - piece.start;
        let len = (piece.len - from).min(piece.extent.limits().chunk);
        Some(Chunk { extent: piece.extent.clone(), from: from as usize, len: len as usize })
    }

    /// Moves a reader to this many bytes, and gives its new position. `None`: there is no such
    /// piece. If that is the end of a piece, the reader is no longer counted.
    pub(in crate::http::body) fn pass(&mut self, at: u64, bytes: u64) -> Option<u64> {
        let index = self.index(at)?;
        let piece = &mut self.0[index];
        piece.taken += 1;
        if bytes < piece.start + piece.len {
            return Some(at);
        }
        piece.readers -= 1;
        Some(piece.end)
    }

    pub(in crate::http::body) fn push(&mut self, piece: Piece) {
        self.0.push_back(piece);
    }

    /// Removes the first piece, and gives the number of its readers.
    pub(in crate::http::body) fn evict_front(&mut self, passed: &mut Passed) -> Option<usize> {
        let piece = self.0.pop_front()?;
        let readers = piece.readers;
        passed.pieces.push(piece);
        Some(readers)
    }

    /// Moves the pieces that no reader needs to `passed`.
    pub(in crate::http::body) fn trim(&mut self, passed: &mut Passed) {
        while self.0.front().is_some_and(|piece| piece.readers == 0) {
            passed.pieces.extend(self.0.pop_front());
        }
    }

    fn index(&self, at: u64) -> Option<usize> {
        let index = self.0.partition_point(|piece| piece.end <= at);
        self.0.get(index).filter(|piece| piece.first <= at).map(|_| index)
    }
}
