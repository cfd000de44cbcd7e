use crate::{
    client::Stream,
    hold::Hold,
    program::{Program, within},
};
use hyper::Request;
use std::{net::SocketAddr, sync::Arc};

const EXE: &str = env!("CARGO_BIN_EXE_llm_gateway");

async fn ask(address: SocketAddr, prompt: &str) -> Stream {
    let head = Request::post("/v1/completions").header("content-type", "application/json");
    let stream =
        Stream::open(address, head, &format!(r#"{{"model": "m", "prompt": "{prompt}"}}"#)).await;
    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    stream
}

/// The whole answer to a prompt.
fn answer(prompt: &str) -> String {
    format!("You ask {prompt} of me? [DONE]").split(' ').map(event).collect()
}

fn event(word: &str) -> String {
    format!("data: {word}\n\n")
}

#[tokio::test]
async fn one_client_leaves_one_comes_late_another_prompt_is_apart_and_all_are_whole() {
    let hold = Arc::new(Hold::new().await);
    let program = Program::held(EXE, &hold).await;
    let mut stays = ask(program.address, "why").await;
    let first = hold.call().await;
    let mut leaves = ask(program.address, "why").await;
    program.until("joined", 1).await;
    drop(first);
    assert_eq!((leaves.next().await, stays.next().await), (event("You"), event("You")));
    let second = hold.call().await;
    drop(leaves);

    let mut late = ask(program.address, "why").await;
    assert_eq!(
        late.next().await,
        event("You"),
        "it has the first word before there is a second one"
    );
    let other = ask(program.address, "how").await;
    let others_first = hold.call().await;
    assert_eq!(program.counted(["calls", "led", "joined"]).await, [2, 2, 2]);

    drop((second, others_first));
    let held = hold.clone();
    let go_on = tokio::spawn(async move {
        loop {
            drop(held.call().await);
        }
    });
    assert_eq!(event("You") + &stays.rest().await, answer("why"));
    assert_eq!(event("You") + &late.rest().await, answer("why"));
    assert_eq!(other.rest().await, answer("how"));
    assert_eq!(program.counted(["calls", "led", "joined"]).await, [2, 2, 2]);
    go_on.abort();
    program.stop().await;
}

#[tokio::test]
async fn twenty_clients_of_one_prompt_cost_one_call_however_it_is_spelled() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let mut clients = vec![ask(program.address, "why").await];
    let mut word = hold.call().await;
    for spelled in
        [r#"{"prompt":"why","model":"m"}"#, r#"{ "model":"m", "prompt":"why" }"#].repeat(10)
    {
        let head = Request::post("/v1/completions").header("content-type", "application/json");
        clients.push(Stream::open(program.address, head, spelled).await);
    }
    program.until("joined", 20).await;
    for _ in 0..5 {
        drop(word);
        word = hold.call().await;
    }
    drop(word);
    for client in clients {
        assert_eq!(client.rest().await, answer("why"));
    }
    assert_eq!(program.counted(["calls", "led"]).await, [1, 1]);
    program.stop().await;
}

#[tokio::test]
async fn the_model_stops_when_all_clients_have_left() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let clients = [ask(program.address, "why").await, ask(program.address, "why").await];
    let word = hold.call().await;
    drop(clients);
    word.dropped().await;
    // And the next client does not join a stream that has ended.
    let next = ask(program.address, "why").await;
    drop(within(hold.call()).await);
    assert_eq!(program.counted(["calls"]).await, [2]);
    drop(next);
    program.stop().await;
}
