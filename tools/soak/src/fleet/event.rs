//! What happens in a storm.

use fastrand::Rng;
use std::time::Duration;
use tower_singleflight::fleet::testing::{Fault, MemoryEngine, Operation};

pub(super) const REPLICAS: usize = 3;
pub(super) const PATHS: usize = 2;
pub(super) const USERS: usize = 2;

const OPERATIONS: [Operation; 11] = [
    Operation::Enter,
    Operation::ShutAndEnter,
    Operation::Close,
    Operation::Land,
    Operation::Renew,
    Operation::Check,
    Operation::Release,
    Operation::Fetch,
    Operation::Done,
    Operation::Ping,
    Operation::Seal,
];

pub(super) enum Event {
    Ask {
        replica: usize,
        path: usize,
        user: usize,
    },
    Write {
        replica: usize,
        path: usize,
    },
    Forget {
        replica: usize,
        path: usize,
    },
    /// Some clients of a replica leave.
    Leave {
        replica: usize,
    },
    Fault {
        replica: usize,
    },
}

impl Event {
    pub(super) fn any(rng: &mut Rng) -> Self {
        let (replica, path) = (rng.usize(..REPLICAS), rng.usize(..PATHS));
        match rng.u8(..40) {
            0..26 => Self::Ask { replica, path, user: rng.usize(..USERS) },
            26..29 => Self::Write { replica, path },
            29 => Self::Forget { replica, path },
            30..32 => Self::Leave { replica },
            _ => Self::Fault { replica },
        }
    }

    /// How long after the one before.
    pub(super) fn after(rng: &mut Rng) -> Duration {
        const MILLIS: [u64; 9] = [0, 0, 0, 1, 20, 60, 150, 700, 3_200];
        Duration::from_millis(MILLIS[rng.usize(..MILLIS.len())])
    }
}

/// A fault that loses no write.
pub(super) fn mild_fault(replica: &MemoryEngine, engine: &MemoryEngine, rng: &mut Rng) {
    // Without the last one, which tells of writes.
    let operations = &OPERATIONS[..OPERATIONS.len() - 1];
    match rng.u8(..9) {
        0 => engine.expire_leases(),
        1 => engine.expire_closed(),
        2 => engine.evict_waiting(),
        3 => engine.evict_payloads(),
        4 => engine.garble_payloads(|payload| payload.iter().map(|byte| byte ^ 1).collect()),
        _ => replica.fault(operations[rng.usize(..operations.len())], one(rng)),
    }
}

/// Any fault, after which an answer may be older than a write.
pub(super) fn fault(replica: &MemoryEngine, engine: &MemoryEngine, rng: &mut Rng) {
    match rng.u8(..14) {
        0 => replica.partition(rng.bool()),
        1 => replica.drop_pushes(rng.bool()),
        2 => replica.delay(Duration::from_millis(rng.u64(..100))),
        3 => engine.stop(rng.bool()),
        4 => engine.fill(rng.bool()),
        5 => engine.wipe(),
        6 => engine.evict_epochs(),
        7 | 8 => replica.fault(OPERATIONS[rng.usize(..OPERATIONS.len())], one(rng)),
        _ => mild_fault(replica, engine, rng),
    }
}

fn one(rng: &mut Rng) -> Fault {
    let millis = Duration::from_millis;
    match rng.u8(..8) {
        0 => Fault::LoseOperation,
        1 => Fault::LoseReply,
        2 => Fault::FailReply,
        3 => Fault::Refuse,
        4 => Fault::Delay(millis(30)),
        5 => Fault::Delay(millis(200)),
        6 => Fault::DelayReply(millis(120)),
        _ => Fault::DelayReply(millis(4_000)),
    }
}
