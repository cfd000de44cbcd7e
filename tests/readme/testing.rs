//! The tests that the guide `testing` shows. `tests/readme.rs` compares them with the guide.

mod app {
    use axum::{
        Router,
        body::{Body, to_bytes},
        extract::{Path, State},
        http::Request,
        routing::get,
    };
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        time::Duration,
    };
    use tokio::{task::JoinSet, time::sleep};
    use tower::ServiceExt;
    use tower_singleflight::SingleflightLayer;

    type Calls = Arc<AtomicUsize>;

    /// The handler counts its calls, and takes a second.
    async fn report(State(calls): State<Calls>, Path(id): Path<u32>) -> String {
        calls.fetch_add(1, Relaxed);
        sleep(Duration::from_secs(1)).await;
        format!("report {id}")
    }

    fn app(calls: &Calls) -> Router {
        Router::new()
            .route("/reports/{id}", get(report))
            .layer(SingleflightLayer::new(|req| req.uri().path().to_owned()))
            .with_state(calls.clone())
    }

    /// Sends a request through the app, without a socket.
    async fn ask(app: Router, request: Request<Body>) -> String {
        let response = app.oneshot(request).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_requests_at_once_cost_one_call() {
        let calls = Calls::default();
        let app = app(&calls);
        let request = || Request::get("/reports/7").body(Body::empty()).unwrap();

        let clients: JoinSet<_> = (0..10).map(|_| ask(app.clone(), request())).collect();

        assert_eq!(clients.join_all().await, ["report 7"; 10]);
        assert_eq!(calls.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn two_users_never_share() {
        let calls = Calls::default();
        let app = app(&calls);
        let request = |user| {
            let request = Request::get("/reports/7").header("authorization", user);
            request.body(Body::empty()).unwrap()
        };

        let users = ["Bearer Ada", "Bearer Grace"];
        let clients: JoinSet<_> =
            users.into_iter().map(|user| ask(app.clone(), request(user))).collect();

        clients.join_all().await;
        assert_eq!(calls.load(Relaxed), 2);
    }
}

mod stats {
    use axum::{Router, body::Body, http::Request, routing::get};
    use std::{sync::Arc, time::Duration};
    use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
    use tower::ServiceExt;
    use tower_singleflight::SingleflightLayer;

    #[tokio::test]
    async fn nine_of_ten_requests_join() {
        let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
        let flights = layer.handle();
        let gate = Arc::new(Semaphore::new(0)); // the handler waits until the test opens it
        let handler = {
            let gate = gate.clone();
            async move || drop(gate.acquire().await.unwrap())
        };
        let app = Router::new().route("/report", get(handler)).layer(layer);

        let mut clients = JoinSet::new();
        for _ in 0..10 {
            clients
                .spawn(app.clone().oneshot(Request::get("/report").body(Body::empty()).unwrap()));
        }
        let all_wait = async {
            while flights.waiting() < 10 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), all_wait).await.expect("all ten join one flight");
        gate.add_permits(1);
        clients.join_all().await;

        let stats = flights.stats();
        assert_eq!((stats.led, stats.joined, stats.passed, stats.near_misses()), (1, 9, 0, 0));
    }
}

#[cfg(feature = "fleet-testing")]
mod fleet {
    use axum::{Router, body::Body, http::Request, routing::get};
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        time::Duration,
    };
    use tokio::{task::JoinSet, time::sleep};
    use tower::ServiceExt;
    use tower_singleflight::{Fleet, SingleflightLayer, fleet::testing::MemoryEngine};

    /// One replica: the app of the other tests, with a fleet.
    fn replica(engine: MemoryEngine, calls: &Arc<AtomicUsize>) -> Router {
        let fleet = Fleet::new(engine, "a secret of 16 bytes or more");
        let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
        let calls = calls.clone();
        let report = async move || {
            calls.fetch_add(1, Relaxed);
            sleep(Duration::from_secs(1)).await;
            "expensive"
        };
        Router::new().route("/report", get(report)).layer(layer.fleet(&fleet, "reports"))
    }

    #[tokio::test(start_paused = true)]
    async fn three_replicas_cost_one_call() {
        let calls = Arc::default();
        let engine = MemoryEngine::new();
        let engines = [engine.another(), engine.another(), engine];
        let replicas = engines.map(|engine| replica(engine, &calls));
        sleep(Duration::from_millis(10)).await; // they connect in the background

        let request = || Request::get("/report").body(Body::empty()).unwrap();
        let clients: JoinSet<_> =
            replicas.into_iter().map(|replica| replica.oneshot(request())).collect();

        for response in clients.join_all().await {
            assert!(response.unwrap().status().is_success());
        }
        assert_eq!(calls.load(Relaxed), 1);
    }
}
