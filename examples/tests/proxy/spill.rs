//! A download that is larger than the window, for clients of any speed.

use crate::{
    gateway::Coalesce,
    support::{Client, Origin, Proxy, Reply},
};
use std::sync::Arc;
use tokio::{io::AsyncReadExt, task::JoinSet, time::timeout};

const LEN: usize = 64 << 20;
const CLIENTS: usize = 8;

const BLOCK: usize = 4 << 10;

/// Each block begins with its number.
fn download() -> Vec<u8> {
    let mut data = Vec::with_capacity(LEN);
    for number in 0..LEN / BLOCK {
        data.extend_from_slice(&(number as u64).to_be_bytes());
        data.resize((number + 1) * BLOCK, number as u8);
    }
    data
}

/// Asks, and reads the head.
async fn ask(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.addr).await;
    client.ask_for_head("GET /download HTTP/1.1\r\nhost: example\r\n\r\n").await;
    client
}

/// Reads the whole body.
async fn read(mut client: Client, expected: Arc<Vec<u8>>) {
    let mut data = vec![0; LEN];
    let all = timeout(crate::support::PATIENCE * 3, client.stream().read_exact(&mut data));
    all.await.expect("a body, or an end").expect("the whole body");
    assert!(data == *expected, "what the origin sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_takes_one_call_for_clients_of_any_speed() {
    let expected = Arc::new(download());
    let body = expected.to_vec();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\ncache-control: max-age=60\r\n\r\n");
    let origin = Origin::new(move |_| Reply::raw(head.clone()).hold().send(body.clone())).await;
    let coalesce =
        Coalesce { body_limit: Some(4 << 20), spill: Some(2 * LEN as u64), ..Coalesce::default() };
    let proxy = Proxy::start(origin.addr, Some(coalesce)).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(ask(&proxy).await);
    }
    origin.release();
    let slow = clients.pop().unwrap();
    // It reads nothing before the others have all.
    let mut quick: JoinSet<()> =
        clients.into_iter().map(|client| read(client, expected.clone())).collect();
    while let Some(done) = quick.join_next().await {
        done.unwrap();
    }
    read(slow, expected).await;
    assert_eq!(origin.hits(), 1);
}
