//! Many users at once, with aborts, errors and writes: nobody gets what is another's, nor what a
//! write made old.

use crate::support::{Ask, Body, Failure, by_uri, get, within};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::task::yield_now;
use tower::{Layer, Service};
use tower_singleflight::{BoxError, HttpPolicy, LateJoin, SlowReader};

const USERS: [(&str, &str); 5] = [
    ("authorization", "one"),
    ("authorization", "two"),
    ("cookie", "one"),
    ("proxy-authorization", "one"),
    ("x-nobody", "x"),
];
const HOSTS: [&str; 2] = ["a.example", "b.example"];
const PATHS: [&str; 2] = ["/x", "/y"];

/// The upstream, and what is true of the world.
#[derive(Clone)]
struct World(Arc<Facts>);

struct Facts {
    random: Mutex<fastrand::Rng>,
    /// Of each path: how many writes took effect, and the latest that somebody knows of.
    version: [AtomicU64; 2],
    known: [AtomicU64; 2],
    calls: AtomicU64,
    /// The private answers that were given to somebody.
    private: Mutex<HashSet<u64>>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Facts {
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            version: Default::default(),
            known: Default::default(),
            calls: AtomicU64::new(0),
            private: Mutex::default(),
        }))
    }

    fn up_to(&self, limit: usize) -> usize {
        self.0.random.lock().unwrap().usize(..limit)
    }

    async fn dawdle(&self) {
        for _ in 0..self.up_to(12) {
            yield_now().await;
        }
    }
}

fn path_of(uri: &http::Uri) -> usize {
    PATHS.iter().position(|path| *path == uri.path()).unwrap()
}

/// Who asks for what: all that the answer depends on.
fn identity_of(request: &Ask) -> String {
    let header =
        |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
    let users: Vec<_> =
        USERS[..4].iter().map(|(name, _)| format!("{name}={}", header(name))).collect();
    format!("{} {} {} {}", request.method(), request.uri().path(), header("host"), users.join(" "))
}

impl Service<Ask> for World {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<Body>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Ask) -> Self::Future {
        let world = self.clone();
        Box::pin(async move {
            let call = world.0.calls.fetch_add(1, SeqCst);
            let path = path_of(request.uri());
            world.dawdle().await;
            let version = if request.method() == Method::POST {
                world.0.version[path].fetch_add(1, SeqCst) + 1
            } else {
                world.0.version[path].load(SeqCst)
            };
            world.dawdle().await;
            if world.up_to(12) == 0 {
                return Err(Failure("refused"));
            }
            let kind = request.headers().get("x-kind").cloned();
            let mut response = Response::builder()
                .header("x-version", version)
                .header("x-call", call)
                .header("x-identity", identity_of(&request));
            response = match world.up_to(8) {
                0 => response.header("cache-control", "private"),
                1 => response.header("set-cookie", "session"),
                2 => response.status(403),
                3 => response.header("vary", "x-kind").header("x-its-kind", kind.unwrap()),
                4 => response
                    .header("vary", "x-kind")
                    .header("x-its-kind", kind.unwrap())
                    .header("cache-control", "max-age=60"),
                5 => response,
                _ => response.header("cache-control", "max-age=60"),
            };
            Ok(response.body(world.body(format!("{version} {}", identity_of(&request)))).unwrap())
        })
    }
}

impl World {
    /// The text in pieces, which may fail in the middle.
    fn body(&self, text: String) -> Body {
        let fails = self.up_to(12) == 0;
        let pieces: Vec<_> = text.as_bytes().chunks(16).map(Bytes::copy_from_slice).collect();
        let (world, middle) = (self.clone(), pieces.len() / 2);
        let frames = stream::unfold((pieces.into_iter(), 0), move |(mut pieces, at)| {
            let world = world.clone();
            async move {
                world.dawdle().await;
                if fails && at == middle {
                    return Some((
                        Err(BoxError::from(Failure("reset"))),
                        (Vec::new().into_iter(), at + 1),
                    ));
                }
                Some((Ok(Frame::data(pieces.next()?)), (pieces, at + 1)))
            }
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// One request of one user, perhaps given up in the middle.
    async fn visit<S, RB>(self, mut service: S)
    where
        S: Service<Ask, Response = Response<RB>, Error = Failure>,
        RB: http_body::Body<Data = Bytes> + Unpin,
    {
        let path = self.up_to(PATHS.len());
        let (user, host) = (USERS[self.up_to(USERS.len())], HOSTS[self.up_to(HOSTS.len())]);
        let kind = ["k1", "k2", "k3"][self.up_to(3)];
        let mut request = get(PATHS[path], &[user, ("host", host), ("x-kind", kind)]);
        *request.method_mut() = match self.up_to(12) {
            0 => Method::POST,
            1 => Method::HEAD,
            _ => Method::GET,
        };
        if self.up_to(10) == 0 {
            request.headers_mut().insert("cache-control", "no-cache".parse().unwrap());
        }
        let (method, mine) = (request.method().clone(), identity_of(&request));
        let known = self.0.known[path].load(SeqCst);
        let call = service.call(request);
        let patience = self.up_to(40);
        let response = tokio::select! {
            biased;
            () = async { for _ in 0..patience { yield_now().await } }, if patience < 8 => return,
            response = call => response,
        };
        let Ok(response) = response else { return };
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let version: u64 = header("x-version").unwrap().parse().unwrap();
        assert_eq!(header("x-identity").unwrap(), mine, "somebody else's answer");
        assert!(version >= known, "{mine}: version {version} after {known} was known");
        assert!(
            header("x-its-kind").is_none_or(|its| its == kind),
            "another variant than asked for"
        );
        if header("cache-control").as_deref() == Some("private")
            || header("set-cookie").is_some()
            || response.status() == 403
        {
            let call = header("x-call").unwrap().parse().unwrap();
            assert!(self.0.private.lock().unwrap().insert(call), "a private answer for two");
        }
        if method == Method::POST {
            self.0.known[path].fetch_max(version, SeqCst);
        }
        let whole = format!("{version} {mine}");
        let (mut body, mut text) = (response.into_body(), Vec::new());
        loop {
            if self.up_to(20) == 0 {
                break;
            }
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(_)) => break,
                None => {
                    assert_eq!(
                        String::from_utf8_lossy(&text),
                        whole,
                        "a clean end of another body"
                    );
                    break;
                }
            }
        }
        assert!(whole.as_bytes().starts_with(&text), "a part of another body");
    }
}

async fn storm(seed: u64, policy: HttpPolicy) {
    let world = World::new(seed);
    let layer = by_uri().policy(policy);
    let handle = layer.handle();
    let users: Vec<_> = (0..80)
        .map(|_| {
            let (world, service) = (world.clone(), layer.layer(world.clone()));
            tokio::spawn(async move {
                for _ in 0..40 {
                    world.clone().visit(service.clone()).await;
                }
            })
        })
        .collect();
    for user in users {
        within(user).await.unwrap();
    }
    let stats = handle.stats();
    assert_eq!((stats.in_flight, stats.waiting), (0, 0));
    assert!(
        stats.joined > 100 && stats.vetoed > 20 && stats.passed > 50 && stats.led > 200,
        "a storm: {stats:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_never_see_each_others_answers() {
    for seed in 0..2 {
        storm(seed, HttpPolicy::default()).await;
    }
}

#[tokio::test]
async fn users_never_see_each_others_answers_on_one_thread() {
    for seed in 10..12 {
        storm(seed, HttpPolicy::default()).await;
    }
}

/// With nothing to end the races early: everybody may come late, and nothing is remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_when_everybody_may_come_late() {
    for seed in 20..22 {
        let policy = HttpPolicy::default().late_joins(LateJoin::Always);
        storm(seed, policy.unshareable_memory(0, std::time::Duration::ZERO)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_when_slow_readers_are_evicted_and_the_budget_is_small() {
    for seed in 30..32 {
        let policy = HttpPolicy::default()
            .slow_reader(SlowReader::Evict)
            .body_limit(1 << 9)
            .body_budget(1 << 12);
        storm(seed, policy).await;
    }
}
