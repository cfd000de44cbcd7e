//! The tests are another program that uses the database: as long as they have it locked, every
//! query waits.

use crate::{
    client::{all_get, burst, get, send},
    program::Program,
};
use hyper::{Request, StatusCode};
use rusqlite::Connection;
use std::{fs, path::PathBuf};

struct Fixture {
    program: Program,
    other: Connection,
}

async fn start(name: &str) -> Fixture {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("sqlite");
    // Of an earlier run.
    drop(fs::remove_file(&path));
    let program = Program::start(env!("CARGO_BIN_EXE_sqlite"), &[path.to_str().unwrap()]).await;
    Fixture { program, other: Connection::open(path).unwrap() }
}

impl Fixture {
    fn lock(&self) {
        self.other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    }

    fn unlock(&self) {
        self.other.execute_batch("COMMIT").unwrap();
    }
}

#[tokio::test]
async fn a_hundred_clients_cost_one_query() {
    let fixture = start("hundred").await;
    let program = &fixture.program;
    fixture.lock();
    let clients = burst(100, program.address, "/keys/hot");
    program.until("waiting", 100).await;
    fixture.unlock();
    all_get(clients, "the value of hot\n").await;
    assert_eq!(program.counted(["queries", "led", "joined", "passed"]).await, [1, 1, 99, 0]);
    fixture.program.stop().await;
}

#[tokio::test]
async fn keys_that_differ_are_queries_of_their_own() {
    let fixture = start("differ").await;
    let program = &fixture.program;
    fixture.lock();
    let (hot, cold) =
        (burst(5, program.address, "/keys/hot"), burst(5, program.address, "/keys/cold"));
    let missing = burst(5, program.address, "/keys/missing");
    program.until("waiting", 15).await;
    fixture.unlock();
    all_get(hot, "the value of hot\n").await;
    all_get(cold, "the value of cold\n").await;
    for reply in missing.join_all().await {
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(program.counted(["queries", "led"]).await, [3, 3]);
    fixture.program.stop().await;
}

#[tokio::test]
async fn nobody_gets_an_answer_to_another_query() {
    let fixture = start("query").await;
    let program = &fixture.program;
    fixture.lock();
    let (plain, asking) =
        (burst(5, program.address, "/keys/hot"), burst(5, program.address, "/keys/hot?as=json"));
    program.until("waiting", 10).await;
    fixture.unlock();
    all_get(plain, "the value of hot\n").await;
    all_get(asking, "the value of hot\n").await;
    assert_eq!(program.counted(["queries", "led", "joined"]).await, [2, 2, 8]);
    fixture.program.stop().await;
}

#[tokio::test]
async fn whoever_reads_after_a_write_joins_no_read_from_before() {
    let fixture = start("write").await;
    let program = &fixture.program;
    fixture.lock();
    let before = burst(2, program.address, "/keys/hot");
    program.until("waiting", 2).await;
    // However the path is written.
    let write = tokio::spawn(send(program.address, Request::put("/keys/%68ot"), "a new value"));
    program.until("passed", 1).await;
    let after = burst(2, program.address, "/keys/hot");
    program.until("waiting", 4).await;
    assert_eq!(program.counted(["led", "joined"]).await, [2, 2]);
    fixture.unlock();
    assert_eq!(write.await.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(get(program.address, "/keys/hot").await.text, "a new value\n");
    for reply in before.join_all().await.into_iter().chain(after.join_all().await) {
        assert_eq!(reply.status, StatusCode::OK);
    }
    fixture.program.stop().await;
}

#[tokio::test]
async fn a_query_that_everybody_left_answers_the_next_client() {
    let fixture = start("left").await;
    let program = &fixture.program;
    fixture.lock();
    let client = burst(1, program.address, "/keys/hot");
    program.until("queries", 1).await;
    drop(client);
    program.until("waiting", 0).await;
    let next = burst(1, program.address, "/keys/hot");
    program.until("waiting", 1).await;
    fixture.unlock();
    all_get(next, "the value of hot\n").await;
    assert_eq!(program.counted(["queries", "led", "joined"]).await, [1, 1, 1]);
    fixture.program.stop().await;
}
