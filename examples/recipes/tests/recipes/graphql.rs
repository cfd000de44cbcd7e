use crate::{
    client::{Reply, all_get, send},
    hold::Hold,
    program::Program,
};
use hyper::Request;
use std::net::SocketAddr;
use tokio::task::JoinSet;

fn query(id: &str) -> String {
    format!(r#"{{"query": "query($id: ID!) {{ price(id: $id) }}", "variables": {{"id": "{id}"}}}}"#)
}

/// The same query with other spaces, and its members in another order.
fn respelled(id: &str) -> String {
    format!(r#"{{"variables":{{"id":"{id}"}},"query":"query($id: ID!) {{ price(id: $id) }}"}}"#)
}

fn mutation(id: &str, to: u32) -> String {
    let document = "mutation($id: ID!, $to: Int!) { setPrice(id: $id, to: $to) }";
    format!(r#"{{"query": "{document}", "variables": {{"id": "{id}", "to": {to}}}}}"#)
}

fn ask(address: SocketAddr, bodies: impl IntoIterator<Item = String>) -> JoinSet<Reply> {
    let ask = |body: String| async move { send(address, Request::post("/graphql"), &body).await };
    bodies.into_iter().map(ask).collect()
}

#[tokio::test]
async fn equal_queries_share_and_different_ones_are_apart() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_graphql"), &hold).await;
    let tea = ask(program.address, [query("tea"), query("tea"), respelled("tea")]);
    let coffee = ask(program.address, [query("coffee"), query("coffee")]);
    let reads = [hold.call().await, hold.call().await];
    program.until("waiting", 5).await;
    drop(reads);
    all_get(tea, r#"{"data":{"price":100}}"#).await;
    all_get(coffee, r#"{"data":{"price":200}}"#).await;
    assert_eq!(program.counted(["reads", "led", "joined"]).await, [2, 2, 3]);
    program.stop().await;
}

#[tokio::test]
async fn a_query_after_a_mutation_gets_the_new_price() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_graphql"), &hold).await;
    let before = ask(program.address, [query("tea"), query("tea")]);
    let old_read = hold.call().await;
    program.until("waiting", 2).await;
    all_get(ask(program.address, [mutation("tea", 120)]), r#"{"data":{"setPrice":120}}"#).await;
    let after = ask(program.address, [query("tea"), query("tea")]);
    let new_read = hold.call().await;
    program.until("waiting", 4).await;
    drop((old_read, new_read));
    all_get(before, r#"{"data":{"price":100}}"#).await;
    all_get(after, r#"{"data":{"price":120}}"#).await;
    assert_eq!(program.counted(["reads", "led", "joined"]).await, [2, 2, 2]);
    program.stop().await;
}
