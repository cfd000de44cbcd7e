//! A folder for temporary files, which comes and goes.

use crate::world::World;
use std::{env, fs, path::PathBuf, process};

/// By default none: nothing is made then, and nothing is open in it.
#[derive(Clone, Default)]
pub(super) struct Folder(Option<PathBuf>);

impl Folder {
    /// Names a folder, which is not there yet.
    pub(super) fn new(world: &World) -> Self {
        Self(Some(env::temp_dir().join(format!("soak-{}-{}", process::id(), world.now()))))
    }

    #[cfg(feature = "spill")]
    pub(super) fn path(&self) -> PathBuf {
        self.0.clone().unwrap_or_default()
    }

    pub(super) fn create(&self) {
        if let Some(path) = &self.0 {
            // It may be there, or the disk may be full. Either is as good as a folder that is gone.
            drop(fs::create_dir(path));
        }
    }

    /// The files in it have no names, so it is empty.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.0 {
            drop(fs::remove_dir(path));
        }
    }

    /// Whether a file without a name is open in it. Linux only: elsewhere never.
    pub(super) fn has_open_file(&self) -> bool {
        let Some(path) = &self.0 else { return false };
        let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return false };
        descriptors
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(path)))
    }
}
