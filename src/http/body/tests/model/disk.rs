//! Any sequence of events beside a disk that may fail: what must hold in each.

use super::super::spill::TestDisk;
use super::*;
use crate::http::body::spill::{Limits, Spill};

#[derive(Clone, Copy, Debug)]
enum DiskOp {
    Up(Up),
    Wake,
    Poll(usize),
    Clone(usize),
    Drop(usize),
    Knock,
    Advance(u64),
    /// The disk does one thing.
    Step,
    /// A runtime drops what the disk has to do.
    Lose,
    Fail(bool),
}

#[derive(Debug)]
struct DiskSetting {
    limit: usize,
    slow: SlowReader,
    budget: u64,
    slots: u64,
    limits: Limits,
    /// The disk does all it has to do before each event.
    is_prompt: bool,
}

/// The byte at `n` is `n`, so that each has its place.
#[derive(Default)]
struct Stream {
    feed: Feed,
    fed: usize,
    /// The number of bytes before each.
    trailers: Vec<usize>,
    is_over: bool,
    readers: Vec<Tracked>,
}

struct Tracked {
    reader: Reader,
    got: usize,
    trailers: usize,
    is_over: bool,
    is_parked: bool,
}

struct World {
    setting: DiskSetting,
    disk: TestDisk,
    config: BodyConfig,
    bodies: Vec<Stream>,
    has_failed: bool,
    /// It was not told to do its work for a while.
    is_slow: bool,
}

impl Stream {
    fn push(&mut self, event: Up) {
        if self.is_over {
            return;
        }
        match event {
            Up::Data(len) => {
                let data: Vec<u8> = (self.fed..self.fed + len).map(|n| n as u8).collect();
                self.feed.push(Event::Data(data.into()));
                self.fed += len;
            }
            Up::Trailers => {
                self.trailers.push(self.fed);
                self.feed.push(Event::Trailers);
            }
            Up::Yield => self.feed.push(Event::Yield),
            Up::End => self.feed.push(Event::End),
            Up::Fail | Up::Panic => self.feed.push(Event::Fail),
        }
        self.is_over = matches!(event, Up::End | Up::Fail | Up::Panic);
    }

    /// Something is left for this reader.
    fn owes(&self, reader: &Tracked) -> bool {
        !reader.is_over && (reader.got < self.fed || self.is_over)
    }
}

impl World {
    fn new(setting: DiskSetting) -> Self {
        let disk = TestDisk::default();
        let spill = disk.spill(setting.slots * setting.limits.slot as u64, setting.limits);
        let config = BodyConfig {
            budget: Budget::new(setting.budget),
            spill: Some(spill),
            ..config(setting.limit, setting.slow)
        };
        let bodies = (0..2).map(|_| {
            let feed = Feed::default();
            let reader = task::spawn(SharedBody::new(feed.body(), config.clone()));
            let first = Tracked { reader, got: 0, trailers: 0, is_over: false, is_parked: false };
            Stream { feed, readers: vec![first], ..Stream::default() }
        });
        Self { bodies: bodies.collect(), setting, disk, config, has_failed: false, is_slow: false }
    }

    /// True if nobody may be held back or cut off.
    fn is_ideal(&self) -> bool {
        let has_room = self.setting.slots > 10_000;
        let is_data = self.bodies.iter().all(|body| body.trailers.is_empty());
        self.setting.is_prompt && has_room && is_data && !self.has_failed
    }

    async fn step(&mut self, index: usize, op: DiskOp) {
        if self.setting.is_prompt {
            while self.disk.step() {}
        }
        let body = &mut self.bodies[index];
        let count = body.readers.len();
        match op {
            DiskOp::Up(event) => body.push(event),
            DiskOp::Wake => body.feed.wake(),
            DiskOp::Knock => drop(self.config.budget.admits()),
            DiskOp::Advance(millis) => {
                self.is_slow = true;
                advance(millis).await;
            }
            DiskOp::Step => drop(self.disk.step()),
            DiskOp::Lose => self.has_failed |= self.disk.lose(),
            DiskOp::Fail(fails) => {
                self.has_failed |= fails;
                self.disk.fail(fails);
            }
            _ if count == 0 => {}
            DiskOp::Poll(reader) => self.poll(index, reader % count),
            DiskOp::Clone(reader) => {
                let origin = &body.readers[reader % count];
                let clone = Tracked {
                    reader: task::spawn(origin.reader.clone()),
                    is_parked: false,
                    ..*origin
                };
                // After an error it gets the error again.
                let is_over = clone.is_over && clone.reader.is_end_stream();
                body.readers.push(Tracked { is_over, ..clone });
            }
            DiskOp::Drop(reader) => drop(body.readers.swap_remove(reader % count)),
        }
    }

    fn poll(&mut self, index: usize, reader: usize) {
        let (is_ideal, owes) =
            (self.is_ideal(), self.bodies[index].owes(&self.bodies[index].readers[reader]));
        let mut is_ready = self.poll_once(index, reader);
        for _ in 0..20 {
            if is_ideal && owes && !is_ready {
                while self.disk.step() {}
                is_ready = self.poll_once(index, reader);
            }
        }
        assert!(is_ready || !owes || !is_ideal, "it waits for nothing");
    }

    fn poll_once(&mut self, index: usize, reader: usize) -> bool {
        let is_ideal = self.is_ideal();
        let body = &mut self.bodies[index];
        let reader = &mut body.readers[reader];
        let item = poll(&mut reader.reader);
        reader.is_parked = item.is_pending();
        match item {
            Poll::Pending => return false,
            Poll::Ready(None) if reader.is_over => {}
            Poll::Ready(None) => {
                assert!(body.is_over);
                assert_eq!(
                    (reader.got, reader.trailers),
                    (body.fed, body.trailers.len()),
                    "a clean end"
                );
                reader.is_over = true;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let expected: Vec<u8> =
                        (reader.got..reader.got + data.len()).map(|n| n as u8).collect();
                    assert_eq!(data, expected, "what upstream sent");
                    reader.got += data.len();
                    assert!(reader.got <= body.fed);
                    let trailers = body.trailers.get(reader.trailers);
                    assert!(
                        trailers.is_none_or(|at| reader.got <= *at),
                        "no trailers are left out"
                    );
                }
                Err(_) => {
                    assert_eq!(reader.got, body.trailers[reader.trailers]);
                    reader.trailers += 1;
                }
            },
            Poll::Ready(Some(Err(error))) => {
                let error = error.to_string();
                if error == "upstream failed" {
                    assert_eq!(
                        (reader.got, reader.trailers),
                        (body.fed, body.trailers.len()),
                        "the same prefix"
                    );
                } else if error.contains("cannot be read") {
                    assert!(self.has_failed, "{error}");
                } else {
                    assert!(error.contains("fell more than"), "{error}");
                    assert!(!is_ideal, "it is cut off");
                }
                reader.is_over = true;
            }
        }
        true
    }

    fn check(&mut self) {
        let spill = self.config.spill.as_ref().unwrap();
        assert!(spill.slots_in_use() as u64 <= self.setting.slots, "slots in use");
        if self.setting.slow != SlowReader::Unbounded {
            // A frame may exceed each.
            let most = self.setting.limit + self.setting.limits.slack + 2 * DATA.len();
            assert!(self.config.budget.held() <= 2 * most as u64, "bytes held");
        }
        for index in 0..self.bodies.len() {
            for reader in 0..self.bodies[index].readers.len() {
                let tracked = &self.bodies[index].readers[reader];
                // Nobody is woken because another body gives back its part of the file.
                if tracked.is_parked && !tracked.reader.is_woken() && self.setting.slots > 10_000 {
                    assert!(
                        !self.poll_once(index, reader),
                        "reader {reader} of {index} is not woken"
                    );
                }
            }
        }
    }

    /// Lets the disk and all readers do something. False: nothing is left to do.
    fn go_on(&mut self) -> bool {
        let mut goes_on = self.disk.step();
        for index in 0..self.bodies.len() {
            for reader in 0..self.bodies[index].readers.len() {
                if !self.bodies[index].readers[reader].is_over {
                    goes_on |= self.poll_once(index, reader)
                        || self.bodies[index].readers[reader].reader.is_woken();
                }
            }
        }
        goes_on || self.disk.jobs() > 0
    }

    /// Lets the disk and all readers do what they can, then leaves.
    fn finish(mut self) {
        self.disk.fail(false);
        while self.go_on() {}
        for body in &self.bodies {
            for reader in &body.readers {
                assert!(!body.owes(reader), "a reader hangs");
            }
        }
        self.bodies.clear();
        while self.disk.step() {}
        assert_eq!(self.config.budget.held(), 0);
        assert_eq!(self.config.spill.unwrap().slots_in_use(), 0);
        assert_eq!(self.disk.open_files(), 0);
    }
}

/// A file of no bytes.
pub(super) fn without_room() -> Spill {
    TestDisk::default().spill(0, Limits { slot: 4, piece: 8, chunk: 8, slack: 16 })
}

fn ops() -> impl Strategy<Value = Vec<(usize, DiskOp)>> {
    let up = prop_oneof![
        30 => (0..=DATA.len()).prop_map(Up::Data),
        1 => Just(Up::Trailers),
        2 => Just(Up::Yield),
        1 => select(vec![Up::End, Up::Fail]),
    ];
    let op = prop_oneof![
        80 => up.prop_map(DiskOp::Up),
        10 => Just(DiskOp::Wake),
        200 => (0..100_usize).prop_map(DiskOp::Poll),
        20 => (0..100_usize).prop_map(DiskOp::Clone),
        10 => (0..100_usize).prop_map(DiskOp::Drop),
        10 => Just(DiskOp::Knock),
        10 => (0..700_u64).prop_map(DiskOp::Advance),
        60 => Just(DiskOp::Step),
        1 => Just(DiskOp::Lose),
        1 => any::<bool>().prop_map(DiskOp::Fail),
    ];
    vec((prop_oneof![2 => Just(0_usize), 1 => Just(1)], op), 1..250)
}

fn settings() -> impl Strategy<Value = DiskSetting> {
    let slow = vec![
        SHORT,
        SlowReader::default(),
        SlowReader::Evict,
        SlowReader::BackPressure,
        SlowReader::Unbounded,
    ];
    let budget = prop_oneof![1 => 0..30_u64, 2 => Just(u64::MAX)];
    let slots = prop_oneof![1 => 0..20_u64, 2 => Just(100_000)];
    let limits = (1..5_usize, 1..20_u64, 1..10_u64, 0..20_usize);
    let limits =
        limits.prop_map(|(slot, piece, chunk, slack)| Limits { slot, piece, chunk, slack });
    let all = (0..40_usize, select(slow), budget, slots, limits, any::<bool>());
    all.prop_map(|(limit, slow, budget, slots, limits, is_prompt)| DiskSetting {
        limit,
        slow,
        budget,
        slots,
        limits,
        is_prompt,
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_sequence_of_events_beside_a_disk_gives_what_upstream_sent(
        ops in ops(),
        setting in settings(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new(setting);
            for (body, op) in ops {
                world.step(body, op).await;
                world.check();
            }
            world.finish();
        });
    }
}
