//! The gateway under test: an axum router that fetches every page from the upstream.

use crate::{args::Side, clients::Clock};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, uri::Scheme},
    middleware::map_request_with_state,
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpSocket, sync::Semaphore};
use tower_singleflight::{Handle, SingleflightLayer};

pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    pub(crate) layer: Option<Handle<String>>,
}

#[derive(Clone)]
struct Backend {
    upstream: SocketAddr,
    client: Client<HttpConnector, Body>,
    pool: Arc<Semaphore>,
}

pub(crate) async fn start(
    side: Side,
    upstream: SocketAddr,
    pool: usize,
    clock: Arc<Clock>,
) -> io::Result<Gateway> {
    let app =
        Router::new().route("/item/{key}", get(fetch)).with_state(Backend::new(upstream, pool));
    let (app, layer) = match side {
        Side::Without => (app, None),
        Side::With => {
            let layer = SingleflightLayer::new(|req| req.uri().to_string());
            let handle = layer.handle();
            (app.layer(layer), Some(handle))
        }
    };
    let app =
        app.layer(map_request_with_state(clock, note_arrival)).route("/ready", get(|| async {}));
    Ok(Gateway { addr: serve(app).await?, layer })
}

impl Backend {
    fn new(upstream: SocketAddr, pool: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { upstream, client, pool: Arc::new(Semaphore::new(pool)) }
    }

    fn uri(&self, path: &Uri) -> Result<Uri, axum::http::Error> {
        let path = path.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.upstream.to_string())
            .path_and_query(path)
            .build()
    }
}

async fn fetch(State(backend): State<Backend>, uri: Uri) -> Result<Response, StatusCode> {
    let uri = backend.uri(&uri).map_err(|_| StatusCode::BAD_REQUEST)?;
    let permit = backend.pool.acquire_owned().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let response = backend.client.get(uri).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    // The connection is busy until the body is through, and so is its permit.
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &permit;
            frame
        }))
    }))
}

async fn note_arrival(State(clock): State<Arc<Clock>>, request: Request) -> Request {
    clock.note_arrival();
    request
}

pub(crate) async fn serve(app: Router) -> io::Result<SocketAddr> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    // The gateway opens its whole pool at once. With a short queue the system drops some of these
    // connections, and tries them again a second later.
    let listener = socket.listen(4096)?;
    let addr = listener.local_addr()?;
    let listener = listener.tap_io(|socket| {
        // Only a matter of speed: small answers would wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(addr)
}
