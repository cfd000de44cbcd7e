//! The file of a group, divided into slots.

use std::{
    fmt, io, mem,
    path::PathBuf,
    sync::{Arc, Weak},
};

use bytes::Bytes;

use super::disk::{Disk, Storage, TempDisk};
use crate::sync::Mutex;

/// The sizes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Limits {
    /// The unit in which the file is given out.
    pub(in crate::http) slot: usize,
    /// How much is written at a time, to the frame.
    pub(in crate::http) piece: u64,
    /// How much a reader reads back at a time, at most.
    pub(in crate::http) chunk: u64,
    /// How much a body may hold beyond its window while the disk writes.
    pub(in crate::http) slack: usize,
}

const LIMITS: Limits = Limits { slot: 64 << 10, piece: 1 << 20, chunk: 256 << 10, slack: 4 << 20 };

/// The temporary file of a group's bodies, and its limit. A clone shares the file.
#[derive(Clone)]
pub(crate) struct Spill(Arc<SharedFile>);

struct SharedFile {
    disk: Box<dyn Disk>,
    limits: Limits,
    /// How many slots the file may have.
    most: u32,
    /// It goes with the last [`Extent`] of it.
    file: Mutex<Weak<SpillFile>>,
}

struct SpillFile {
    group: Arc<SharedFile>,
    slots: Mutex<FileSlots>,
    /// Opened by the first job that writes. Only jobs take this lock, because it is held meanwhile.
    storage: Mutex<Option<Arc<dyn Storage>>>,
}

/// A slot is free, or in one extent.
#[derive(Default)]
struct FileSlots {
    free: Vec<u32>,
    /// How many slots the file has.
    len: u32,
}

/// Owns some slots of the file. `Drop` gives them back, and the last extent closes the file: drop
/// it under no lock.
///
/// A job holds the extent that it writes or reads, so that the slots are not given out again
/// meanwhile.
pub(super) struct Extent {
    file: Arc<SpillFile>,
    slots: Vec<u32>,
}

impl Spill {
    /// In this folder, or in the one of the system.
    pub(crate) fn new(bytes: u64, folder: Option<PathBuf>) -> Self {
        Self::on(Box::new(TempDisk(folder)), bytes, LIMITS)
    }

    pub(in crate::http) fn on(disk: Box<dyn Disk>, bytes: u64, limits: Limits) -> Self {
        let most = u32::try_from(bytes / limits.slot as u64).unwrap_or(u32::MAX);
        Self(Arc::new(SharedFile { disk, limits, most, file: Mutex::default() }))
    }

    pub(in crate::http) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    /// Takes slots for this many bytes. `None`: too few are free.
    pub(super) fn reserve(&self, bytes: u64) -> Option<Extent> {
        let slots = usize::try_from(bytes).ok()?.div_ceil(self.0.limits.slot).max(1);
        if slots > self.0.most as usize {
            return None;
        }
        let mut current = self.0.file.lock();
        let file = current.upgrade().unwrap_or_else(|| SpillFile::of(&self.0));
        let slots = file.slots.lock().take(slots, self.0.most)?;
        *current = Arc::downgrade(&file);
        Some(Extent { file, slots })
    }

    #[cfg(test)]
    pub(in crate::http) fn slots_in_use(&self) -> usize {
        let file = self.0.file.lock().upgrade();
        file.map_or(0, |file| file.slots.lock().in_use())
    }
}

impl SpillFile {
    fn of(group: &Arc<SharedFile>) -> Arc<Self> {
        Arc::new(Self { group: group.clone(), slots: Mutex::default(), storage: Mutex::default() })
    }

    fn open(&self) -> io::Result<Arc<dyn Storage>> {
        let mut storage = self.storage.lock();
        if let Some(open) = &*storage {
            return Ok(open.clone());
        }
        let open: Arc<dyn Storage> = self.group.disk.open()?.into();
        *storage = Some(open.clone());
        Ok(open)
    }
}

impl Drop for SpillFile {
    /// Closing a large file takes time, because its blocks are freed.
    fn drop(&mut self) {
        if let Some(storage) = self.storage.get_mut().take() {
            self.group.disk.run(Box::new(move || drop(storage)));
        }
    }
}

impl FileSlots {
    fn take(&mut self, count: usize, most: u32) -> Option<Vec<u32>> {
        let new = count.saturating_sub(self.free.len());
        let end = u32::try_from(new).ok()?.checked_add(self.len).filter(|end| *end <= most)?;
        let mut slots = self.free.split_off(self.free.len().saturating_sub(count));
        slots.extend(self.len..end);
        self.len = end;
        Some(slots)
    }

    #[cfg(test)]
    fn in_use(&self) -> usize {
        self.len as usize - self.free.len()
    }
}

impl Extent {
    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.file.group.disk
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.file.group.limits
    }

    /// Writes all this data from the start on. It blocks.
    pub(super) fn write(&self, data: &[Bytes]) -> io::Result<()> {
        let (storage, slot_len) = (self.file.open()?, self.limits().slot);
        let (mut slots, mut buffer) = (self.slots.iter(), Vec::with_capacity(slot_len));
        let mut flush = |buffer: &mut Vec<u8>| {
            let slot = *slots.next().expect("the slots were reserved for this data");
            storage.write(buffer, u64::from(slot) * slot_len as u64)?;
            buffer.clear();
            io::Result::Ok(())
        };
        for mut rest in data.iter().map(|data| &data[..]) {
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rest.len().min(slot_len - buffer.len()));
                buffer.extend_from_slice(part);
                rest = after;
                if buffer.len() == slot_len {
                    flush(&mut buffer)?;
                }
            }
        }
        if buffer.is_empty() { Ok(()) } else { flush(&mut buffer) }
    }

    /// Reads `len` bytes from this offset. It blocks.
    pub(super) fn read(&self, from: usize, len: usize) -> io::Result<Bytes> {
        let (storage, slot_len) = (self.file.open()?, self.limits().slot);
        let mut data = vec![0; len];
        let mut done = 0;
        while done < len {
            let (slot, inside) = ((from + done) / slot_len, (from + done) % slot_len);
            let end = len.min(done + slot_len - inside);
            storage.read(
                &mut data[done..end],
                u64::from(self.slots[slot]) * slot_len as u64 + inside as u64,
            )?;
            done = end;
        }
        Ok(data.into())
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let slots = mem::take(&mut self.slots);
        self.file.slots.lock().free.extend(slots);
    }
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill")
            .field("limits", &self.0.limits)
            .field("slots", &self.0.most)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extent").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}
