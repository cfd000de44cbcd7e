//! What `spill` is without the feature: nothing. Its types have no value or no size, so that no
//! body pays for it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    broadcast::{Broadcast, Deferred},
    log::Passed,
    state::{BodyState, Position},
};
use crate::error::SharedError;

/// No part of a body is in a file.
#[derive(Debug, Default)]
pub(super) struct SpilledLog {}

impl SpilledLog {
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        true
    }

    #[inline(always)]
    pub(super) fn front(&self) -> Option<u64> {
        None
    }

    pub(super) fn taken_of_front(&self) -> u64 {
        0
    }

    pub(super) fn floor(&self, at: u64) -> u64 {
        at
    }

    #[inline(always)]
    pub(super) fn readers_at(&mut self, _at: u64) -> Option<&mut usize> {
        None
    }

    #[inline(always)]
    pub(super) fn chunk_at(&self, _at: u64, _bytes: u64) -> Option<Chunk> {
        None
    }

    pub(super) fn evict_front(&mut self, _passed: &mut Passed) -> Option<usize> {
        None
    }

    #[inline(always)]
    pub(super) fn trim(&mut self, _passed: &mut Passed) {}
}

/// Nothing is ever read back.
pub(super) enum Chunk {}

pub(super) enum ChunkRead {}

/// Nothing is ever written.
pub(super) enum WriteJob {}

#[derive(Default)]
pub(super) struct SpillState {}

impl ChunkRead {
    pub(super) fn start(chunk: Chunk) -> Option<Self> {
        match chunk {}
    }

    pub(super) fn poll(&mut self, _: &mut Context<'_>) -> Poll<Result<Bytes, SharedError>> {
        match *self {}
    }
}

impl WriteJob {
    pub(super) fn start(self) {
        match self {}
    }
}

impl SpillState {
    #[inline(always)]
    pub(super) fn is_writing(&self) -> bool {
        false
    }
}

impl BodyState {
    pub(super) fn register_spill(&mut self, _: &Arc<Broadcast>) {}

    #[inline(always)]
    pub(super) fn window(&self) -> usize {
        self.config.limit
    }

    pub(super) fn has_slack(&self) -> bool {
        false
    }

    pub(super) fn start_write(&mut self, _: &mut Deferred) -> bool {
        false
    }

    #[inline(always)]
    pub(super) fn start_write_if_outgrown(&mut self, _: &mut Deferred) {}

    pub(super) fn disk_hangs(&self) -> bool {
        false
    }

    pub(super) fn give_up_writing(&mut self) {}

    pub(super) fn pass_spilled(&mut self, _: &mut Position, _: u64, _: &mut Deferred) -> bool {
        false
    }
}
