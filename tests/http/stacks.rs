//! The layer in the stacks that people have, with the line that the README has.

use crate::{
    net::{Connection, Gate, Got, Origin, burst, listen, rest, serve, until},
    support::within,
};
use axum::{Router, response::Redirect, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_singleflight::{BoxError, SharedBody, SingleflightLayer};

/// A handler that answers once the gate is open, and counts its calls.
#[derive(Clone)]
struct Handler {
    gate: Gate,
    calls: Arc<AtomicUsize>,
}

impl Handler {
    fn new() -> Self {
        Self { gate: Gate::new(), calls: Arc::default() }
    }

    async fn run(self) -> String {
        let call = self.calls.fetch_add(1, SeqCst) + 1;
        self.gate.passed().await;
        format!("call {call}")
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

#[tokio::test]
async fn fifty_clients_on_fifty_connections_cost_one_call_of_an_axum_handler() {
    let handler = Handler::new();
    let inner = handler.clone();
    let layer = SingleflightLayer::new(|req| req.uri().to_string());
    let handle = layer.handle();
    let app = Router::new().route("/hot", get(move || inner.clone().run())).layer(layer);
    let clients = burst(50, serve(app).await, "/hot").await;
    until("all wait", || handle.waiting() == 50).await;
    handler.gate.open();
    for client in clients {
        assert_eq!(
            within(client).await.unwrap(),
            (StatusCode::OK, Got::Whole("call 1".to_owned()))
        );
    }
    assert_eq!(handler.calls(), 1);
    assert_eq!((handle.stats().led, handle.stats().joined, handle.in_flight()), (1, 49, 0));
}

#[tokio::test]
async fn the_line_needs_no_annotation_on_a_router() {
    let handler = Handler::new();
    let inner = handler.clone();
    let app: Router = Router::new()
        .route("/hot", get(move || inner.clone().run()))
        .layer(SingleflightLayer::new(|req| req.uri().to_string()));
    handler.gate.open();
    let answer =
        app.oneshot(Request::get("/hot").body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "call 1");
}

#[tokio::test]
async fn the_line_needs_no_annotation_on_a_method_router() {
    let handler = Handler::new();
    let inner = handler.clone();
    let app: Router = Router::new().route(
        "/hot",
        get(move || inner.clone().run()).layer(SingleflightLayer::new(|req| req.uri().to_string())),
    );
    handler.gate.open();
    let answer =
        app.oneshot(Request::get("/hot").body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "call 1");
}

#[tokio::test]
async fn a_layer_on_a_method_router_coalesces_over_connections() {
    let handler = Handler::new();
    let inner = handler.clone();
    let layer = SingleflightLayer::new(|req| req.uri().to_string());
    let handle = layer.handle();
    let app: Router = Router::new().route("/hot", get(move || inner.clone().run()).layer(layer));
    let clients = burst(8, serve(app).await, "/hot").await;
    until("all wait", || handle.waiting() == 8).await;
    handler.gate.open();
    for client in clients {
        assert_eq!(
            within(client).await.unwrap(),
            (StatusCode::OK, Got::Whole("call 1".to_owned()))
        );
    }
}

#[tokio::test]
async fn one_layer_on_a_router_keeps_its_routes_apart() {
    let layer = SingleflightLayer::new(|_| "one key for everything");
    let handle = layer.handle();
    let gate = Gate::new();
    let (one, other) = (gate.clone(), gate.clone());
    let app: Router = Router::new()
        .route("/one", get(|| async move { one.passed().await }))
        .route(
            "/moved",
            get(|| async move {
                other.passed().await;
                Redirect::to("/one")
            }),
        )
        .layer(layer);
    let address = serve(app).await;
    let (one, other) = (burst(1, address, "/one").await, burst(1, address, "/moved").await);
    until("both lead", || handle.in_flight() == 2).await;
    gate.open();
    for (clients, status) in [(one, StatusCode::OK), (other, StatusCode::SEE_OTHER)] {
        for client in clients {
            assert_eq!(within(client).await.unwrap().0, status);
        }
    }
}

/// Two routers behind one stripped path, with clones of one layer value.
#[cfg(feature = "axum")]
#[tokio::test]
async fn nested_routers_with_clones_of_one_layer_keep_apart() {
    let layer = SingleflightLayer::new(|req| req.uri().to_string());
    let handle = layer.handle();
    let gate = Gate::new();
    let inside = |text: &'static str| {
        let gate = gate.clone();
        let handler = get(move || async move {
            gate.passed().await;
            text
        });
        Router::new().route("/list", handler).layer(layer.clone())
    };
    let app: Router =
        Router::new().nest("/users", inside("users")).nest("/orders", inside("orders"));
    let address = serve(app).await;
    let (users, orders) =
        (burst(3, address, "/users/list").await, burst(3, address, "/orders/list").await);
    until("all wait", || handle.waiting() == 6).await;
    assert_eq!(handle.in_flight(), 2);
    gate.open();
    for (clients, text) in [(users, "users"), (orders, "orders")] {
        for client in clients {
            assert_eq!(within(client).await.unwrap().1, Got::Whole(text.to_owned()));
        }
    }
}

#[tokio::test]
async fn the_line_needs_no_annotation_in_a_service_builder_stack() {
    let service = ServiceBuilder::new()
        .map_request(|request: Request<Empty<Bytes>>| request)
        .layer(SingleflightLayer::new(|req| req.uri().to_string()))
        .service_fn(|request: Request<Empty<Bytes>>| async move {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(request.uri().path().to_owned())))
        });
    let response: Response<SharedBody> =
        service.oneshot(Request::get("/a").body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "/a");
}

#[tokio::test]
async fn the_line_needs_no_annotation_over_a_boxed_service() {
    type Boxed = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, Infallible>;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let boxed: Boxed = service_fn(move |_: Request<Full<Bytes>>| {
        let call = counter.fetch_add(1, SeqCst) + 1;
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Response::new(Full::from(format!("call {call}"))))
        }
    })
    .boxed_clone();
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::new(|req| req.uri().to_string()))
        .service(boxed);
    let ask = || service.clone().oneshot(Request::get("/a").body(Full::default()).unwrap());
    let (one, other) = tokio::join!(ask(), ask());
    for response in [one, other] {
        assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "call 1");
    }
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn a_boxed_service_with_boxed_errors_takes_shared_errors() {
    let boxed = service_fn(|_: Request<Full<Bytes>>| async {
        Err::<Response<Full<Bytes>>, BoxError>("no".into())
    });
    let boxed = boxed.boxed_clone();
    let layer = SingleflightLayer::new(|req| req.uri().to_string()).shared_errors();
    let service = layer.layer(boxed);
    let ask = || service.clone().oneshot(Request::get("/a").body(Full::default()).unwrap());
    let (one, other) = tokio::join!(ask(), ask());
    assert_eq!(one.unwrap_err().to_string(), "no");
    assert_eq!(other.unwrap_err().to_string(), "no");
}

/// The service that a hyper server is given, over both versions.
#[tokio::test]
async fn a_hyper_server_coalesces_requests_with_incoming_bodies() {
    let handler = Handler::new();
    let inner = handler.clone();
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    let handle = layer.handle();
    let service = ServiceBuilder::new().layer(layer).service_fn(move |_: Request<Incoming>| {
        let handler = inner.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(handler.run().await))) }
    });
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    let clients = burst(8, address, "/hot").await;
    until("all wait", || handle.waiting() == 8).await;
    // HTTP/2 has its authority in the URI, and joins all the same.
    let h2 = |mut client: Connection| async move {
        let mut response = client.get("/hot", &[]).await.unwrap();
        rest(response.body_mut()).await
    };
    let h2 = [
        tokio::spawn(h2(Connection::h2(address).await)),
        tokio::spawn(h2(Connection::h2(address).await)),
    ];
    until("the others wait", || handle.waiting() == 10).await;
    handler.gate.open();
    for client in clients {
        assert_eq!(
            within(client).await.unwrap(),
            (StatusCode::OK, Got::Whole("call 1".to_owned()))
        );
    }
    for client in h2 {
        assert_eq!(within(client).await.unwrap(), Got::Whole("call 1".to_owned()));
    }
    assert_eq!(handler.calls(), 1);
}

#[tokio::test]
async fn hyper_utils_client_is_called_once_for_many() {
    let gate = Gate::new();
    let answer = gate.clone();
    let origin = Origin::new(move |mut exchange| {
        let gate = answer.clone();
        async move {
            gate.passed().await;
            let text = format!("hit {}", exchange.number);
            exchange.whole("200 OK", "", &text).await;
        }
    })
    .await;
    let layer = SingleflightLayer::new(|req| req.uri().to_string()).shared_errors();
    let handle = layer.handle();
    let client = layer
        .layer(Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(HttpConnector::new()));
    let uri = format!("http://{}/hot", origin.address);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let request = Request::get(&uri).body(Full::default()).unwrap();
            tokio::spawn(client.clone().oneshot(request))
        })
        .collect();
    until("all wait", || handle.waiting() == 20).await;
    gate.open();
    for call in calls {
        let response = within(call).await.unwrap().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hit 1");
    }
    assert_eq!(origin.hits(), 1);
}
