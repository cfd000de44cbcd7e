//! Holds a program's expensive calls, so that a test says when they are done: see
//! `recipes::expensive`.

use crate::program::within;
use std::net::SocketAddr;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

pub(crate) struct Hold {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// A call in progress. It is done when this is dropped.
pub(crate) struct Call(TcpStream);

impl Hold {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// The next call, when it has begun.
    pub(crate) async fn call(&self) -> Call {
        Call(within(self.listener.accept()).await.unwrap().0)
    }
}

impl Call {
    /// Returns when the program has dropped the call.
    pub(crate) async fn dropped(mut self) {
        assert_eq!(within(self.0.read(&mut [0])).await.unwrap(), 0);
    }
}
