//! What all parts have in common.

use crate::{
    BoxError,
    alive::Population,
    args::Args,
    calls::{Call, Calls},
    injected::Panic,
    report::Report,
    sabotage::Sabotage,
};
use std::{
    any::Any,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

pub(crate) struct World {
    pub(crate) report: Report,
    pub(crate) calls: Arc<Calls>,
    pub(crate) keys: Population,
    pub(crate) works: Population,
    pub(crate) answers: Population,
    sabotage: Option<Sabotage>,
    sequence: AtomicU64,
    hoard: Mutex<Hoard>,
}

/// What is leaked on purpose.
#[derive(Default)]
struct Hoard {
    things: Vec<Box<dyn Any + Send>>,
    memory: Vec<Vec<u8>>,
}

impl World {
    pub(crate) fn new(args: &Args) -> Arc<Self> {
        Arc::new(Self {
            report: Report::new(),
            calls: Calls::new(args.deadline),
            keys: Population::default(),
            works: Population::default(),
            answers: Population::default(),
            sabotage: args.sabotage,
            sequence: AtomicU64::new(1),
            hoard: Mutex::default(),
        })
    }

    /// Orders what happens on different threads.
    pub(crate) fn now(&self) -> u64 {
        self.sequence.fetch_add(1, SeqCst)
    }

    pub(crate) fn open(&self, what: String) -> Call {
        self.calls.open(what)
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn has_storms(&self, has_redis: bool) -> bool {
        self.sabotage.is_none_or(|sabotage| sabotage.concerns_fleets() && !has_redis)
    }

    pub(crate) fn sabotages(&self, how: Sabotage) -> bool {
        self.sabotage == Some(how)
    }

    pub(crate) fn leak(&self, thing: impl Any + Send) {
        self.hoard.lock().unwrap().things.push(Box::new(thing));
    }

    /// Once a round.
    pub(crate) fn leak_between_rounds(&self) -> Result<(), BoxError> {
        if self.sabotages(Sabotage::LeakDescriptor) {
            self.leak(File::open("/dev/null")?);
        }
        if self.sabotages(Sabotage::LeakMemory) {
            self.hoard.lock().unwrap().memory.push(vec![1; 32 << 20]);
        }
        Ok(())
    }

    /// Drops what may panic, as long as it does so on purpose.
    pub(crate) fn discard<T>(&self, part: &str, thing: T) {
        self.guard(part, || drop(thing));
    }

    /// `None` after a panic.
    pub(crate) fn guard<T>(&self, part: &str, what: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(what)) {
            Ok(value) => Some(value),
            Err(payload) => {
                match Panic::of(&*payload) {
                    Panic::Injected(_) => {}
                    Panic::Lost => {
                        self.report.fail(part, "a flight was lost where none is waited for")
                    }
                    Panic::Other(text) => self.report.fail(part, &format!("panicked: {text}")),
                }
                None
            }
        }
    }
}
