//! The file of slow readers. Each job of the disk is a thread of its own.

use super::*;
use crate::http::body::spill::{Disk, DiskJob, Limits, Spill, Storage};

/// A disk that has room, unless it fails.
struct ModelDisk {
    fails: bool,
}

struct Memory(std::sync::Mutex<Vec<u8>>);

impl Disk for ModelDisk {
    fn is_ready(&self) -> bool {
        true
    }

    fn run(&self, job: DiskJob) {
        model::spawn_thread(job);
    }

    fn run_elsewhere(&self, job: DiskJob) {
        self.run(job);
    }

    fn open(&self) -> io::Result<Box<dyn Storage>> {
        match self.fails {
            true => Err(io::Error::other("no room")),
            false => Ok(Box::new(Memory(std::sync::Mutex::new(vec![0; 9])))),
        }
    }
}

impl Storage for Memory {
    fn write(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.0.lock().unwrap()[at as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn read(&self, data: &mut [u8], at: u64) -> io::Result<()> {
        data.copy_from_slice(&self.0.lock().unwrap()[at as usize..][..data.len()]);
        Ok(())
    }
}

/// With a window of one byte.
fn check_spilled(preemptions: usize, fails: bool, scenario: fn(&World)) {
    check_with(preemptions, move |world| {
        let limits = Limits { slot: 1, piece: 1, chunk: 1, slack: 1 };
        world.config.slow = SlowReader::BackPressure;
        world.config.limit = 1;
        world.config.spill = Some(Spill::on(Box::new(ModelDisk { fails }), 9, limits));
        scenario(world);
        model::join_tasks();
    });
}

#[test]
fn a_reader_reads_its_lag_back_while_another_goes_on() {
    check_spilled(2, false, |world| {
        let (_feed, body) = world.body(&["a", "b", END]);
        let quick = read_elsewhere(body.clone());
        assert_eq!(read(body), "ab.");
        assert_eq!(quick.join().unwrap(), "ab.");
    });
}

#[test]
fn a_slow_reader_leaves_while_its_lag_is_written() {
    check_spilled(2, false, |world| {
        let (_feed, body) = world.body(&["a", "b", "c", END]);
        let slow = body.clone();
        let quick = read_elsewhere(body);
        drop(slow);
        assert_eq!(quick.join().unwrap(), "abc.");
    });
}

#[test]
fn a_write_fails_while_a_reader_waits_for_it() {
    check_spilled(2, true, |world| {
        let (_feed, body) = world.body(&["a", "b", END]);
        let quick = read_elsewhere(body.clone());
        assert_eq!(read(body), "ab.");
        assert_eq!(quick.join().unwrap(), "ab.");
    });
}
