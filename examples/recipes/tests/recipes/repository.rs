use crate::{
    client::{all_get, burst, get, send},
    hold::Hold,
    program::Program,
};
use hyper::{Request, StatusCode};

const EXE: &str = env!("CARGO_BIN_EXE_repository");

#[tokio::test]
async fn two_handlers_that_want_one_row_cost_one_query_and_answer_each_in_its_way() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let users = burst(10, program.address, "/users/1");
    let mentions = burst(10, program.address, "/users/1/mention");
    let other = burst(2, program.address, "/users/2");
    let queries = [hold.call().await, hold.call().await];
    program.until("waiting", 22).await;
    drop(queries);
    all_get(users, "1 Ann\n").await;
    all_get(mentions, "@Ann\n").await;
    all_get(other, "2 Ben\n").await;
    assert_eq!(program.counted(["queries", "led", "joined"]).await, [2, 2, 20]);
    program.stop().await;
}

#[tokio::test]
async fn a_missing_row_is_an_answer_to_one_handler_and_a_404_to_the_other() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let users = burst(3, program.address, "/users/9");
    let mentions = burst(3, program.address, "/users/9/mention");
    let query = hold.call().await;
    program.until("waiting", 6).await;
    drop(query);
    for reply in users.join_all().await {
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
    }
    all_get(mentions, "@nobody\n").await;
    assert_eq!(program.counted(["queries"]).await, [1]);
    program.stop().await;
}

#[tokio::test]
async fn an_error_reaches_all_callers_and_the_next_one_asks_again() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    for (id, status, text) in [
        (503, StatusCode::SERVICE_UNAVAILABLE, "try again later\n"),
        (500, StatusCode::INTERNAL_SERVER_ERROR, "the database is gone: connection reset\n"),
    ] {
        let [user, mention] = [format!("/users/{id}"), format!("/users/{id}/mention")];
        for _ in 0..2 {
            let address = program.address;
            let ask = |path: String| tokio::spawn(async move { get(address, &path).await });
            let callers = [ask(user.clone()), ask(mention.clone()), ask(user.clone())];
            let query = hold.call().await;
            program.until("waiting", 3).await;
            drop(query);
            for caller in callers {
                let reply = caller.await.unwrap();
                assert_eq!((reply.status, reply.text.as_str()), (status, text));
            }
        }
    }
    assert_eq!(program.counted(["queries", "led", "joined"]).await, [4, 4, 8]);
    program.stop().await;
}

#[tokio::test]
async fn whoever_asks_after_a_rename_gets_the_new_name() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let before = burst(2, program.address, "/users/1");
    let old_query = hold.call().await;
    program.until("waiting", 2).await;
    let rename = send(program.address, Request::put("/users/1"), "Anna").await;
    assert_eq!(rename.status, StatusCode::NO_CONTENT);
    let after = burst(2, program.address, "/users/1/mention");
    let new_query = hold.call().await;
    program.until("waiting", 4).await;
    drop((old_query, new_query));
    all_get(before, "1 Ann\n").await;
    all_get(after, "@Anna\n").await;
    assert_eq!(program.counted(["queries"]).await, [2]);
    let missing = send(program.address, Request::put("/users/9"), "Nobody").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    program.stop().await;
}
