//! The side of the clients.

use super::{client::Upstream, refusal::Refusal, request, summary::Counters, upgrade};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, uri::Authority};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tower::{BoxError, ServiceExt};

/// For the head of a request to arrive, and for the next one on a connection that is kept open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// For the requests in progress to be answered, once the proxy is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// When the process is out of file descriptors, others have to close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted. With tokio's 128, a burst of clients would have to ask
/// again, a second later.
const BACKLOG: u32 = 4096;

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What all connections use.
pub(super) struct Proxy {
    upstream: Authority,
    counters: Arc<Counters>,
}

impl Proxy {
    pub(super) fn new(upstream: Authority, counters: Arc<Counters>) -> Self {
        Self { upstream, counters }
    }
}

pub(super) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    proxy: Proxy,
    stop: impl Future<Output = ()>,
) where
    S: Upstream<B> + Sync,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    // Tunnels end when this is dropped.
    let (_running, tunnels) = watch::channel(());
    let (proxy, graceful) = (Arc::new(proxy), GracefulShutdown::new());
    let server = Server { http: http(), service, proxy, tunnels, graceful };
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => server.take(stream, address.ip()),
                Err(error) => {
                    eprintln!("accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    if timeout(STOP_TIMEOUT, server.graceful.shutdown()).await.is_err() {
        eprintln!("stopped with requests unanswered after {STOP_TIMEOUT:?}");
    }
}

fn http() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
    builder
}

struct Server<S> {
    http: Builder<TokioExecutor>,
    service: S,
    proxy: Arc<Proxy>,
    tunnels: watch::Receiver<()>,
    graceful: GracefulShutdown,
}

/// Whoever is at the other end of a connection.
pub(super) struct Peer {
    pub(super) address: HeaderValue,
    has_asked: AtomicBool,
}

impl Peer {
    fn new(ip: IpAddr) -> Self {
        let address =
            HeaderValue::try_from(ip.to_canonical().to_string()).expect("an address is printable");
        Self { address, has_asked: AtomicBool::new(false) }
    }
}

impl<S> Server<S> {
    fn take<B>(&self, stream: TcpStream, ip: IpAddr)
    where
        S: Upstream<B> + Sync,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        // Only worth a warning if it were to fail: the connection works without.
        let _ = stream.set_nodelay(true);
        let peer = Arc::new(Peer::new(ip));
        let (service, proxy, client) = (self.service.clone(), self.proxy.clone(), peer.clone());
        let tunnels = self.tunnels.clone();
        let answer = service_fn(move |request| {
            answer(service.clone(), client.clone(), proxy.clone(), tunnels.clone(), request)
        });
        let connection =
            self.http.serve_connection_with_upgrades(TokioIo::new(stream), answer).into_owned();
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // hyper bounds the wait for a head, but not for the first bytes, which tell the
            // protocol.
            if timeout(HEAD_TIMEOUT, &mut connection).await.is_err()
                && peer.has_asked.load(Ordering::Relaxed)
            {
                let _ = connection.await;
            }
        });
    }
}

async fn answer<S, B>(
    service: S,
    peer: Arc<Peer>,
    proxy: Arc<Proxy>,
    tunnels: watch::Receiver<()>,
    mut request: Request<Incoming>,
) -> Result<Response<Either<B, Full<Bytes>>>, Infallible>
where
    S: Upstream<B>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    peer.has_asked.store(true, Ordering::Relaxed);
    proxy.counters.count_request();
    let client = hyper::upgrade::on(&mut request);
    let answer = match request::forward(request, &peer, &proxy.upstream) {
        Ok(request) => service.oneshot(request).await.map_err(|_| Refusal::BAD_GATEWAY),
        Err(refusal) => Err(refusal),
    };
    let answer = answer.map(|mut response| {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upstream = hyper::upgrade::on(&mut response);
            tokio::spawn(upgrade::tunnel(client, upstream, tunnels));
        }
        response
    });
    Ok(answer.map_or_else(
        |refusal| refusal.into_response().map(Either::Right),
        |response| response.map(Either::Left),
    ))
}
