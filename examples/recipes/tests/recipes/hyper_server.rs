use crate::{
    client::{all_get, burst},
    hold::Hold,
    program::{Program, within},
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

const EXE: &str = env!("CARGO_BIN_EXE_hyper_server");

#[tokio::test]
async fn fifty_clients_cost_one_report() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let clients = burst(50, program.address, "/reports/7");
    let call = hold.call().await;
    program.until("waiting", 50).await;
    drop(call);
    all_get(clients, "report 1 on /reports/7\n").await;
    assert_eq!(program.counted(["reports", "led", "joined"]).await, [1, 1, 49]);
    program.stop().await;
}

#[tokio::test]
async fn the_streams_of_an_http2_connection_coalesce_as_well() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let socket = TcpStream::connect(program.address).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}/reports/7", program.address);
    let request = || Request::get(&uri).body(Empty::<Bytes>::new()).unwrap();
    let clients: Vec<_> = (0..50).map(|_| tokio::spawn(sender.send_request(request()))).collect();
    let call = hold.call().await;
    program.until("waiting", 50).await;
    drop(call);
    for client in clients {
        let body = within(client).await.unwrap().unwrap().into_body();
        assert_eq!(within(body.collect()).await.unwrap().to_bytes(), "report 1 on /reports/7\n");
    }
    drop(sender);
    within(connection).await.unwrap().unwrap();
    assert_eq!(program.counted(["reports", "led", "joined"]).await, [1, 1, 49]);
    program.stop().await;
}

#[tokio::test]
async fn a_report_that_everybody_left_is_cancelled() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let clients = burst(3, program.address, "/reports/7");
    let call = hold.call().await;
    program.until("waiting", 3).await;
    drop(clients);
    call.dropped().await;
    program.until("cancelled", 1).await;
    program.stop().await;
}

#[tokio::test]
async fn it_answers_what_it_began_before_it_stops() {
    let hold = Hold::new().await;
    let program = Program::held(EXE, &hold).await;
    let address = program.address;
    let clients = burst(3, address, "/reports/7");
    let call = hold.call().await;
    program.until("waiting", 3).await;
    let stop = tokio::spawn(program.stop());
    within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    drop(call);
    all_get(clients, "report 1 on /reports/7\n").await;
    stop.await.unwrap();
}
