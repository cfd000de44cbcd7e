use crate::{
    client::{all_get, burst},
    hold::Hold,
    program::Program,
};

#[tokio::test]
async fn a_hit_never_reaches_the_layer() {
    let hold = Hold::new().await;
    let program = Program::held(env!("CARGO_BIN_EXE_cache"), &hold).await;
    let misses = burst(50, program.address, "/quotes/ACME");
    let call = hold.call().await;
    program.until("waiting", 50).await;
    drop(call);
    all_get(misses, "ACME 101 (load 1)\n").await;
    assert_eq!(program.counted(["loads", "hits", "led", "joined"]).await, [1, 0, 1, 49]);
    all_get(burst(50, program.address, "/quotes/ACME"), "ACME 101 (load 1)\n").await;
    assert_eq!(program.counted(["loads", "hits", "led", "joined"]).await, [1, 50, 1, 49]);
    program.stop().await;
}
