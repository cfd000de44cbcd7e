//! The gateways under test: a hyper server, the layer, and a pooled hyper client.

use super::{
    folder::Folder,
    identity::{REQUEST_ID, SESSION},
    watched::{self, Watched},
};
use crate::{alive::Alive, calls::Calls, sabotage::Sabotage, world::World};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{CONNECTION, HOST, TRANSFER_ENCODING},
    uri::{Authority, Scheme},
};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::service_fn as answer_with};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{
    convert::Infallible,
    hash::{Hash, Hasher},
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{
    Handle, HttpPolicy, LateJoin, SharedBody, SingleflightLayer, SlowReader,
    mode::{Http, SharedErrors},
};

/// In the answers of a gateway that goes down.
pub(super) const DOOMED: HeaderName = HeaderName::from_static("x-doomed");
/// In the answer of a gateway that got none.
pub(super) const NO_ANSWER: HeaderName = HeaderName::from_static("x-no-answer");

/// In the answers of an origin that judges who asked.
const JUDGES: HeaderName = HeaderName::from_static("x-judges");

/// Small, so that a client that does not read is soon noticed.
const SEND_BUFFER: u32 = 16 << 10;
const HOLD: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(50);

type GatewayLayer = SingleflightLayer<Http<Path>, SharedErrors>;

#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) name: &'static str,
    pub(super) addr: SocketAddr,
    pub(super) handle: Handle<Path>,
    /// A reader of a longer body may be cut off, because it lags behind.
    pub(super) cuts_off_beyond: usize,
    /// Those who followed a 429 with a longer body have its head alone.
    pub(super) gives_heads_beyond: usize,
    /// For the lag of slow readers.
    pub(super) folder: Folder,
    layer: GatewayLayer,
    origin: SocketAddr,
    calls: Arc<Calls>,
}

impl Gateway {
    /// As most would have it, but for the times, which are short enough to matter here.
    pub(super) async fn roomy(world: &Arc<World>, origin: SocketAddr) -> io::Result<Self> {
        let limit = 256 << 10;
        let policy = policy(world)
            .body_limit(limit)
            .partition_cookies([SESSION])
            .slow_reader(SlowReader::PauseThenEvict(Duration::from_millis(50)))
            .unshareable_memory(64, Duration::from_millis(30));
        let layer = layer(world)
            .policy(policy)
            .join_within(Duration::from_millis(250))
            .followers_retry(1)
            .hold_for(HOLD);
        let gateway = Self::start("roomy", layer, origin, limit as usize, &world.calls).await?;
        Ok(Self { gives_heads_beyond: limit as usize, ..gateway })
    }

    /// Everybody may come late, nobody waits long, and there is little memory.
    pub(super) async fn tight(world: &Arc<World>, origin: SocketAddr) -> io::Result<Self> {
        let policy = policy(world)
            .late_joins(LateJoin::Always)
            .body_limit(8 << 10)
            .keep_start(0)
            .share_large_bodies(true)
            .ignore_query(true)
            .refusals(4)
            .slow_reader(SlowReader::Evict)
            .body_budget(256 << 10)
            .unshareable_memory(0, Duration::ZERO);
        let layer = layer(world)
            .policy(policy)
            .wait_at_most(Duration::from_millis(20))
            .run_to_completion(true)
            .hold_for(HOLD);
        Self::start("tight", layer, origin, 0, &world.calls).await
    }

    /// The lag of slow readers goes to a file, which is soon full and has a folder that comes and
    /// goes. Bodies have a small window, and are read to their ends.
    pub(super) async fn spilling(world: &Arc<World>, origin: SocketAddr) -> io::Result<Self> {
        let (window, folder) = (16 << 10, Folder::new(world));
        let policy = policy(world)
            .late_joins(LateJoin::Always)
            .body_limit(window)
            .keep_start(4 << 10)
            .slow_reader(SlowReader::PauseThenEvict(Duration::from_millis(30)))
            .unshareable_memory(0, Duration::ZERO);
        #[cfg(feature = "spill")]
        let policy = policy.spill(1 << 20).spill_to(folder.path());
        let layer = layer(world).policy(policy).run_to_completion(true).hold_for(HOLD);
        let gateway = Self::start("spilling", layer, origin, window as usize, &world.calls).await?;
        Ok(Self { folder, ..gateway })
    }

    async fn start(
        name: &'static str,
        layer: GatewayLayer,
        origin: SocketAddr,
        cuts_off_beyond: usize,
        calls: &Arc<Calls>,
    ) -> io::Result<Self> {
        let addr = serve(&layer, origin, false, calls).await?;
        let (handle, folder, calls) = (layer.handle(), Folder::default(), calls.clone());
        Ok(Self {
            name,
            addr,
            handle,
            cuts_off_beyond,
            gives_heads_beyond: usize::MAX,
            folder,
            layer,
            origin,
            calls,
        })
    }

    /// Another door to the same flights, on the runtime of this call, which goes down.
    pub(super) async fn open_doomed(&self) -> io::Result<SocketAddr> {
        serve(&self.layer, self.origin, true, &self.calls).await
    }
}

fn layer(world: &Arc<World>) -> GatewayLayer {
    let keys = world.keys.clone();
    SingleflightLayer::new(move |req| Path {
        path: req.uri().path().to_owned(),
        _alive: keys.one(),
    })
    .shared_errors()
}

fn policy(world: &World) -> HttpPolicy {
    let policy = HttpPolicy::default()
        .cache_status("soak")
        .seal_on_write(!world.sabotages(Sabotage::StalePage));
    let policy = policy
        .own_response_header(REQUEST_ID)
        .share_if(|head| !head.headers().contains_key(JUDGES));
    if world.sabotages(Sabotage::WrongAnswer) { policy.trust_key() } else { policy }
}

/// The key.
pub(super) struct Path {
    path: String,
    _alive: Alive,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Path {}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

async fn serve(
    layer: &GatewayLayer,
    origin: SocketAddr,
    is_doomed: bool,
    calls: &Arc<Calls>,
) -> io::Result<SocketAddr> {
    let listener = listen()?;
    let addr = listener.local_addr()?;
    let (service, calls) = (layer.layer(client(origin, is_doomed)), calls.clone());
    let mut server = Builder::new(TokioExecutor::new());
    // Clients that come and go at once are what this is about.
    server.http2().max_local_error_reset_streams(None).max_pending_accept_reset_streams(1 << 20);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (service, calls) = (service.clone(), calls.clone());
            let answer =
                answer_with(move |request| answer(service.clone(), request, calls.clone()));
            let connection = server.serve_connection(TokioIo::new(stream), answer).into_owned();
            // How it ended is the client's to judge.
            tokio::spawn(async { drop(connection.await) });
        }
    });
    Ok(addr)
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(1024)
}

fn client(
    origin: SocketAddr,
    is_doomed: bool,
) -> impl Service<Request<Incoming>, Response = Response<Incoming>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    let client: Client<HttpConnector, Incoming> = builder.build_http();
    let origin = Authority::try_from(origin.to_string()).expect("an address is one");
    service_fn(move |mut request| {
        address(&mut request, &origin);
        let response = client.request(request);
        async move {
            let mut response = response.await?;
            response.headers_mut().remove(CONNECTION);
            response.headers_mut().remove(TRANSFER_ENCODING);
            if is_doomed {
                response.headers_mut().insert(DOOMED, HeaderValue::from_static("yes"));
            }
            Ok(response)
        }
    })
}

/// Tells the client where to connect; what it sends is the path alone.
fn address(request: &mut Request<Incoming>, origin: &Authority) {
    let mut parts = mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(origin.clone());
    *request.uri_mut() = Uri::from_parts(parts).expect("it has all its parts");
}

async fn answer<S>(
    service: S,
    request: Request<Incoming>,
    calls: Arc<Calls>,
) -> Result<Response<Either<Watched, Full<Bytes>>>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<SharedBody>>,
{
    let call = watched::call_in(request.headers());
    Ok(match service.oneshot(one_form(request)).await {
        Ok(response) => response.map(|body| Either::Left(Watched::new(body, &calls, call))),
        Err(_) => {
            let mut response = Response::new(Either::Right(Full::default()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response.headers_mut().insert(NO_ANSWER, HeaderValue::from_static("yes"));
            response
        }
    })
}

/// The same, whichever version of HTTP it came over: so both share.
fn one_form(mut request: Request<Incoming>) -> Request<Incoming> {
    let mut parts = mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = parts.authority.take() {
        let host = HeaderValue::try_from(authority.as_str()).expect("an authority is printable");
        request.headers_mut().insert(HOST, host);
    }
    parts.scheme = None;
    *request.uri_mut() = Uri::from_parts(parts).expect("a path is one");
    *request.version_mut() = http::Version::HTTP_11;
    request
}
