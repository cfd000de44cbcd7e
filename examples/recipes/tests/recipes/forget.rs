use crate::{
    client::{all_get, burst, send},
    hold::Hold,
    program::Program,
};
use hyper::{Request, StatusCode};

#[tokio::test]
async fn whoever_reads_after_the_import_gets_the_new_price() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_forget"), &hold).await;
    let before = burst(3, program.address, "/prices/tea");
    let old_read = hold.call().await;
    program.until("waiting", 3).await;
    let import = send(program.address, Request::post("/import"), "tea 120").await;
    assert_eq!(import.status, StatusCode::NO_CONTENT);
    let after = burst(3, program.address, "/prices/tea");
    let new_read = hold.call().await;
    program.until("waiting", 6).await;
    drop(new_read);
    all_get(after, "120\n").await;
    drop(old_read);
    all_get(before, "100\n").await;
    assert_eq!(program.counted(["reads", "led", "joined"]).await, [2, 2, 4]);
    program.stop().await;
}

#[tokio::test]
async fn the_import_reaches_the_reads_of_every_query() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_forget"), &hold).await;
    let paths = ["/prices/tea", "/prices/tea?in=euro"];
    let before = paths.map(|path| burst(1, program.address, path));
    let old_reads = [hold.call().await, hold.call().await];
    send(program.address, Request::post("/import"), "tea 120").await;
    let after = paths.map(|path| burst(1, program.address, path));
    let new_reads = [hold.call().await, hold.call().await];
    program.until("waiting", 4).await;
    drop((old_reads, new_reads));
    for (clients, price) in [(before, "100\n"), (after, "120\n")] {
        for client in clients {
            all_get(client, price).await;
        }
    }
    assert_eq!(program.counted(["reads", "led", "joined"]).await, [4, 4, 0]);
    program.stop().await;
}

#[tokio::test]
async fn the_reads_of_other_prices_are_not_forgotten() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_forget"), &hold).await;
    let before = burst(1, program.address, "/prices/coffee");
    let read = hold.call().await;
    send(program.address, Request::post("/import"), "tea 120").await;
    let after = burst(1, program.address, "/prices/coffee");
    program.until("waiting", 2).await;
    drop(read);
    all_get(before, "200\n").await;
    all_get(after, "200\n").await;
    assert_eq!(program.counted(["reads"]).await, [1]);
    program.stop().await;
}
