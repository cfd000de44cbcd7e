//! Any sequence of events, against a model that is too simple to be wrong.

#[cfg(feature = "spill")]
mod disk;
mod reference;

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::{collection::vec, option, prelude::*, sample::select};

use self::reference::{Model, ModelBody, ModelReader, Seen, Up};
use super::*;

const DATA: &str = "01234567";
const SHORT: SlowReader = SlowReader::PauseThenEvict(Duration::from_millis(200));

#[derive(Clone, Copy, Debug)]
enum Op {
    Up(Up),
    Wake,
    Poll(usize),
    Clone(usize),
    Drop(usize),
    /// A newcomer.
    Join,
    /// No newcomers any more.
    Close,
    /// Somebody wants to share who does not yet.
    Knock,
    Advance(u64),
}

/// A body beside its model.
struct Real {
    feed: Feed,
    readers: Vec<Reader>,
    newcomers: Option<Newcomers>,
    held: Option<HeldBody>,
}

/// The model and the real thing, side by side.
struct Both {
    model: Model,
    bodies: Vec<Real>,
    budget: Budget,
    has_file: bool,
}

/// The first body takes newcomers until `door`, and after its end if it `holds`. The other never
/// does.
#[derive(Debug)]
struct Setting {
    limit: usize,
    slow: SlowReader,
    keep_start: usize,
    hold_back: u64,
    budget: usize,
    promised: Option<usize>,
    door: Option<u64>,
    holds: bool,
    /// With `spill`, a file that has room for nothing. It changes nothing.
    has_file: bool,
}

impl Both {
    fn new(
        Setting { limit, slow, keep_start, hold_back, budget, promised, door, holds, has_file }: Setting,
    ) -> Self {
        let model = Model {
            limit,
            slow,
            keep_start,
            hold_back,
            budget,
            bodies: Vec::new(),
            holders: Vec::new(),
            asked: None,
            now: 0,
        };
        let mut both =
            Self { model, bodies: Vec::new(), budget: Budget::new(budget as u64), has_file };
        both.add(promised, door, holds);
        both.add(None, None, false);
        both
    }

    fn add(&mut self, promised: Option<usize>, door: Option<u64>, holds: bool) {
        let feed = Feed::default();
        if let Some(promised) = promised {
            feed.announce(promised as u64);
        }
        let hold_back = Duration::from_millis(self.model.hold_back);
        let (keep_start, budget) = (self.model.keep_start as u64, self.budget.clone());
        let config = BodyConfig {
            keep_start,
            hold_back,
            budget,
            ..config(self.model.limit, self.model.slow)
        };
        #[cfg(feature = "spill")]
        let config = BodyConfig { spill: self.has_file.then(disk::without_room), ..config };
        let body = SharedBody::new(feed.body(), config);
        let newcomers = door
            .and_then(|until| body.newcomers(Some(Instant::now() + Duration::from_millis(until))));
        let held = newcomers.as_ref().filter(|_| holds).and_then(|newcomers| {
            newcomers.outlive_readers();
            newcomers.hold()
        });
        self.bodies.push(Real { feed, readers: vec![task::spawn(body)], newcomers, held });
        let readers = vec![ModelReader::default()];
        self.model.bodies.push(ModelBody {
            promised,
            awake: true,
            readers,
            door,
            holds,
            ..ModelBody::default()
        });
    }

    async fn step(&mut self, index: usize, op: Op) {
        let (real, model) = (&mut self.bodies[index], &mut self.model.bodies[index]);
        let count = real.readers.len();
        match op {
            Op::Up(event) => self.push(index, event),
            Op::Wake => {
                model.awake |= real.feed.0.lock().waker.is_some();
                real.feed.wake();
            }
            Op::Advance(millis) => {
                self.model.now += millis;
                advance(millis).await;
            }
            Op::Knock => assert_eq!(self.budget.admits(), self.model.admits()),
            Op::Join => {
                if let Some(newcomers) = &real.newcomers {
                    let newcomer = newcomers.join();
                    assert_eq!(newcomer.is_some(), model.takes_newcomers());
                    if let Some(newcomer) = newcomer {
                        real.readers.push(task::spawn(newcomer));
                        model.enter(ModelReader::default());
                    }
                }
            }
            Op::Close => {
                if let Some(newcomers) = &real.newcomers {
                    newcomers.close();
                    self.model.close(index);
                }
            }
            _ if count == 0 => {}
            Op::Poll(reader) => self.poll(index, reader % count),
            Op::Clone(reader) => {
                let clone = task::spawn(real.readers[reader % count].clone());
                real.readers.push(clone);
                let origin = model.readers[reader % count].clone();
                let (parked, failed) = (false, false);
                // It has yet to be seen to take nothing.
                model.enter(ModelReader { parked, failed, moved: true, ..origin });
            }
            Op::Drop(reader) => {
                drop(real.readers.swap_remove(reader % count));
                self.model.leave(index, reader % count);
            }
        }
    }

    fn push(&mut self, index: usize, event: Up) {
        let (real, model) = (&self.bodies[index], &mut self.model.bodies[index]);
        model.awake |= real.feed.0.lock().waker.is_some();
        model.queue.push_back(event);
        real.feed.push(match event {
            Up::Data(len) => Event::Data(Bytes::from_static(&DATA.as_bytes()[..len])),
            Up::Trailers => Event::Trailers,
            Up::Yield => Event::Yield,
            Up::End => Event::End,
            Up::Fail => Event::Fail,
            Up::Panic => Event::Panic,
        });
    }

    fn poll(&mut self, index: usize, reader: usize) {
        let polled =
            catch_unwind(AssertUnwindSafe(|| poll(&mut self.bodies[index].readers[reader])));
        let seen = match polled {
            Err(_) => Seen::Panic,
            Ok(Poll::Pending) => Seen::Pending,
            Ok(Poll::Ready(None)) => Seen::End,
            Ok(Poll::Ready(Some(Err(_)))) => Seen::Error,
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data() {
                Ok(data) => Seen::Data(data.len()),
                Err(_) => Seen::Trailers,
            },
        };
        assert_eq!(seen, self.model.poll(index, reader));
    }

    fn check(&self) {
        assert_eq!(self.budget.held(), self.model.held() as u64, "bytes held");
        for (index, (real, model)) in self.bodies.iter().zip(&self.model.bodies).enumerate() {
            let is_needed = model.over.is_none() && model.live().next().is_some();
            assert_eq!(real.feed.is_dropped(), !is_needed, "upstream dropped");
            for (reader, expected) in real.readers.iter().zip(&model.readers) {
                let hint = reader.size_hint();
                assert_eq!((hint.lower(), hint.upper()), model.size_hint(expected));
                assert_eq!(reader.is_end_stream(), model.is_end_stream(expected));
            }
            self.check_wakers(index);
        }
    }

    fn check_wakers(&self, body: usize) {
        for (index, reader) in self.bodies[body].readers.iter().enumerate() {
            if self.model.bodies[body].readers[index].parked {
                // As if somebody had just asked: who waits is not woken to ask again.
                let mut model = Model { asked: Some(self.model.now), ..self.model.clone() };
                let seen = model.poll(body, index);
                assert!(
                    seen == Seen::Pending || reader.is_woken(),
                    "reader {index} of {body} is not woken"
                );
            }
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let up = prop_oneof![
        20 => (0..=DATA.len()).prop_map(Up::Data),
        1 => Just(Up::Trailers),
        2 => Just(Up::Yield),
        1 => select(vec![Up::End, Up::Fail, Up::Panic]),
    ];
    let op = prop_oneof![
        8 => up.prop_map(Op::Up),
        1 => Just(Op::Wake),
        20 => (0..100_usize).prop_map(Op::Poll),
        3 => (0..100_usize).prop_map(Op::Clone),
        2 => (0..100_usize).prop_map(Op::Drop),
        2 => Just(Op::Join),
        3 => Just(Op::Knock),
        2 => (0..700_u64).prop_map(Op::Advance),
    ];
    let op = prop_oneof![200 => op, 1 => Just(Op::Close)];
    vec((prop_oneof![2 => Just(0_usize), 1 => Just(1)], op), 1..150)
}

fn settings() -> impl Strategy<Value = Setting> {
    let slow = vec![
        SHORT,
        SlowReader::default(),
        SlowReader::Evict,
        SlowReader::BackPressure,
        SlowReader::Unbounded,
    ];
    let budget = prop_oneof![1 => 0..30_usize, 1 => Just(usize::MAX)];
    let (promised, door) =
        (option::weighted(0.3, 0..60_usize), option::weighted(0.5, 0..3_000_u64));
    let keep_start = prop_oneof![1 => Just(0_usize), 2 => 0..60_usize];
    let all = (
        0..40_usize,
        select(slow),
        keep_start,
        0..3_000_u64,
        budget,
        promised,
        door,
        any::<bool>(),
        any::<bool>(),
    );
    all.prop_map(|(limit, slow, keep_start, hold_back, budget, promised, door, holds, has_file)| {
        Setting {
            limit,
            slow,
            keep_start,
            hold_back,
            budget,
            promised,
            door,
            holds,
            has_file: has_file && cfg!(feature = "spill"),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_sequence_of_events_goes_as_in_the_model(ops in ops(), setting in settings()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut both = Both::new(setting);
            for (body, op) in ops {
                both.step(body, op).await;
                both.check();
            }
            for body in &mut both.bodies {
                body.readers.clear();
                assert!(body.feed.is_dropped());
                drop(body.held.take());
            }
            assert_eq!(both.budget.held(), 0);
        });
    }
}
