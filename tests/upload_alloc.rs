//! What an upload through a layer with a small limit costs in memory, over real sockets.
#![cfg(feature = "http")]

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::convert::Infallible;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{ServiceBuilder, service_fn};
use tower_singleflight::SingleflightLayer;

const LIMIT: usize = 64 * 1024;
const LENGTH: usize = 5 << 20;

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// Reads an upload, checks each byte, and answers with its length.
async fn count(
    request: Request<UnsyncBoxBody<Bytes, hyper::Error>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (mut body, mut length) = (request.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().enumerate().all(|(at, data)| *data == byte(length + at)));
        length += data.len();
    }
    Ok(Response::new(Full::from(length.to_string())))
}

/// Sends one upload on a connection of its own, and returns the answer.
async fn upload(chunked: bool) -> String {
    let layer = SingleflightLayer::with_body(LIMIT, |request| Some(request.body().clone()));
    let service = ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed_unsync))
        .layer(layer)
        .service(service_fn(count));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    // By default, hyper's own buffer grows to 400 KiB, depending on how much each read gives.
    let mut server = http1::Builder::new();
    server.max_buf_size(LIMIT);
    let server = server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
    let client = async move {
        let framing = if chunked {
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {LENGTH}")
        };
        let head =
            format!("POST / HTTP/1.1\r\nhost: example\r\nconnection: close\r\n{framing}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        // Written in pieces, so that the client holds little of it.
        let mut piece = [0; 16 * 1024];
        for start in (0..LENGTH).step_by(piece.len()) {
            piece.iter_mut().enumerate().for_each(|(at, data)| *data = byte(start + at));
            if chunked {
                client.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
            }
            client.write_all(&piece).await.unwrap();
            if chunked {
                client.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            client.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (answer, served) = tokio::join!(client, server);
    served.unwrap();
    answer
}

#[test]
fn five_mebibytes_through_a_limit_of_64_kib_take_less_than_one_of_memory() {
    for chunked in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let memory = measure(|| {
            let answer = runtime.block_on(upload(chunked));
            assert!(answer.ends_with(&format!("\r\n\r\n{LENGTH}")), "{answer}");
        });
        assert!(memory.bytes_max <= 1 << 20, "{} bytes", memory.bytes_max);
        assert!(memory.bytes_max > LIMIT as u64, "the start was held: {} bytes", memory.bytes_max);
    }
}
