//! The stack over sockets. What is said of its order is tested beside it.

use crate::{
    client::{burst, get, send},
    hold::Hold,
    program::Program,
};
use flate2::read::GzDecoder;
use hyper::{Request, StatusCode, header::CONTENT_ENCODING};
use std::{collections::BTreeSet, io::Read};
use tokio::task::JoinSet;

const EXE: &str = env!("CARGO_BIN_EXE_stack");

#[tokio::test]
async fn twenty_clients_with_two_encodings_cost_one_flight_of_two_attempts() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let mut clients = burst(10, program.address, "/reports/7");
    for _ in 0..10 {
        clients.spawn(send(
            program.address,
            Request::get("/reports/7").header("accept-encoding", "gzip"),
            "",
        ));
    }
    let fails = hold.call().await;
    program.until("waiting", 20).await;
    drop(fails);
    drop(hold.call().await);
    let mut texts = BTreeSet::new();
    let mut zipped = 0;
    for reply in clients.join_all().await {
        assert_eq!(reply.status, StatusCode::OK);
        if reply.headers.contains_key(CONTENT_ENCODING) {
            let mut text = String::new();
            GzDecoder::new(&reply.body[..]).read_to_string(&mut text).unwrap();
            texts.insert(text);
            zipped += 1;
        } else {
            texts.insert(reply.text);
        }
    }
    assert_eq!((texts.len(), zipped), (1, 10));
    assert_eq!(program.counted(["attempts", "led", "joined"]).await, [2, 1, 19]);
    let log = program.stop().await;
    assert_eq!(log.matches("finished processing request").count(), 20, "{log}");
}

#[tokio::test]
async fn of_nine_flights_one_is_refused_whatever_their_connections() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let address = program.address;
    let paths: Vec<_> = (0..8).map(|report| format!("/reports/{report}")).collect();
    let mut clients = JoinSet::new();
    let mut calls = Vec::new();
    for path in paths {
        clients.spawn(async move { get(address, &path).await.status });
        calls.push(hold.call().await);
    }
    assert_eq!(get(address, "/reports/8").await.status, StatusCode::SERVICE_UNAVAILABLE);
    clients.spawn(async move { get(address, "/reports/3").await.status });
    program.until("waiting", 9).await;
    drop(calls);
    // The first attempt of all fails.
    drop(hold.call().await);
    assert_eq!(clients.join_all().await, [StatusCode::OK; 9]);
    assert_eq!(program.counted(["attempts", "led", "joined"]).await, [9, 9, 1]);
    program.stop().await;
}
