//! A download that is larger than the window, for clients of any speed.

use crate::{
    gateway::Coalesce,
    support::{Client, Origin, Proxy, Reply},
};
use tokio::{io::AsyncReadExt, task::JoinSet, time::timeout};

const LEN: usize = 64 << 20;
const CLIENTS: usize = 8;

/// Each eight bytes say where they are.
fn byte(at: usize) -> u8 {
    (at as u64 / 8).to_be_bytes()[at % 8]
}

/// Asks, and reads the head.
async fn ask(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.addr).await;
    client.ask_for_head("GET /download HTTP/1.1\r\nhost: example\r\n\r\n").await;
    client
}

/// Reads the whole body.
async fn read(mut client: Client) {
    let mut data = vec![0; LEN];
    let all = timeout(crate::support::PATIENCE * 3, client.stream().read_exact(&mut data));
    all.await.expect("a body, or an end").expect("the whole body");
    let wrong = data.iter().enumerate().find(|(at, data)| **data != byte(*at));
    assert_eq!(wrong, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_takes_one_call_for_clients_of_any_speed() {
    let body: Vec<u8> = (0..LEN).map(byte).collect();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\ncache-control: max-age=60\r\n\r\n");
    let origin = Origin::new(move |_| Reply::raw(head.clone()).hold().send(body.clone())).await;
    let coalesce = Coalesce { body_limit: Some(4 << 20), spill: Some(2 * LEN as u64), ..Coalesce::default() };
    let proxy = Proxy::start(origin.addr, Some(coalesce)).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(ask(&proxy).await);
    }
    origin.release();
    let slow = clients.pop().unwrap();
    // It reads nothing before the others have all.
    let mut quick: JoinSet<()> = clients.into_iter().map(read).collect();
    while let Some(done) = quick.join_next().await {
        done.unwrap();
    }
    read(slow).await;
    assert_eq!(origin.hits(), 1);
}
