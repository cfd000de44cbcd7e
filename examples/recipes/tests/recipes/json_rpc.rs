use crate::{client::send, hold::Hold, program::Program};
use hyper::{Request, StatusCode};
use std::net::SocketAddr;
use tokio::task::JoinSet;

/// Calls a method with each of these ids. Returns the ids and results of the answers, in order.
fn call(
    address: SocketAddr,
    ids: &'static [&'static str],
    method: &'static str,
    params: &'static str,
) -> JoinSet<(String, String)> {
    let call = |id: &'static str| async move {
        let body = format!(
            r#"{{"jsonrpc": "2.0", "id": {id}, "method": "{method}", "params": {params}}}"#
        );
        let reply = send(address, Request::post("/rpc"), &body).await;
        assert_eq!(reply.status, StatusCode::OK);
        (id.to_owned(), reply.text)
    };
    ids.iter().map(|id| call(id)).collect()
}

/// Each gets this result, with its own id.
async fn all_get(calls: JoinSet<(String, String)>, result: &str) {
    for (id, text) in calls.join_all().await {
        assert_eq!(text, format!(r#"{{"id":{id},"jsonrpc":"2.0","result":{result}}}"#));
    }
}

#[tokio::test]
async fn each_caller_of_one_read_gets_its_own_id() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_json_rpc"), &hold).await;
    let ann = call(program.address, &["1", "2", "\"three\"", "null"], "balance", r#"["ann"]"#);
    let ben = call(program.address, &["1"], "balance", r#"["ben"]"#);
    let reads = [hold.call().await, hold.call().await];
    program.until("waiting", 5).await;
    drop(reads);
    all_get(ann, "100").await;
    all_get(ben, "200").await;
    assert_eq!(program.counted(["reads", "led", "joined"]).await, [2, 2, 3]);
    program.stop().await;
}

#[tokio::test]
async fn a_read_after_a_payment_gets_the_new_balance() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_json_rpc"), &hold).await;
    let before = call(program.address, &["1"], "balance", r#"["ann"]"#);
    let old_read = hold.call().await;
    all_get(call(program.address, &["2"], "pay", r#"["ann", 5]"#), "105").await;
    let after = call(program.address, &["3", "4"], "balance", r#"["ann"]"#);
    let new_read = hold.call().await;
    program.until("waiting", 3).await;
    drop((old_read, new_read));
    all_get(before, "100").await;
    all_get(after, "105").await;
    assert_eq!(program.counted(["reads", "led", "joined"]).await, [2, 2, 1]);
    program.stop().await;
}
