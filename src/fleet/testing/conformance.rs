//! Checks what the trait [`Engine`] promises, through the trait alone.

use crate::fleet::engine::{
    Checked, Closed, Engine, EngineError, Entry, Epoch, Landing, Name, Push, Replica, Tag, Token,
    Waiting,
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, hash_map::RandomState},
    future::poll_fn,
    hash::{BuildHasher, Hasher},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep, timeout},
};

/// A lease that does not end during a check.
const LONG: Duration = Duration::from_secs(20);
/// A lease that ends during a check.
const SHORT: Duration = Duration::from_millis(600);
/// How long a reply or a push may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a push that must not come is waited for.
const QUIET: Duration = Duration::from_millis(100);

/// Checks every promise of [`Engine`]. `engines` makes two of them: two replicas on one store.
///
/// The names are random, so the store may hold other things, and may be used meanwhile. It takes
/// some seconds of tokio's clock, which may be paused if the engine follows it.
///
/// ```
/// use tower_singleflight::fleet::testing::{MemoryEngine, conformance};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// conformance(|| {
///     let engine = MemoryEngine::new();
///     (engine.another(), engine)
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
///
/// Panics if a promise is broken, and says which. Call it inside a tokio runtime with a timer.
pub async fn conformance<A: Engine, B: Engine>(engines: impl FnOnce() -> (A, B)) {
    let (one, two) = engines();
    let mut pair = Pair { one: Side::new(one), two: Side::new(two) };
    pair.one.connect().await;
    pair.two.connect().await;
    pair.a_lone_flight_leaves_nothing().await;
    pair.a_follower_is_told_how_it_ends().await;
    pair.of_many_that_enter_one_leads().await;
    pair.names_are_apart().await;
    pair.a_flight_that_is_closed_is_followed_no_more().await;
    pair.only_a_closed_flight_lands().await;
    pair.a_large_payload_is_fetched().await;
    pair.a_payload_is_kept_for_a_while().await;
    pair.a_lease_ends().await;
    pair.who_waits_at_the_end_of_a_lease_is_told_of_the_next_leader().await;
    pair.a_lease_is_renewed().await;
    pair.a_closed_flight_is_renewed().await;
    pair.a_mark_lets_calls_pass().await;
    pair.a_released_flight_is_entered_again().await;
    pair.a_check_tells_and_registers().await;
    pair.a_seal_keeps_earlier_flights_apart().await;
    pair.an_epoch_ends().await;
    pair.a_flight_that_was_shut_still_lands().await;
    pair.only_its_own_flight_is_closed().await;
    pair.two.engine.ping().await.expect("the engine answers a ping");
}

/// One replica: its engine and its pushes.
struct Side<E> {
    engine: E,
    replica: Replica,
    tokens: u64,
    pushes: UnboundedReceiver<Push>,
}

struct Pair<A, B> {
    one: Side<A>,
    two: Side<B>,
}

/// A random number, for names that other runs do not use.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn random_tag() -> Tag {
    Tag::new((u128::from(random()) << 64 | u128::from(random())).to_be_bytes())
}

fn random_name(tag: Tag) -> Name {
    let mut part = [0; 32];
    part.chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&random().to_be_bytes()));
    Name::new(tag, part)
}

fn name() -> Name {
    random_name(random_tag())
}

fn landing(payload: &'static [u8]) -> Landing {
    Landing { payload: Bytes::from_static(payload), keep: LONG, mark: None }
}

/// The result of an operation that has to come, and to be fine.
async fn done<R>(operation: impl Future<Output = Result<R, EngineError>>) -> R {
    let result =
        timeout(PATIENCE, operation).await.expect("an operation has no result for seconds");
    result.expect("an operation of an engine that is up gives a result")
}

/// The results of two operations that are under way at the same time.
async fn both<R>(one: impl Future<Output = R>, two: impl Future<Output = R>) -> [R; 2] {
    let (mut one, mut two, mut results) = (pin!(one), pin!(two), (None, None));
    poll_fn(|cx| {
        if results.0.is_none() {
            results.0 = ready(one.as_mut().poll(cx));
        }
        if results.1.is_none() {
            results.1 = ready(two.as_mut().poll(cx));
        }
        match (results.0.take(), results.1.take()) {
            (Some(one), Some(two)) => Poll::Ready([one, two]),
            unchanged => {
                results = unchanged;
                Poll::Pending
            }
        }
    })
    .await
}

fn ready<R>(polled: Poll<R>) -> Option<R> {
    match polled {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

impl<E: Engine> Side<E> {
    fn new(engine: E) -> Self {
        let replica = Replica::new((random() | 1).to_be_bytes());
        let (tell, pushes) = unbounded_channel();
        engine.listen(replica, Arc::new(move |push| drop(tell.send(push))));
        Self { engine, replica, tokens: 0, pushes }
    }

    /// The first operation may be what makes an engine connect.
    async fn connect(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !(self.engine.is_up() && self.engine.ping().await.is_ok()) {
            assert!(Instant::now() < until, "the engine is not up after seconds");
            sleep(Duration::from_millis(20)).await;
        }
        // What an engine says about its connection is no part of a check.
        sleep(QUIET).await;
        while self.pushes.try_recv().is_ok() {}
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token::new(self.replica, self.tokens)
    }

    /// The next push.
    async fn told(&mut self) -> Push {
        let push = timeout(PATIENCE, self.pushes.recv()).await.expect("a push does not come");
        push.expect("an engine keeps what it was given for pushes")
    }

    async fn is_told_nothing(&mut self) {
        let told = timeout(QUIET, self.pushes.recv()).await;
        assert!(told.is_err(), "an unexpected push: {told:?}");
    }

    async fn enter(&mut self, name: &Name, lease: Duration) -> (Token, Entry) {
        let token = self.token();
        (token, done(self.engine.enter(name, token, lease)).await)
    }

    async fn lead(&mut self, name: &Name, lease: Duration) -> Token {
        let (token, entry) = self.enter(name, lease).await;
        assert_eq!(entry, Entry::Lead, "a name without an open flight is led");
        token
    }

    async fn follow(&mut self, name: &Name, flight: Token, lease: Duration) -> Token {
        let (token, entry) = self.enter(name, LONG).await;
        let Entry::Follow { flight: followed, left } = entry else {
            panic!("an open flight is followed: {entry:?}")
        };
        assert_eq!(followed, flight, "the flight is named by its leader's token");
        assert!(left <= lease, "no more is left of a lease than it was: {left:?}");
        token
    }

    async fn close(&self, name: &Name, flight: Token) -> Closed {
        done(self.engine.close(name, flight, LONG, false)).await
    }

    async fn check(&self, name: Name, flight: Token, token: Token) -> Checked {
        let waiting = [Waiting { name, flight, token }];
        let checked = done(self.engine.check(&waiting)).await;
        assert_eq!(checked.len(), 1, "one answer for each flight that is asked about");
        checked[0]
    }
}

/// Whether these are the tokens that wait, in any order.
fn names(closed: &Closed, tokens: &[Token]) -> bool {
    match closed {
        Closed::Followed(named) => {
            named.len() == tokens.len()
                && named.iter().collect::<BTreeSet<_>>() == tokens.iter().collect()
        }
        Closed::Alone | Closed::Lost => false,
    }
}

impl<A: Engine, B: Engine> Pair<A, B> {
    async fn a_lone_flight_leaves_nothing(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        assert_eq!(self.one.close(&name, flight).await, Closed::Alone, "nobody followed");
        assert_eq!(
            self.one.close(&name, flight).await,
            Closed::Lost,
            "the flight leaves nothing behind"
        );
        self.one.lead(&name, LONG).await;
        self.one.is_told_nothing().await;
    }

    async fn a_follower_is_told_how_it_ends(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let first = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        let second = self.two.follow(&name, flight, LONG).await;
        let own = self.one.follow(&name, flight, LONG).await;
        self.one.is_told_nothing().await;
        let closed = done(self.one.engine.close(&name, flight, LONG, true)).await;
        assert!(names(&closed, &[first, second, own]), "all that wait are named: {closed:?}");
        let told = BTreeSet::from([self.two.told_closed().await, self.two.told_closed().await]);
        assert_eq!(
            told,
            BTreeSet::from([first, second]),
            "each that waits is told that the flight is closed"
        );
        assert_eq!(self.one.told_closed().await, own);
        assert!(done(self.one.engine.land(&name, flight, landing(b"result"))).await);
        let told = BTreeSet::from([
            self.two.told_landed(b"result").await,
            self.two.told_landed(b"result").await,
        ]);
        assert_eq!(
            told,
            BTreeSet::from([first, second]),
            "each that waits is told that the flight landed"
        );
        assert_eq!(self.one.told_landed(b"result").await, own);
        self.one.is_told_nothing().await;
        self.two.is_told_nothing().await;
    }

    async fn of_many_that_enter_one_leads(&mut self) {
        let name = name();
        let tokens: Vec<_> = (0..8).map(|_| (self.one.token(), self.two.token())).collect();
        let (one, two) = (&self.one.engine, &self.two.engine);
        let mut entries = Vec::new();
        for (a, b) in &tokens {
            entries.extend(
                both(done(one.enter(&name, *a, LONG)), done(two.enter(&name, *b, LONG))).await,
            );
        }
        let led = entries.iter().filter(|entry| **entry == Entry::Lead).count();
        assert_eq!(led, 1, "of all that enter a name, one leads: {entries:?}");
        let follows = |entry: &&Entry| matches!(entry, Entry::Follow { .. });
        assert_eq!(
            entries.iter().filter(follows).count(),
            entries.len() - 1,
            "the others follow: {entries:?}"
        );
        self.one.forget_pushes().await;
        self.two.forget_pushes().await;
    }

    async fn names_are_apart(&mut self) {
        let tag = random_tag();
        let (one, two) = (random_name(tag), random_name(tag));
        self.one.lead(&one, LONG).await;
        self.two.lead(&two, LONG).await;
    }

    async fn a_flight_that_is_closed_is_followed_no_more(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let token = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        assert!(names(&self.one.close(&name, flight).await, &[token]));
        self.two.is_told_nothing().await;
        let newer = self.two.lead(&name, LONG).await;
        let closed = self.one.close(&name, flight).await;
        assert!(
            names(&closed, &[token]),
            "a flight that was closed names its tokens again: {closed:?}"
        );
        self.one.follow(&name, newer, LONG).await;
        assert_eq!(self.two.told().await, Push::Joined { flight: newer });
        assert!(done(self.one.engine.land(&name, flight, landing(b"result"))).await);
        assert_eq!(self.two.told_landed(b"result").await, token);
        self.one.is_told_nothing().await;
    }

    async fn only_a_closed_flight_lands(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let land = |flight| self.one.engine.land(&name, flight, landing(b"result"));
        assert!(!done(land(flight)).await, "an open flight does not land");
        let strange = Token::new(self.one.replica, u64::MAX);
        assert!(!done(land(strange)).await, "a flight that there is not does not land");
        assert_eq!(done(self.one.engine.fetch(&name, flight)).await, None);
        self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        self.two.is_told_nothing().await;
    }

    async fn a_large_payload_is_fetched(&mut self) {
        let (name, payload) = (name(), Bytes::from(vec![0xa5; 300_000]));
        let flight = self.one.lead(&name, LONG).await;
        let tokens = [
            self.two.follow(&name, flight, LONG).await,
            self.two.follow(&name, flight, LONG).await,
        ];
        assert_eq!(self.one.told().await, Push::Joined { flight });
        self.one.close(&name, flight).await;
        let landing = Landing { payload: payload.clone(), keep: LONG, mark: None };
        assert!(done(self.one.engine.land(&name, flight, landing.clone())).await);
        for _ in tokens {
            let push = self.two.told().await;
            let Push::Landed { token, payload: sent } = push else {
                panic!("a landing is told: {push:?}")
            };
            assert!(tokens.contains(&token));
            assert!(
                sent.is_none_or(|sent| sent == payload),
                "a payload that is pushed is the one that landed"
            );
        }
        for token in tokens {
            let fetched = done(self.two.engine.fetch(&name, flight)).await;
            assert_eq!(
                fetched.as_ref(),
                Some(&payload),
                "the payload is kept until the last has it"
            );
            done(self.two.engine.done(&Waiting { name, flight, token })).await;
        }
        assert_eq!(
            done(self.two.engine.fetch(&name, flight)).await,
            None,
            "the last takes the payload along"
        );
    }

    async fn a_payload_is_kept_for_a_while(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let token = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        self.one.close(&name, flight).await;
        let short = Landing { keep: SHORT, ..landing(b"result") };
        assert!(done(self.one.engine.land(&name, flight, short)).await);
        assert_eq!(self.two.told_landed(b"result").await, token);
        assert_eq!(
            done(self.two.engine.fetch(&name, flight)).await,
            Some(Bytes::from_static(b"result"))
        );
        sleep(SHORT + QUIET).await;
        assert_eq!(
            done(self.two.engine.fetch(&name, flight)).await,
            None,
            "a payload is kept for its time"
        );
        assert_eq!(self.two.check(name, flight, token).await, Checked::Gone);
    }

    async fn a_lease_ends(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, SHORT).await;
        sleep(SHORT + QUIET).await;
        let newer = self.two.lead(&name, LONG).await;
        assert_eq!(self.one.close(&name, flight).await, Closed::Lost, "its lease has ended");
        let renewed = done(self.one.engine.renew(&[(name, flight)], LONG)).await;
        assert_eq!(renewed, [false], "a flight that is lost is not renewed");
        assert!(!done(self.one.engine.land(&name, flight, landing(b"stale"))).await);
        done(self.one.engine.release(&name, flight)).await;
        self.one.follow(&name, newer, LONG).await;
        assert_eq!(
            self.two.told().await,
            Push::Joined { flight: newer },
            "another's flight stays open"
        );
    }

    async fn who_waits_at_the_end_of_a_lease_is_told_of_the_next_leader(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, SHORT).await;
        let token = self.two.follow(&name, flight, SHORT).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        sleep(SHORT + QUIET).await;
        let newer = self.one.lead(&name, LONG).await;
        assert_eq!(self.two.told().await, Push::Again { token }, "another leads");
        let token = self.two.follow(&name, newer, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight: newer });
        let closed = self.one.close(&name, newer).await;
        assert!(names(&closed, &[token]), "who was told waits no more: {closed:?}");
        self.two.forget_pushes().await;
    }

    async fn a_lease_is_renewed(&mut self) {
        let (name, other) = (name(), name());
        let flight = self.one.lead(&name, SHORT).await;
        let strange = Token::new(self.one.replica, u64::MAX);
        let token = self.two.follow(&name, flight, SHORT).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        sleep(SHORT / 2).await;
        let renewed = done(self.one.engine.renew(&[(other, strange), (name, flight)], LONG)).await;
        assert_eq!(renewed, [false, true], "in the order of the flights");
        sleep(SHORT * 2 + Duration::from_secs(1)).await;
        let closed = self.one.close(&name, flight).await;
        assert!(names(&closed, &[token]), "who waits is renewed with the flight: {closed:?}");
    }

    async fn a_closed_flight_is_renewed(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let token = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        done(self.one.engine.close(&name, flight, SHORT, false)).await;
        assert_eq!(done(self.one.engine.renew(&[(name, flight)], LONG)).await, [true]);
        sleep(SHORT + QUIET).await;
        assert!(matches!(self.two.check(name, flight, token).await, Checked::Pending { .. }));
        assert!(done(self.one.engine.land(&name, flight, landing(b"result"))).await);
        assert_eq!(self.two.told_landed(b"result").await, token);
    }

    async fn a_mark_lets_calls_pass(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let token = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        self.one.close(&name, flight).await;
        let marking = Landing { mark: Some(LONG), ..landing(b"go") };
        assert!(done(self.one.engine.land(&name, flight, marking)).await);
        assert_eq!(self.two.told_landed(b"go").await, token);
        let (_, entry) = self.two.enter(&name, LONG).await;
        assert!(
            matches!(entry, Entry::Pass { left } if left <= LONG),
            "a marked name is passed: {entry:?}"
        );
        done(self.two.engine.release(&name, Token::MARK)).await;
        let flight = self.two.lead(&name, LONG).await;
        let token = self.one.follow(&name, flight, LONG).await;
        assert_eq!(self.two.told().await, Push::Joined { flight });
        self.two.close(&name, flight).await;
        let newer = self.one.lead(&name, LONG).await;
        let marking = Landing { mark: Some(SHORT), ..landing(b"go") };
        assert!(done(self.two.engine.land(&name, flight, marking.clone())).await);
        assert_eq!(self.one.told_landed(b"go").await, token);
        let token = self.two.follow(&name, newer, LONG).await;
        assert_eq!(
            self.one.told().await,
            Push::Joined { flight: newer },
            "an open flight keeps the mark out"
        );
        self.one.close(&name, newer).await;
        assert!(done(self.one.engine.land(&name, newer, marking)).await);
        assert_eq!(self.two.told_landed(b"go").await, token);
        sleep(SHORT + QUIET).await;
        self.two.lead(&name, LONG).await;
    }

    async fn a_released_flight_is_entered_again(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let token = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        done(self.one.engine.release(&name, flight)).await;
        assert_eq!(self.two.told().await, Push::Again { token });
        assert_eq!(self.two.check(name, flight, token).await, Checked::Gone);
        let flight = self.two.lead(&name, LONG).await;
        let token = self.one.follow(&name, flight, LONG).await;
        assert_eq!(self.two.told().await, Push::Joined { flight });
        self.two.close(&name, flight).await;
        done(self.two.engine.release(&name, flight)).await;
        assert_eq!(
            self.one.told().await,
            Push::Again { token },
            "a closed flight is released as well"
        );
        assert!(!done(self.two.engine.land(&name, flight, landing(b"result"))).await);
    }

    async fn a_check_tells_and_registers(&mut self) {
        let (name, other) = (name(), name());
        let flight = self.one.lead(&name, LONG).await;
        let (token, strange) = (self.two.token(), Token::new(self.two.replica, u64::MAX));
        let asked =
            [Waiting { name: other, flight: strange, token }, Waiting { name, flight, token }];
        let checked = done(self.two.engine.check(&asked)).await;
        assert_eq!(checked[0], Checked::Gone, "in the order of the flights: {checked:?}");
        assert!(matches!(checked[1], Checked::Pending { left } if left <= LONG), "{checked:?}");
        let closed = self.one.close(&name, flight).await;
        assert!(names(&closed, &[token]), "a check lets the token wait: {closed:?}");
        let late = self.two.token();
        assert!(matches!(self.two.check(name, flight, late).await, Checked::Pending { .. }));
        assert!(done(self.one.engine.land(&name, flight, landing(b"result"))).await);
        let told = BTreeSet::from([
            self.two.told_landed(b"result").await,
            self.two.told_landed(b"result").await,
        ]);
        assert_eq!(told, BTreeSet::from([token, late]));
        assert_eq!(self.two.check(name, flight, token).await, Checked::Landed);
        self.one.forget_pushes().await;
    }

    async fn a_seal_keeps_earlier_flights_apart(&mut self) {
        let (tag, group, other_group) = (random_tag(), random().to_string(), random().to_string());
        let (name, twin, other) = (random_name(tag), random_name(tag), name());
        self.one.engine.watch(&group);
        self.two.engine.watch(&group);
        self.two.engine.watch(&other_group);
        // An engine may have to tell its server what it watches.
        sleep(QUIET).await;
        let flight = self.one.lead(&name, LONG).await;
        let twins = self.one.lead(&twin, LONG).await;
        let others = self.one.lead(&other, LONG).await;
        let epoch = |byte| Epoch::new([byte; 8]);
        done(self.two.engine.seal(&tag, &group, epoch(1), LONG)).await;
        assert_eq!(self.one.told().await, Push::Sealed { tag });
        assert_eq!(
            self.two.told().await,
            Push::Sealed { tag },
            "the replica that seals is told as well"
        );
        assert_eq!(self.two.enter(&name, LONG).await.1, Entry::Sealed { flight });
        assert_eq!(
            self.one.enter(&twin, LONG).await.1,
            Entry::Sealed { flight: twins },
            "whatever the name"
        );
        self.two.follow(&other, others, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight: others });
        let newer = self.two.token();
        assert_eq!(
            done(self.two.engine.shut_and_enter(&name, flight, newer, LONG)).await,
            Entry::Lead
        );
        self.one.follow(&name, newer, LONG).await;
        assert_eq!(self.two.told().await, Push::Joined { flight: newer });
        let late = self.one.token();
        let entry = done(self.one.engine.shut_and_enter(&name, flight, late, LONG)).await;
        assert!(
            matches!(entry, Entry::Follow { flight, .. } if flight == newer),
            "only the sealed flight is shut"
        );
        done(self.one.engine.seal(&tag, &group, epoch(2), LONG)).await;
        assert_eq!(
            self.one.enter(&name, LONG).await.1,
            Entry::Sealed { flight: newer },
            "each write seals"
        );
        assert_eq!(self.one.told().await, Push::Sealed { tag });
        assert_eq!(self.two.told().await, Push::Sealed { tag });
        done(self.one.engine.seal(&random_tag(), &other_group, epoch(3), LONG)).await;
        assert!(matches!(self.two.told().await, Push::Sealed { .. }));
        self.one.is_told_nothing().await;
    }

    async fn an_epoch_ends(&mut self) {
        let tag = random_tag();
        let (name, group) = (random_name(tag), random().to_string());
        done(self.one.engine.seal(&tag, &group, Epoch::new([1; 8]), SHORT)).await;
        let flight = self.one.lead(&name, LONG).await;
        self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        sleep(SHORT + QUIET).await;
        assert_eq!(
            self.two.enter(&name, LONG).await.1,
            Entry::Sealed { flight },
            "no epoch is an epoch too"
        );
    }

    async fn a_flight_that_was_shut_still_lands(&mut self) {
        let tag = random_tag();
        let (name, group) = (random_name(tag), random().to_string());
        let flight = self.one.lead(&name, LONG).await;
        let token = self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
        done(self.two.engine.seal(&tag, &group, Epoch::new([1; 8]), LONG)).await;
        let newer = self.two.token();
        assert_eq!(
            done(self.two.engine.shut_and_enter(&name, flight, newer, LONG)).await,
            Entry::Lead
        );
        self.two.is_told_nothing().await;
        let closed = self.one.close(&name, flight).await;
        assert!(
            names(&closed, &[token]),
            "who waits for a flight that was shut goes on waiting: {closed:?}"
        );
        assert!(done(self.one.engine.land(&name, flight, landing(b"result"))).await);
        assert_eq!(self.two.told_landed(b"result").await, token);
        assert_eq!(self.two.close(&name, newer).await, Closed::Alone);
    }

    async fn only_its_own_flight_is_closed(&mut self) {
        let name = name();
        let flight = self.one.lead(&name, LONG).await;
        let strange = self.two.token();
        assert_eq!(self.two.close(&name, strange).await, Closed::Lost);
        assert_eq!(done(self.two.engine.renew(&[(name, strange)], LONG)).await, [false]);
        done(self.two.engine.release(&name, strange)).await;
        self.two.follow(&name, flight, LONG).await;
        assert_eq!(self.one.told().await, Push::Joined { flight });
    }
}

impl<E: Engine> Side<E> {
    async fn told_closed(&mut self) -> Token {
        match self.told().await {
            Push::Closed { token } => token,
            push => panic!("who waits is told that the flight is closed: {push:?}"),
        }
    }

    /// The token that is told of a landing with this small payload.
    async fn told_landed(&mut self, expected: &'static [u8]) -> Token {
        match self.told().await {
            Push::Landed { token, payload } => {
                assert!(
                    payload.is_none_or(|payload| payload == expected),
                    "the payload that landed is pushed"
                );
                token
            }
            push => panic!("who waits is told that the flight landed: {push:?}"),
        }
    }

    async fn forget_pushes(&mut self) {
        sleep(QUIET).await;
        while self.pushes.try_recv().is_ok() {}
    }
}
