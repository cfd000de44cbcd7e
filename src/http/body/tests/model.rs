//! Any sequence of events, against a model that is too simple to be wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const DATA: &str = "01234567";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Data(usize),
    Trailers,
    Yield,
    End,
    Fail,
    Panic,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Up(Up),
    Wake,
    Poll(usize),
    Clone(usize),
    Drop(usize),
    Advance(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Pending,
    Data(usize),
    Trailers,
    End,
    Error,
    Panic,
}

#[derive(Clone, Default)]
struct ModelReader {
    at: usize,
    evicted: bool,
    failed: bool,
    parked: bool,
}

/// All frames ever published, and what each reader has of them.
#[derive(Clone, Default)]
struct Model {
    limit: usize,
    slow: SlowReader,
    promised: Option<usize>,
    queue: VecDeque<Up>,
    awake: bool,
    published: Vec<Up>,
    over: Option<Seen>,
    readers: Vec<ModelReader>,
    now: u64,
    deadline: Option<u64>,
}

fn bytes(frames: &[Up]) -> usize {
    let len = |frame: &Up| match frame {
        Up::Data(len) => *len,
        _ => 0,
    };
    frames.iter().map(len).sum()
}

impl Model {
    fn live(&self) -> impl Iterator<Item = &ModelReader> {
        self.readers.iter().filter(|reader| !reader.evicted)
    }

    fn held(&self) -> &[Up] {
        let slowest = self.live().map(|reader| reader.at).min();
        &self.published[slowest.unwrap_or(self.published.len())..]
    }

    fn is_full(&self) -> bool {
        let held = self.held();
        self.slow != SlowReader::Unbounded && held.len() > 1 && bytes(held) >= self.limit
    }

    fn forgive(&mut self) {
        if bytes(self.held()) <= self.limit / 2 {
            self.deadline = None;
        }
    }

    fn evict(&mut self) {
        while self.is_full() {
            let slowest = self.published.len() - self.held().len();
            for reader in &mut self.readers {
                reader.evicted |= reader.at == slowest;
            }
        }
        self.deadline = None;
    }

    /// Whether the readers at the end wait for a slower one.
    fn waits(&mut self) -> bool {
        if !self.is_full() {
            return false;
        }
        let pause = match self.slow {
            SlowReader::BackPressure => return true,
            SlowReader::PauseThenEvict(pause) => pause.as_millis() as u64,
            _ => 0,
        };
        if self.now < *self.deadline.get_or_insert(self.now + pause) {
            return true;
        }
        self.evict();
        false
    }

    fn poll(&mut self, reader: usize) -> Seen {
        let seen = self.look(reader);
        let reader = &mut self.readers[reader];
        reader.parked = seen == Seen::Pending;
        reader.failed |= seen == Seen::Error;
        seen
    }

    fn look(&mut self, reader: usize) -> Seen {
        let ModelReader { at, evicted, failed, .. } = self.readers[reader];
        if failed {
            return Seen::End;
        }
        if evicted {
            return Seen::Error;
        }
        if at == self.published.len() {
            let seen = self.over.unwrap_or_else(|| self.pull());
            if self.over.is_some() || seen == Seen::Pending {
                return seen;
            }
        }
        self.readers[reader].at += 1;
        self.forgive();
        match self.published[at] {
            Up::Data(len) => Seen::Data(len),
            _ => Seen::Trailers,
        }
    }

    /// Polls upstream: anything but pending if there is a frame, or the end.
    fn pull(&mut self) -> Seen {
        if !self.awake || self.waits() {
            return Seen::Pending;
        }
        self.awake = false;
        let Some(event) = self.queue.pop_front() else {
            return Seen::Pending;
        };
        self.awake = true;
        let came = bytes(&self.published);
        let (seen, over) = match event {
            Up::Yield => return Seen::Pending,
            Up::Data(_) | Up::Trailers => {
                self.published.push(event);
                return Seen::Data(0);
            }
            Up::End if self.promised.is_some_and(|promised| came < promised) => (Seen::Error, Seen::Error),
            Up::End => (Seen::End, Seen::End),
            Up::Fail => (Seen::Error, Seen::Error),
            Up::Panic => (Seen::Panic, Seen::Error),
        };
        self.over = Some(over);
        seen
    }

    fn size_hint(&self, reader: &ModelReader) -> (u64, Option<u64>) {
        if self.is_end_stream(reader) {
            return (0, Some(0));
        }
        let behind = bytes(&self.published[reader.at..]) as u64;
        let came = bytes(&self.published);
        let left = self.promised.map(|promised| promised.saturating_sub(came) as u64);
        (behind + left.unwrap_or(0), left.map(|left| behind + left))
    }

    fn is_end_stream(&self, reader: &ModelReader) -> bool {
        let done = reader.at == self.published.len() && self.over == Some(Seen::End);
        reader.failed || !reader.evicted && done
    }
}

/// The model and the real thing, side by side.
struct Both {
    model: Model,
    feed: Feed,
    readers: Vec<Reader>,
    budget: Budget,
}

impl Both {
    fn new(limit: usize, slow: SlowReader, promised: Option<usize>) -> Self {
        let config = config(limit, slow);
        let budget = config.budget.clone();
        let feed = Feed::default();
        if let Some(promised) = promised {
            feed.announce(promised as u64);
        }
        let readers = vec![task::spawn(SharedBody::new(feed.body(), config))];
        let model =
            Model { limit, slow, promised, awake: true, readers: vec![ModelReader::default()], ..Model::default() };
        Self { model, feed, readers, budget }
    }

    async fn step(&mut self, op: Op) {
        let count = self.readers.len();
        match op {
            Op::Up(event) => self.push(event),
            Op::Wake => {
                self.model.awake |= self.feed.0.lock().waker.is_some();
                self.feed.wake();
            }
            Op::Advance(millis) => {
                self.model.now += millis;
                advance(millis).await;
            }
            _ if count == 0 => {}
            Op::Poll(reader) => self.poll(reader % count),
            Op::Clone(reader) => {
                let clone = task::spawn(self.readers[reader % count].clone());
                self.readers.push(clone);
                let model = self.model.readers[reader % count].clone();
                let (parked, failed) = (false, false);
                let model = ModelReader { parked, failed, ..model };
                self.model.readers.push(model);
            }
            Op::Drop(reader) => {
                drop(self.readers.swap_remove(reader % count));
                self.model.readers.swap_remove(reader % count);
                self.model.forgive();
            }
        }
    }

    fn push(&mut self, event: Up) {
        self.model.awake |= self.feed.0.lock().waker.is_some();
        self.model.queue.push_back(event);
        self.feed.push(match event {
            Up::Data(len) => Event::Data(Bytes::from_static(&DATA.as_bytes()[..len])),
            Up::Trailers => Event::Trailers,
            Up::Yield => Event::Yield,
            Up::End => Event::End,
            Up::Fail => Event::Fail,
            Up::Panic => Event::Panic,
        });
    }

    fn poll(&mut self, reader: usize) {
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut self.readers[reader])));
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
        assert_eq!(seen, self.model.poll(reader));
    }

    fn check(&self) {
        let model = &self.model;
        assert_eq!(self.budget.held(), bytes(model.held()) as u64, "bytes held");
        let is_needed = model.over.is_none() && model.live().next().is_some();
        assert_eq!(self.feed.is_dropped(), !is_needed, "upstream dropped");
        for (reader, expected) in self.readers.iter().zip(&model.readers) {
            let hint = reader.size_hint();
            assert_eq!((hint.lower(), hint.upper()), model.size_hint(expected));
            assert_eq!(reader.is_end_stream(), model.is_end_stream(expected));
        }
        self.check_wakers();
    }

    fn check_wakers(&self) {
        for (index, reader) in self.readers.iter().enumerate() {
            let mut model = self.model.clone();
            if model.readers[index].parked && model.poll(index) != Seen::Pending {
                assert!(reader.is_woken(), "reader {index} is not woken");
            }
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
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
        2 => (0..700_u64).prop_map(Op::Advance),
    ];
    vec(op, 1..150)
}

fn policies() -> impl Strategy<Value = SlowReader> {
    select(vec![SlowReader::default(), SlowReader::Evict, SlowReader::BackPressure, SlowReader::Unbounded])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_events_goes_as_in_the_model(
        ops in ops(),
        slow in policies(),
        limit in 0..40_usize,
        promised in option::weighted(0.3, 0..60_usize),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut both = Both::new(limit, slow, promised);
            for op in ops {
                both.step(op).await;
                both.check();
            }
            both.readers.clear();
            assert_eq!(both.budget.held(), 0);
            assert!(both.feed.is_dropped());
        });
    }
}
