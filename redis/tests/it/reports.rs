//! What the log says when Redis goes away.

use crate::{
    faults::resp2_server,
    relay::{Faults, Relay},
    replica::{LEASE, PATIENCE, Replica, name, soon},
    server::{free_port, server},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use std::{
    convert::Infallible,
    fmt::Write,
    sync::{Arc, Mutex, Once},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, ServiceExt, service_fn};
use tower_singleflight::{Fleet, SingleflightLayer, fleet::engine::Engine};
use tower_singleflight_redis::RedisEngine;
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt};

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the text of each event of the package.
struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("tower_singleflight_redis") {
            assert_eq!(*event.metadata().level(), Level::WARN);
            let mut text = Text(String::new());
            event.record(&mut text);
            REPORTS.lock().unwrap().push(text.0);
        }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Registry::default().with(Keep)).unwrap()
    });
}

/// The reports about one server.
fn reports(address: &str) -> Vec<String> {
    REPORTS.lock().unwrap().iter().filter(|report| report.contains(address)).cloned().collect()
}

/// Waits for the first report, and for others that must not come.
async fn only_report(url: &str) -> String {
    listen();
    let address = url.rsplit(['@', '/']).next().unwrap();
    let replica = Replica::new(1, RedisEngine::open(url).unwrap());
    assert!(!replica.is_up());
    soon(|| !reports(address).is_empty()).await;
    for _ in 0..100 {
        let _ = replica.enter(&name(1), replica.token(), LEASE).await;
        sleep(Duration::from_millis(5)).await;
    }
    let [report] = reports(address).try_into().unwrap();
    assert!(report.contains("each replica works alone"), "{report}");
    report
}

#[tokio::test]
async fn it_says_that_nothing_is_there() {
    let report = only_report(&format!("redis://127.0.0.1:{}", free_port())).await;
    assert!(report.contains("cannot be reached") && report.contains("refused"), "{report}");
}

#[tokio::test]
async fn it_says_that_a_password_is_asked_for() {
    let server = server!("--requirepass", "secret");
    let report = only_report(&server.url()).await;
    assert!(report.contains("asks for a password, or refuses the one in the URL"), "{report}");
}

#[tokio::test]
async fn it_says_that_a_password_is_wrong_and_not_which() {
    let server = server!("--requirepass", "secret");
    let report = only_report(&format!("redis://:wr0ng@{}", server.address())).await;
    assert!(report.contains("asks for a password, or refuses the one in the URL"), "{report}");
    assert!(!report.contains("wr0ng"), "{report}");
}

#[tokio::test]
async fn it_says_that_it_is_a_replica() {
    let primary = server!();
    let server = server!("--replicaof", "127.0.0.1", &primary.port.to_string());
    let report = only_report(&server.url()).await;
    assert!(report.contains("is a read-only replica: use the address of the primary"), "{report}");
}

#[tokio::test]
async fn it_says_that_it_is_a_node_of_a_cluster() {
    let server = server!("--cluster-enabled", "yes");
    let report = only_report(&server.url()).await;
    assert!(report.contains("is a node of a cluster"), "{report}");
}

#[tokio::test]
async fn it_says_that_there_is_no_resp3() {
    let (url, _server) = resp2_server().await;
    let report = only_report(&url).await;
    assert!(report.contains("speaks no RESP3"), "{report}");
}

#[tokio::test]
async fn it_says_that_a_command_is_not_allowed() {
    let server = server!();
    let () = server.ask("ACL SETUSER fleet on >secret ~* resetchannels &other:* +@all");
    let report = only_report(&format!("redis://fleet:secret@{}", server.address())).await;
    assert!(
        report.contains("refuses a command that is needed") && report.contains("no permissions"),
        "{report}"
    );
}

#[tokio::test]
async fn it_says_once_that_it_is_away_and_once_that_it_is_back() {
    listen();
    let mut server = server!();
    let address = server.address();
    let mut replica = Replica::connected(1, &server.url()).await;
    assert_eq!(reports(&address), [""; 0]);

    for round in 1..=2 {
        let port = server.port;
        server.kill();
        soon(|| reports(&address).len() == 2 * round - 1).await;
        for _ in 0..100 {
            let _ = replica.enter(&name(1), replica.token(), LEASE).await;
            sleep(Duration::from_millis(2)).await;
        }
        server.start_at(port);
        replica.reconnected().await;
        let reports = reports(&address);
        assert_eq!(reports.len(), 2 * round, "{reports:?}");
        assert!(reports[2 * round - 2].contains("each replica works alone"), "{reports:?}");
        assert!(reports[2 * round - 1].contains("share calls again"), "{reports:?}");
    }
}

/// Keeps the text of each warning of both packages, for one thread.
#[derive(Clone, Default)]
struct KeepWarnings(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for KeepWarnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() == Level::WARN && metadata.target().starts_with("tower_singleflight") {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

impl KeepWarnings {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.all().len()
    }
}

/// A fleet of one replica.
async fn connected_fleet(url: &str) -> Fleet {
    let fleet = Fleet::new(RedisEngine::open(url).unwrap(), "the secret of the tests");
    soon(|| fleet.is_up()).await;
    fleet
}

/// Sends some requests at once, which ask Redis each.
async fn ask(fleet: &Fleet) {
    let layer = SingleflightLayer::new(|request: &Request<_>| request.uri().path().to_owned())
        .fleet(fleet, "tests");
    let upstream = service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = layer.layer(upstream);
    let answers = (0..10).map(|number| {
        let request = Request::get(format!("http://host/{number}")).body(Empty::new()).unwrap();
        service.clone().oneshot(request)
    });
    futures_util::future::try_join_all(answers).await.unwrap();
}

#[tokio::test]
async fn an_outage_that_a_fleet_notices_too_is_told_once_with_its_cause() {
    let warnings = KeepWarnings::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(warnings.clone()));
    let mut server = server!();
    let (address, port) = (server.address(), server.port);
    let fleet = connected_fleet(&server.url()).await;
    ask(&fleet).await;
    assert_eq!(warnings.all(), [""; 0]);

    for round in [1, 3] {
        let hangs = round == 3;
        if hangs {
            server.stop();
        } else {
            server.kill();
        }
        // Once it was told, and after that.
        let mut asked_since = 0;
        while asked_since < 20 {
            asked_since += usize::from(warnings.len() >= round);
            ask(&fleet).await;
            sleep(Duration::from_millis(5)).await;
        }
        if hangs {
            server.go_on();
        } else {
            server.start_at(port);
        }
        while warnings.len() <= round {
            sleep(Duration::from_millis(5)).await;
        }
        soon(|| fleet.is_up()).await;
        ask(&fleet).await;
    }
    let warnings = warnings.all();
    let told =
        ["cannot be reached (", "share calls again", "does not answer (", "share calls again"];
    assert_eq!(warnings.len(), told.len(), "{warnings:#?}");
    for (warning, told) in warnings.iter().zip(told) {
        assert!(warning.contains(&address) && warning.contains(told), "{warning} {told}");
    }
}

#[tokio::test]
async fn a_redis_that_is_there_but_slow_is_told_by_the_fleet() {
    let warnings = KeepWarnings::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(warnings.clone()));
    let server = server!();
    let relay = Relay::to(server.port).await;
    let fleet = connected_fleet(&relay.url()).await;
    // Too slow for requests, and quick enough for the connection.
    relay.set(Faults { delay: Duration::from_millis(60), ..Faults::default() });
    ask(&fleet).await;
    soon(|| warnings.len() == 1).await;
    relay.set(Faults::default());
    let start = Instant::now();
    while warnings.len() < 2 {
        ask(&fleet).await;
        sleep(Duration::from_millis(5)).await;
        assert!(start.elapsed() < PATIENCE, "an entry has a reply in time");
    }
    let warnings = warnings.all();
    assert!(warnings[0].contains("the engine of the fleet answers too late"), "{warnings:?}");
    assert!(warnings[1].contains("the engine of the fleet can be reached again"), "{warnings:?}");
}
