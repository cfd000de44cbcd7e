//! The lag of readers beyond the window, in a temporary file that all bodies of a group share.
//!
//! When the window of a body is full, its oldest frames are written to the file, and leave the
//! memory once they are there. A reader whose next frame is in the file reads it back in chunks.
//! All of that runs in the blocking pool of tokio. When nothing can be written, the rule of
//! [`SlowReader`](super::SlowReader) applies as without a file.

mod disk;
mod file;
mod log;
mod read;
mod write;

pub(crate) use self::file::Spill;
pub(super) use self::{
    log::{Chunk, Piece, SpilledLog},
    read::ChunkRead,
    write::{Batch, SpillState, Write, WriteJob},
};

#[cfg(test)]
pub(in crate::http) use self::{
    disk::{Disk, DiskJob, Storage},
    file::Limits,
};
