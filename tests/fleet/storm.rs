//! Random requests, writes and faults: each request has its own answer, in time, and nothing is
//! left behind.

use crate::support::{
    Replica, Upstream, body, data as data_of, frames, ms, paused, request, settle, text, whole,
};
use http::Method;
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower_singleflight::fleet::testing::{Fault, MemoryEngine, Operation};

const REPLICAS: usize = 3;
const PATHS: usize = 2;
const USERS: usize = 2;

/// What happens, and how long after the last event.
type Timed = (u64, Event);

#[derive(Clone, Debug)]
enum Event {
    Ask {
        replica: usize,
        path: usize,
        user: usize,
    },
    Write {
        replica: usize,
        path: usize,
    },
    /// All clients of a replica leave.
    Leave {
        replica: usize,
    },
    Fault {
        replica: usize,
        operation: Operation,
        fault: Fault,
    },
    Partition {
        replica: usize,
        cut: bool,
    },
    DropPushes {
        replica: usize,
        drops: bool,
    },
    Delay {
        replica: usize,
        ms: u64,
    },
    Stop(bool),
    Fill(bool),
    Wipe,
    ExpireLeases,
    ExpireClosed,
    EvictWaiting,
    EvictPayloads,
    EvictEpochs,
    Garble,
}

use Event::{
    Delay, DropPushes, EvictEpochs, EvictPayloads, EvictWaiting, ExpireClosed, ExpireLeases, Fill,
    Garble, Leave, Partition, Stop, Wipe, Write,
};

const OPERATIONS: [Operation; 10] = [
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
];

fn traffic() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..REPLICAS, 0..PATHS, 0..USERS)
            .prop_map(|(replica, path, user)| Event::Ask { replica, path, user }),
        1 => (0..REPLICAS, 0..PATHS).prop_map(|(replica, path)| Write { replica, path }),
        1 => (0..REPLICAS).prop_map(|replica| Leave { replica }),
    ]
}

fn one_fault(operations: &'static [Operation]) -> impl Strategy<Value = Event> {
    let faults = vec![
        Fault::LoseOperation,
        Fault::LoseReply,
        Fault::FailReply,
        Fault::Refuse,
        Fault::Delay(ms(30)),
        Fault::Delay(ms(200)),
        Fault::DelayReply(ms(120)),
        Fault::DelayReply(ms(4_000)),
    ];
    (0..REPLICAS, select(operations), select(faults))
        .prop_map(|(replica, operation, fault)| Event::Fault { replica, operation, fault })
}

/// Faults that lose no write.
fn mild() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => one_fault(&OPERATIONS),
        1 => Just(ExpireLeases),
        1 => Just(ExpireClosed),
        1 => Just(EvictWaiting),
        1 => Just(EvictPayloads),
        1 => Just(Garble),
    ]
}

fn any() -> impl Strategy<Value = Event> {
    const SEAL: [Operation; 1] = [Operation::Seal];
    prop_oneof![
        4 => mild(),
        1 => one_fault(&SEAL),
        1 => (0..REPLICAS, proptest::bool::ANY)
            .prop_map(|(replica, cut)| Partition { replica, cut }),
        1 => (0..REPLICAS, proptest::bool::ANY)
            .prop_map(|(replica, drops)| DropPushes { replica, drops }),
        1 => (0..REPLICAS, 0..100_u64).prop_map(|(replica, ms)| Delay { replica, ms }),
        1 => proptest::bool::ANY.prop_map(Stop),
        1 => proptest::bool::ANY.prop_map(Fill),
        1 => Just(Wipe),
        1 => Just(EvictEpochs),
    ]
}

fn events(faults: impl Strategy<Value = Event> + 'static) -> impl Strategy<Value = Vec<Timed>> {
    let event = prop_oneof![4 => traffic(), 1 => faults];
    vec((select(vec![0, 0, 0, 1, 20, 60, 150, 700, 3_200]), event), 1..60)
}

/// What the upstream stores under each path, and how often it was read.
#[derive(Default)]
struct Data {
    versions: HashMap<String, u64>,
    written: HashMap<String, u64>,
}

struct Asked {
    replica: usize,
    path: usize,
    user: usize,
    /// The version that was there for sure when it asked.
    least: u64,
    answer: JoinHandle<String>,
    at: Instant,
}

/// An answer of some size, which says for whom it is. Some fail, some are private, some are large
/// or slow.
fn upstream(data: Arc<Mutex<Data>>) -> Upstream {
    Upstream::with(move |number, request| {
        let (data, path) = (data.clone(), request.uri().path().to_owned());
        let user = request.headers().get("authorization").cloned();
        let is_write = request.method() != Method::GET;
        Box::pin(async move {
            if is_write {
                sleep(ms(10)).await;
                *data.lock().unwrap().versions.entry(path).or_default() += 1;
                sleep(ms(10)).await;
                return Ok(whole("written"));
            }
            // As old as an answer to this call can be.
            let version = data.lock().unwrap().versions.get(&path).copied().unwrap_or_default();
            sleep(ms([5, 50, 50, 300][number % 4])).await;
            let user = user.unwrap();
            let text = format!("{path} {} {version} ", user.to_str().unwrap());
            let body = match number % 7 {
                0 => frames(ms(5), vec![data_of(&text), data_of(&"x".repeat(20_000))]),
                1 => frames(ms(600), vec![data_of(&text), data_of("slow"), data_of(".")]),
                _ => body(&text),
            };
            let mut response = http::Response::new(body);
            match number % 11 {
                0 => *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE,
                1 => {
                    response.headers_mut().insert("cache-control", "private".parse().unwrap());
                }
                2 => *response.status_mut() = http::StatusCode::FORBIDDEN,
                _ => {}
            }
            Ok(response)
        })
    })
}

/// Longer than any request may take: it waits for one leader after another, and makes its own call.
const LONGEST: Duration = Duration::from_secs(75);

async fn storm(events: Vec<Timed>, checks_freshness: bool) {
    let data = Arc::new(Mutex::new(Data::default()));
    let upstream = upstream(data.clone());
    let engine = MemoryEngine::new();
    let fleet = |fleet: tower_singleflight::Fleet| fleet.body_limit(15_000);
    let replicas: Vec<_> = (0..REPLICAS)
        .map(|_| Replica::with(&upstream, engine.another(), fleet, |layer| layer))
        .collect();
    let mut asked: Vec<Asked> = Vec::new();
    let mut asks = 0;
    for (after, event) in events {
        sleep(ms(after)).await;
        match event {
            Event::Ask { replica, path, user } => {
                let (uri, name) = (format!("/{path}"), format!("user{user}"));
                let least = data.lock().unwrap().written.get(&uri).copied().unwrap_or_default();
                let request = request(Method::GET, &uri, &[("authorization", &name)]);
                let answer = tokio::spawn(text(replicas[replica].send(request)));
                asked.push(Asked { replica, path, user, least, answer, at: Instant::now() });
                asks += 1;
            }
            Write { replica, path } => {
                let (uri, data, replica) =
                    (format!("/{path}"), data.clone(), replicas[replica].clone());
                tokio::spawn(async move {
                    replica.write(&uri).await;
                    let mut data = data.lock().unwrap();
                    let version = data.versions[&uri];
                    data.written.insert(uri, version);
                });
            }
            Leave { replica } => asked.retain(|asked| {
                if asked.replica == replica {
                    asked.answer.abort();
                }
                asked.replica != replica
            }),
            Event::Fault { replica, operation, fault } => {
                replicas[replica].engine.fault(operation, fault)
            }
            Partition { replica, cut } => replicas[replica].engine.partition(cut),
            DropPushes { replica, drops } => replicas[replica].engine.drop_pushes(drops),
            Delay { replica, ms: delay } => replicas[replica].engine.delay(ms(delay)),
            Stop(stop) => engine.stop(stop),
            Fill(full) => engine.fill(full),
            Wipe => engine.wipe(),
            ExpireLeases => engine.expire_leases(),
            ExpireClosed => engine.expire_closed(),
            EvictWaiting => engine.evict_waiting(),
            EvictPayloads => engine.evict_payloads(),
            EvictEpochs => engine.evict_epochs(),
            Garble => {
                engine.garble_payloads(|payload| payload.iter().map(|byte| byte ^ 1).collect())
            }
        }
        settle().await;
    }
    for Asked { path, user, least, answer, at, .. } in asked {
        let answer = timeout(LONGEST, answer).await.expect("no request waits for ever").unwrap();
        assert!(at.elapsed() < LONGEST + LONGEST, "{:?}", at.elapsed());
        let words: Vec<_> = answer.split(' ').collect();
        assert_eq!(words[..2], [format!("/{path}"), format!("user{user}")], "an answer of its own");
        let version: u64 = words[2].parse().unwrap();
        assert!(
            !checks_freshness || version >= least,
            "version {version}, after a write of {least}"
        );
    }
    assert!(
        upstream.calls() <= 2 * asks + PATHS * 60,
        "{} calls for {asks} requests",
        upstream.calls()
    );
    engine.stop(false);
    for replica in &replicas {
        replica.engine.partition(false);
    }
    sleep(Duration::from_secs(200)).await;
    for replica in &replicas {
        assert_eq!((replica.handle.in_flight(), replica.handle.waiting()), (0, 0));
        let before = replica.engine.operations().len();
        sleep(Duration::from_secs(20)).await;
        assert_eq!(
            replica.engine.operations().len(),
            before,
            "nothing is sent while nothing happens"
        );
    }
    assert_eq!(engine.stored(), 0, "nothing is left behind");
}

fn run(events: Vec<Timed>, checks_freshness: bool) {
    paused().block_on(storm(events, checks_freshness));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn with_any_faults_each_request_has_its_own_answer(events in events(any())) {
        run(events, false);
    }

    #[test]
    fn with_faults_that_lose_no_write_no_answer_is_from_before_a_write(events in events(mild())) {
        run(events, true);
    }
}
