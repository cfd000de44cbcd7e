//! A client's connection to a gateway.

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{io, net::SocketAddr};
use tokio::{net::TcpSocket, task::JoinHandle};

pub(super) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) async fn open(to: SocketAddr, version: Version, rng: &mut Rng) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // A stalled client is then soon noticed. Not over HTTP/2, whose driver reads on while its
        // client stalls: all that such a buffer does there is that the kernel may take tens of
        // seconds for what the gateway wrote long ago.
        if version == Version::Http1 && rng.bool() {
            socket.set_recv_buffer_size(8 << 10)?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        Ok(match version {
            Version::Http1 => {
                let (sender, driver) = http1::handshake(io).await.map_err(io::Error::other)?;
                Self {
                    sender: Sender::Http1(sender),
                    driver: tokio::spawn(async { drop(driver.await) }),
                }
            }
            Version::Http2 => {
                let made = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, driver) = made.map_err(io::Error::other)?;
                Self {
                    sender: Sender::Http2(sender),
                    driver: tokio::spawn(async { drop(driver.await) }),
                }
            }
        })
    }

    /// `Http1` sends one request after the other.
    pub(super) fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    pub(super) fn senders(&self, count: usize) -> Vec<Sender> {
        let Sender::Http2(sender) = &self.sender else { return Vec::new() };
        (0..count).map(|_| Sender::Http2(sender.clone())).collect()
    }
}

/// At once, whatever is still to come.
impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Sender {
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}
