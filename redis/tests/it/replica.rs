//! A replica as the engine sees it: its number, its tokens, and what it is told.

use std::{
    future::Future,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};
use tower_singleflight::fleet::engine::{self, Engine, Entry, Name, Push, Tag, Token};
use tower_singleflight_redis::RedisEngine;

/// Longer than any test takes.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// How long a test waits for something that happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Replica {
    engine: RedisEngine,
    pub(crate) number: engine::Replica,
    pushes: UnboundedReceiver<Push>,
    tokens: AtomicU64,
}

impl Deref for Replica {
    type Target = RedisEngine;

    fn deref(&self) -> &RedisEngine {
        &self.engine
    }
}

impl Replica {
    pub(crate) fn new(number: u8, engine: RedisEngine) -> Self {
        let (sender, pushes) = unbounded_channel();
        let number = engine::Replica::new([number; 8]);
        engine.listen(
            number,
            Arc::new(move |push| {
                let _ = sender.send(push);
            }),
        );
        Self { engine, number, pushes, tokens: AtomicU64::new(1) }
    }

    /// A replica that is connected to this server.
    pub(crate) async fn connected(number: u8, url: &str) -> Self {
        let replica = Self::new(number, RedisEngine::open(url).unwrap());
        replica.is_up_soon().await;
        replica
    }

    pub(crate) async fn is_up_soon(&self) {
        soon(|| self.is_up()).await;
    }

    /// A token that was not used before.
    pub(crate) fn token(&self) -> Token {
        Token::new(self.number, self.tokens.fetch_add(1, Relaxed))
    }

    /// Leads a flight.
    pub(crate) async fn lead(&self, name: &Name) -> Token {
        let token = self.token();
        assert_eq!(self.enter(name, token, LEASE).await, Ok(Entry::Lead));
        token
    }

    /// Follows the flight of `leader`.
    pub(crate) async fn follow(&self, name: &Name, leader: Token) -> Token {
        let token = self.token();
        match self.enter(name, token, LEASE).await.unwrap() {
            Entry::Follow { flight, left } if left <= LEASE => assert_eq!(flight, leader),
            entry => panic!("{entry:?}"),
        }
        token
    }

    /// The next push.
    pub(crate) async fn push(&mut self) -> Push {
        timeout(PATIENCE, self.pushes.recv()).await.expect("there is no push").unwrap()
    }

    /// A push that has come already.
    pub(crate) fn pushed(&mut self) -> Option<Push> {
        self.pushes.try_recv().ok()
    }

    /// Asserts that nothing was told. All that was sent before has come with the reply to a `PING`.
    pub(crate) async fn no_push(&mut self) {
        self.ping().await.unwrap();
        if let Ok(push) = self.pushes.try_recv() {
            panic!("{push:?}");
        }
    }

    /// Waits until this replica is told that it was away.
    pub(crate) async fn reconnected(&mut self) {
        while self.push().await != Push::Reconnected {}
        assert!(self.is_up());
    }
}

/// A name.
pub(crate) fn name(number: u8) -> Name {
    Name::new(Tag::new([number; 16]), [number; 32])
}

/// Waits for a condition.
pub(crate) async fn soon(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it does not come true");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The output of a future, and how long it took.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}
