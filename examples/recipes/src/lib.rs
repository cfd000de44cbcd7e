//! What the recipes have in common, and nothing of what they show: where a server listens, when it
//! stops, and something expensive to do.

use std::{env, io, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};

/// Connections that may wait to be accepted. With tokio's own queue the system would drop a part of
/// a large burst, and these clients would try again a second later.
const BACKLOG: u32 = 4096;

/// Listens on the address that the first argument gives, or on a free port of loopback, and says
/// which. The future is ready when the program is to stop: on ctrl-c or SIGTERM.
///
/// # Errors
///
/// When the argument is no address, or it cannot be listened on.
pub fn listen() -> io::Result<(TcpListener, impl Future<Output = ()> + Send + 'static)> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let address = address
        .parse()
        .map_err(|_| io::Error::other(format!("{address} is not an address and port")))?;
    let socket = if matches!(address, std::net::SocketAddr::V4(_)) {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let stop = stop()?;
    println!("listening on {}", listener.local_addr()?);
    Ok((listener, stop))
}

#[cfg(unix)]
fn stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}

/// Stands in for your slow backend, and takes as long as that.
///
/// The tests want to say themselves when it is done: where `RECIPES_HOLD` has an address, this
/// connects there, and is done when the other side closes.
///
/// # Panics
///
/// When `RECIPES_HOLD` has an address and nobody is there.
pub async fn expensive(time: Duration) {
    match env::var("RECIPES_HOLD") {
        Ok(address) => {
            let mut held = TcpStream::connect(address).await.expect("somebody holds the calls");
            // However it ends, it has.
            let _ = held.read(&mut [0]).await;
        }
        Err(_) => sleep(time).await,
    }
}
