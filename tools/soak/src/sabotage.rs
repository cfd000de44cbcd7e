//! What the soak does wrong on purpose, so that a test can see each check fail.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Keys without the user or the body, and policies that trust them: a user gets what is
    /// another's.
    WrongAnswer,
    /// `forget` is not called.
    StaleAnswer,
    /// Writes seal nothing.
    StalePage,
    /// A result is held for longer than it may be.
    HoldTooLong,
    /// What was written to a file is other bytes when it is read.
    GarbleSpill,
    /// The engine of a fleet does as if it had sealed.
    LoseSeals,
    /// The engine of a fleet keeps results for a day.
    KeepEntries,
    /// A `redis-server` is given one script more with each round.
    LeakRedis,
    /// The origin ends a body that it cuts short as if it were whole.
    ShortBody,
    /// A work never ends.
    Strand,
    /// A waiter is kept, and never polled again.
    LeakFlight,
    LeakTask,
    LeakDescriptor,
    LeakMemory,
}

/// Overwrites each file without a name. Linux only.
pub(crate) fn garble_files() {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return };
    for entry in descriptors.flatten().map(|entry| entry.path()) {
        let has_no_name = fs::read_link(&entry)
            .is_ok_and(|target| target.to_string_lossy().ends_with(" (deleted)"));
        // It may have been closed in the meantime.
        let file = has_no_name.then(|| OpenOptions::new().write(true).open(entry));
        if let Some(Ok(mut file)) = file {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            drop(file.write_all(&vec![0; length as usize]));
        }
    }
}

impl Sabotage {
    pub(crate) const ALL: [(Self, &str); 14] = [
        (Self::WrongAnswer, "wrong-answer"),
        (Self::StaleAnswer, "stale-answer"),
        (Self::StalePage, "stale-page"),
        (Self::HoldTooLong, "hold-too-long"),
        (Self::GarbleSpill, "garble-spill"),
        (Self::LoseSeals, "lose-seals"),
        (Self::KeepEntries, "keep-entries"),
        (Self::LeakRedis, "leak-redis"),
        (Self::ShortBody, "short-body"),
        (Self::Strand, "strand"),
        (Self::LeakFlight, "leak-flight"),
        (Self::LeakTask, "leak-task"),
        (Self::LeakDescriptor, "leak-descriptor"),
        (Self::LeakMemory, "leak-memory"),
    ];

    /// Whether a fleet may show it. If none does, there is none: a storm takes seconds in a debug
    /// build.
    #[cfg(feature = "fleet")]
    pub(crate) fn concerns_fleets(self) -> bool {
        matches!(self, Self::WrongAnswer | Self::LoseSeals | Self::KeepEntries)
    }

    pub(crate) fn named(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(sabotage, _)| sabotage).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("it is one of {}", names.join(", "))
        })
    }
}
