//! Where the file is, and who reads and writes it.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread,
};

use tokio::runtime::Handle;

use crate::panics::forget_payload;

/// Work that may block. A job that is dropped without being called reports that itself.
pub(in crate::http) type DiskJob = Box<dyn FnOnce() + Send>;

/// Opens temporary files and runs the jobs that use them. Tests replace it to inject faults.
pub(in crate::http) trait Disk: Send + Sync {
    /// True if jobs can run off the caller's thread.
    fn is_ready(&self) -> bool;

    /// Runs a job where it may block, or drops it. Call it under no lock.
    fn run(&self, job: DiskJob);

    /// Runs a job that the runtime has dropped once. Call it under no lock.
    fn run_elsewhere(&self, job: DiskJob);

    /// Opens a new file that has no name. Only a job calls this.
    fn open(&self) -> io::Result<Box<dyn Storage>>;
}

/// A file. Only jobs call its methods, and drop it.
pub(in crate::http) trait Storage: Send + Sync {
    fn write(&self, data: &[u8], at: u64) -> io::Result<()>;

    /// Fills `data`.
    fn read(&self, data: &mut [u8], at: u64) -> io::Result<()>;
}

/// A folder for temporary files, and the blocking pool of tokio. `None`: the folder of the system.
pub(in crate::http) struct TempDisk(pub(in crate::http) Option<PathBuf>);

impl Disk for TempDisk {
    fn is_ready(&self) -> bool {
        Handle::try_current().is_ok()
    }

    fn run(&self, job: DiskJob) {
        let Ok(runtime) = Handle::try_current() else { return self.run_elsewhere(job) };
        // It panics if the process may have no more threads.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn_blocking(job)))) {
            forget_payload(payload);
        }
    }

    fn run_elsewhere(&self, job: DiskJob) {
        drop(thread::Builder::new().name("singleflight-spill".to_owned()).spawn(job));
    }

    fn open(&self) -> io::Result<Box<dyn Storage>> {
        let file = self.0.as_ref().map_or_else(tempfile::tempfile, tempfile::tempfile_in)?;
        Ok(Box::new(TempFile::from(file)))
    }
}

#[cfg(unix)]
struct TempFile(File);

#[cfg(unix)]
impl From<File> for TempFile {
    fn from(file: File) -> Self {
        Self(file)
    }
}

#[cfg(unix)]
impl Storage for TempFile {
    fn write(&self, data: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, at)
    }

    fn read(&self, data: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, data, at)
    }
}

/// The lock makes one step of seeking and reading.
#[cfg(not(unix))]
struct TempFile(crate::sync::Mutex<File>);

#[cfg(not(unix))]
impl From<File> for TempFile {
    fn from(file: File) -> Self {
        Self(crate::sync::Mutex::new(file))
    }
}

#[cfg(not(unix))]
impl Storage for TempFile {
    fn write(&self, data: &[u8], at: u64) -> io::Result<()> {
        let mut file = self.0.lock();
        io::Seek::seek(&mut *file, io::SeekFrom::Start(at))?;
        io::Write::write_all(&mut *file, data)
    }

    fn read(&self, data: &mut [u8], at: u64) -> io::Result<()> {
        let mut file = self.0.lock();
        io::Seek::seek(&mut *file, io::SeekFrom::Start(at))?;
        io::Read::read_exact(&mut *file, data)
    }
}
