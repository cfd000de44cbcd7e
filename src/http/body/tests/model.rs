//! Any sequence of events, against a model that is too simple to be wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const DATA: &str = "01234567";
const SHORT: SlowReader = SlowReader::PauseThenEvict(Duration::from_millis(200));

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
    /// A newcomer.
    Join,
    /// No newcomers any more.
    Close,
    /// Somebody wants to share who does not yet.
    Knock,
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
    /// It took something since the pause watches.
    moved: bool,
}

/// Upstream is not polled.
#[derive(Clone, Copy)]
struct ModelPause {
    /// For the window, not for the budget.
    for_window: bool,
    began: u64,
    watched: u64,
}

/// All frames ever published, and what each reader has of them.
#[derive(Clone, Default)]
struct ModelBody {
    promised: Option<usize>,
    queue: VecDeque<Up>,
    awake: bool,
    published: Vec<Up>,
    over: Option<Seen>,
    readers: Vec<ModelReader>,
    /// Newcomers may come until then.
    door: Option<u64>,
    pause: Option<ModelPause>,
    /// In all pauses for the window that are over.
    held_back: u64,
    /// Where the slowest stood, and since when.
    still: Option<(usize, u64)>,
}

/// Bodies that share a budget.
#[derive(Clone)]
struct Model {
    limit: usize,
    slow: SlowReader,
    /// How long the slow may hold the others of a body back.
    hold_back: u64,
    budget: usize,
    bodies: Vec<ModelBody>,
    /// Those that ever held a frame, in this order.
    holders: Vec<usize>,
    asked: Option<u64>,
    now: u64,
}

fn bytes(frames: &[Up]) -> usize {
    let len = |frame: &Up| match frame {
        Up::Data(len) => *len,
        _ => 0,
    };
    frames.iter().map(len).sum()
}

impl ModelBody {
    fn live(&self) -> impl Iterator<Item = &ModelReader> {
        self.readers.iter().filter(|reader| !reader.evicted)
    }

    /// The first frame that is held.
    fn front(&self) -> usize {
        let slowest = self.live().map(|reader| reader.at).min();
        if self.door.is_some() { 0 } else { slowest.unwrap_or(self.published.len()) }
    }

    fn held(&self) -> &[Up] {
        &self.published[self.front()..]
    }

    /// Not those that have everything.
    fn evict_slowest_if(&mut self, stalled: bool) {
        let front = self.front();
        for reader in &mut self.readers {
            reader.evicted |= stalled && reader.at == front && front < self.published.len();
        }
    }

    fn takes_newcomers(&self) -> bool {
        let is_open = self.live().next().is_some() && self.over != Some(Seen::Error) && self.pause.is_none();
        is_open && self.front() == 0
    }

    fn enter(&mut self, reader: ModelReader) {
        self.readers.push(reader);
        self.still = None;
    }

    fn slowest_moved(&self) -> bool {
        let front = self.front();
        self.live().any(|reader| reader.at == front && reader.moved)
    }

    fn watch_anew(&mut self, now: u64) {
        self.readers.iter_mut().for_each(|reader| reader.moved = false);
        if let Some(pause) = &mut self.pause {
            pause.watched = now;
        }
    }

    fn end_pause(&mut self, now: u64) {
        if let Some(pause) = self.pause.take() {
            self.held_back += if pause.for_window { now - pause.began } else { 0 };
        }
    }

    fn publish(&mut self, frame: Up, now: u64) {
        let alone = self.live().count() == 1 && self.held().is_empty();
        self.door = self.door.filter(|until| !alone && now < *until);
        self.published.push(frame);
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

impl Model {
    fn held(&self) -> usize {
        self.bodies.iter().map(|body| bytes(body.held())).sum()
    }

    fn is_spent(&self) -> bool {
        self.held() >= self.budget
    }

    fn is_full(&self, body: usize) -> bool {
        let held = self.bodies[body].held();
        let full = bytes(held) >= self.limit || self.is_spent();
        self.slow != SlowReader::Unbounded && held.len() > 1 && full
    }

    fn has_room(&self, body: usize, pause: ModelPause) -> bool {
        let held = self.bodies[body].held();
        let has_room = if pause.for_window { bytes(held) <= self.limit / 2 } else { !self.is_spent() };
        held.len() <= 1 || has_room
    }

    /// Ends what pauses are over.
    fn relax(&mut self) {
        for body in 0..self.bodies.len() {
            if self.bodies[body].pause.is_some_and(|pause| self.has_room(body, pause)) {
                self.bodies[body].end_pause(self.now);
            }
        }
    }

    fn evict_full(&mut self, body: usize) {
        while self.is_full(body) {
            self.bodies[body].evict_slowest_if(true);
        }
        self.bodies[body].end_pause(self.now);
        self.relax();
    }

    /// When slow readers have held the others back for as long as they may.
    fn end_of_patience(&self, body: usize) -> Option<u64> {
        let body = &self.bodies[body];
        let pause = body.pause.filter(|pause| pause.for_window)?;
        Some(pause.began + self.hold_back.saturating_sub(body.held_back))
    }

    fn deadline(&self, body: usize, stopped: Duration) -> Option<u64> {
        let look = self.bodies[body].pause?.watched + stopped.as_millis() as u64;
        Some(self.end_of_patience(body).map_or(look, |end| end.min(look)))
    }

    /// Evicts who made the others wait until the deadline of the pause.
    fn evict_stopped(&mut self, body: usize, stopped: Duration) {
        let is_due = self.deadline(body, stopped).is_some_and(|deadline| deadline <= self.now);
        let Some(pause) = self.bodies[body].pause.filter(|_| is_due) else { return };
        let all = self.end_of_patience(body).is_some_and(|end| end <= self.now);
        while !self.has_room(body, pause) && (all || !self.bodies[body].slowest_moved()) {
            self.bodies[body].evict_slowest_if(true);
        }
        if self.has_room(body, pause) {
            // Those who caused it are gone, and so is what they cost.
            self.bodies[body].pause = None;
            self.bodies[body].held_back = if all { 0 } else { self.bodies[body].held_back };
        }
        self.bodies[body].watch_anew(self.now);
        self.relax();
    }

    fn admits(&mut self) -> bool {
        if self.is_spent() {
            self.ask();
        }
        !self.is_spent()
    }

    /// Somebody is kept out, or waits.
    fn ask(&mut self) {
        if self.asked.is_some_and(|asked| self.now - asked < 100) {
            return;
        }
        self.asked = Some(self.now);
        for body in self.holders.clone() {
            if self.is_spent() {
                self.give_way(body);
                self.relax();
            }
        }
    }

    fn give_way(&mut self, index: usize) {
        let (slow, now) = (self.slow, self.now);
        let body = &mut self.bodies[index];
        body.door = None;
        let front = body.front();
        match (slow, body.still) {
            (SlowReader::PauseThenEvict(_), _) if front == body.published.len() => body.still = None,
            (SlowReader::PauseThenEvict(pause), Some((at, since))) if at == front => {
                body.evict_slowest_if(now - since >= pause.as_millis() as u64);
            }
            (SlowReader::PauseThenEvict(_), _) => body.still = Some((front, now)),
            (SlowReader::Evict, _) => self.evict_full(index),
            _ => {}
        }
    }

    fn pause_if_full(&mut self, index: usize) {
        if self.bodies[index].pause.is_some() || !self.is_full(index) {
            return;
        }
        self.bodies[index].door = None;
        let (is_full, now) = (self.is_full(index), self.now);
        let for_window = bytes(self.bodies[index].held()) >= self.limit;
        let pause = ModelPause { for_window, began: now, watched: now };
        self.bodies[index].pause = is_full.then_some(pause);
        self.bodies[index].watch_anew(now);
    }

    /// Whether the readers at the end wait for a slower one.
    fn waits(&mut self, index: usize) -> bool {
        self.pause_if_full(index);
        if self.bodies[index].pause.is_none() {
            return false;
        }
        let deadline = match self.slow {
            SlowReader::PauseThenEvict(stopped) => self.deadline(index, stopped),
            _ => None,
        };
        if self.is_spent() {
            self.ask();
        }
        // Should they give way, the reader is woken, and looks again then.
        match self.slow {
            SlowReader::Evict => self.evict_full(index),
            SlowReader::PauseThenEvict(stopped) if deadline <= Some(self.now) => self.evict_stopped(index, stopped),
            _ => return true,
        }
        self.waits(index)
    }

    fn poll(&mut self, body: usize, reader: usize) -> Seen {
        let seen = self.look(body, reader);
        let reader = &mut self.bodies[body].readers[reader];
        reader.parked = seen == Seen::Pending;
        reader.failed |= seen == Seen::Error;
        seen
    }

    fn look(&mut self, index: usize, reader: usize) -> Seen {
        let body = &self.bodies[index];
        let ModelReader { at, evicted, failed, .. } = body.readers[reader];
        if failed {
            return Seen::End;
        }
        if evicted {
            return Seen::Error;
        }
        if at == body.published.len() {
            let seen = body.over.unwrap_or_else(|| self.pull(index));
            if self.bodies[index].over.is_some() || seen == Seen::Pending {
                return seen;
            }
        }
        let body = &mut self.bodies[index];
        body.readers[reader].at += 1;
        body.readers[reader].moved = true;
        let seen = match body.published[at] {
            Up::Data(len) => Seen::Data(len),
            _ => Seen::Trailers,
        };
        if !body.held().is_empty() && !self.holders.contains(&index) {
            self.holders.push(index);
        }
        self.relax();
        seen
    }

    /// Polls upstream: anything but pending if there is a frame, or the end.
    fn pull(&mut self, index: usize) -> Seen {
        if !self.bodies[index].awake || self.waits(index) {
            return Seen::Pending;
        }
        let body = &mut self.bodies[index];
        body.awake = false;
        let Some(event) = body.queue.pop_front() else {
            return Seen::Pending;
        };
        body.awake = true;
        let came = bytes(&body.published);
        let (seen, over) = match event {
            Up::Yield => return Seen::Pending,
            Up::Data(_) | Up::Trailers => {
                body.publish(event, self.now);
                return Seen::Data(0);
            }
            Up::End if body.promised.is_some_and(|promised| came < promised) => (Seen::Error, Seen::Error),
            Up::End => (Seen::End, Seen::End),
            Up::Fail => (Seen::Error, Seen::Error),
            Up::Panic => (Seen::Panic, Seen::Error),
        };
        body.over = Some(over);
        seen
    }

    fn leave(&mut self, body: usize, reader: usize) {
        let body = &mut self.bodies[body];
        body.readers.swap_remove(reader);
        body.door = body.door.filter(|_| body.readers.len() > 1);
        self.relax();
    }

    fn close(&mut self, body: usize) {
        self.bodies[body].door = None;
        self.relax();
    }
}

/// A body beside its model.
struct Real {
    feed: Feed,
    readers: Vec<Reader>,
    newcomers: Option<Newcomers>,
}

/// The model and the real thing, side by side.
struct Both {
    model: Model,
    bodies: Vec<Real>,
    budget: Budget,
}

/// The first body takes newcomers until `door`, the other never.
#[derive(Debug)]
struct Setting {
    limit: usize,
    slow: SlowReader,
    hold_back: u64,
    budget: usize,
    promised: Option<usize>,
    door: Option<u64>,
}

impl Both {
    fn new(Setting { limit, slow, hold_back, budget, promised, door }: Setting) -> Self {
        let model =
            Model { limit, slow, hold_back, budget, bodies: Vec::new(), holders: Vec::new(), asked: None, now: 0 };
        let mut both = Self { model, bodies: Vec::new(), budget: Budget::new(budget as u64) };
        both.add(promised, door);
        both.add(None, None);
        both
    }

    fn add(&mut self, promised: Option<usize>, door: Option<u64>) {
        let feed = Feed::default();
        if let Some(promised) = promised {
            feed.announce(promised as u64);
        }
        let hold_back = Duration::from_millis(self.model.hold_back);
        let config = BodyConfig { hold_back, budget: self.budget.clone(), ..config(self.model.limit, self.model.slow) };
        let body = SharedBody::new(feed.body(), config);
        let newcomers = door.and_then(|until| body.newcomers(Some(Instant::now() + Duration::from_millis(until))));
        self.bodies.push(Real { feed, readers: vec![task::spawn(body)], newcomers });
        let readers = vec![ModelReader::default()];
        self.model.bodies.push(ModelBody { promised, awake: true, readers, door, ..ModelBody::default() });
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
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut self.bodies[index].readers[reader])));
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
                assert!(seen == Seen::Pending || reader.is_woken(), "reader {index} of {body} is not woken");
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
    let slow = vec![SHORT, SlowReader::default(), SlowReader::Evict, SlowReader::BackPressure, SlowReader::Unbounded];
    let budget = prop_oneof![1 => 0..30_usize, 1 => Just(usize::MAX)];
    let (promised, door) = (option::weighted(0.3, 0..60_usize), option::weighted(0.5, 0..3_000_u64));
    let all = (0..40_usize, select(slow), 0..3_000_u64, budget, promised, door);
    all.prop_map(|(limit, slow, hold_back, budget, promised, door)| Setting {
        limit,
        slow,
        hold_back,
        budget,
        promised,
        door,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

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
            }
            assert_eq!(both.budget.held(), 0);
        });
    }
}
