//! The parties of a test.

mod client;
mod origin;
mod wire;

pub(crate) use client::{Client, PATIENCE, h2, h2_get};
pub(crate) use origin::{Origin, Reply};
pub(crate) use wire::{Kind, Message};

use crate::gateway::{self, Coalesce, Options, Summary};
use std::net::SocketAddr;
use tokio::{sync::oneshot, task::JoinHandle};

/// A proxy that runs in the test.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<Summary>,
}

impl Proxy {
    pub(crate) async fn to(origin: &Origin) -> Self {
        Self::start(origin.addr, Some(Coalesce::default())).await
    }

    pub(crate) async fn start(upstream: SocketAddr, coalesce: Option<Coalesce>) -> Self {
        let listener = gateway::listen("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let options = Options { upstream: upstream.to_string().parse().unwrap(), coalesce };
        let running = tokio::spawn(gateway::run(listener, options, async { drop(stopped.await) }));
        Self { addr, stop, running }
    }

    pub(crate) fn stop(self) -> JoinHandle<Summary> {
        self.stop.send(()).unwrap();
        self.running
    }
}
