//! What goes wrong between a replica and Redis.

use crate::{
    relay::{Faults, Relay},
    replica::{LEASE, PATIENCE, Replica, name, soon, timed},
    server::{free_port, server},
};
use futures_util::FutureExt;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
    time::{sleep, timeout},
};
use tower_singleflight::fleet::engine::{Engine, EngineError, Entry, Epoch, Landing, Push};
use tower_singleflight_redis::RedisEngine;

/// How long an operation takes at most, on a machine that has better things to do.
const AT_MOST: Duration = Duration::from_secs(2);

#[test]
fn open_refuses_what_is_no_url() {
    for url in ["", "redis", "http://redis", "redis://", "redis://redis:port", "redis://redis/word"]
    {
        let error = RedisEngine::open(url).unwrap_err();
        assert_eq!(error.to_string(), "the address of Redis cannot be read");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn open_needs_no_server_and_no_runtime() {
    let engine = RedisEngine::open("redis://127.0.0.1:1").unwrap();
    assert!(!engine.is_up());
}

#[test]
fn debug_shows_no_password() {
    let engine = RedisEngine::open("redis://user:password@redis:6379").unwrap().prefix("shop");
    let text = format!("{engine:?}");
    assert!(text.contains("redis:6379") && text.contains("shop1:"), "{text}");
    assert!(!text.contains("password") && !text.contains("user"), "{text}");
}

#[test]
#[should_panic(expected = "brace")]
fn a_prefix_with_a_brace_panics() {
    drop(RedisEngine::open("redis://redis").unwrap().prefix("a{b"));
}

#[tokio::test]
async fn operations_fail_at_once_while_it_is_down() {
    let replica =
        Replica::new(1, RedisEngine::open(format!("redis://127.0.0.1:{}", free_port())).unwrap());
    for _ in 0..100 {
        let (entry, time) = timed(replica.enter(&name(1), replica.token(), LEASE)).await;
        assert_eq!(entry, Err(EngineError::Down));
        assert!(time < AT_MOST, "{time:?}");
    }
    assert_eq!(replica.ping().await, Err(EngineError::Down));
    assert!(!replica.is_up());
}

#[tokio::test]
async fn it_connects_before_it_is_asked() {
    let server = server!();
    let _replica = Replica::new(1, RedisEngine::open(server.url()).unwrap());
    soon(|| server.clients() == 2).await;
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let mut server = server!();
    let port = server.port;
    server.kill();
    let replica = Replica::new(1, RedisEngine::open(server.url()).unwrap());
    assert!(!replica.is_up());
    sleep(Duration::from_millis(300)).await;
    assert!(!replica.is_up());

    server.start_at(port);
    replica.is_up_soon().await;
    replica.lead(&name(1)).await;
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let mut server = server!();
    let mut one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    one.watch("group");
    one.lead(&name(1)).await;
    one.no_push().await;

    server.restart();
    one.reconnected().await;
    two.reconnected().await;
    // All is gone, and works: the inbox, the group, the scripts.
    let flight = one.lead(&name(1)).await;
    two.follow(&name(1), flight).await;
    assert_eq!(one.push().await, Push::Joined { flight });
    two.seal(name(1).tag(), "group", Epoch::new([1; 8]), LEASE).await.unwrap();
    assert_eq!(one.push().await, Push::Sealed { tag: *name(1).tag() });
}

#[tokio::test]
async fn a_connection_that_is_killed_comes_back() {
    let server = server!();
    let mut one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;

    for kind in ["pubsub", "normal"] {
        let flight = one.lead(&name(1)).await;
        let _: u64 = server.ask(&format!("CLIENT KILL TYPE {kind} SKIPME yes"));
        one.reconnected().await;
        two.is_up_soon().await;
        two.follow(&name(1), flight).await;
        assert_eq!(one.push().await, Push::Joined { flight });
        one.release(&name(1), flight).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed() {
    let server = server!();
    let mut replica = Replica::connected(1, &server.url()).await;

    server.stop();
    let (reply, time) = timed(replica.ping()).await;
    assert_eq!(reply, Err(EngineError::Down));
    assert!(time >= Duration::from_millis(200) && time < AT_MOST, "{time:?}");
    assert!(!replica.is_up());
    let (reply, time) = timed(replica.enter(&name(1), replica.token(), LEASE)).await;
    assert_eq!(reply, Err(EngineError::Down));
    assert!(time < Duration::from_millis(200), "{time:?}");

    server.go_on();
    replica.reconnected().await;
    replica.lead(&name(1)).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed_by_callers_without_patience() {
    let server = server!();
    let mut replica = Replica::connected(1, &server.url()).await;

    server.stop();
    let name = name(1);
    let entry = replica.enter(&name, replica.token(), LEASE);
    assert!(timeout(Duration::from_millis(50), entry).await.is_err());
    assert!(replica.is_up());
    let ((), time) = timed(soon(|| !replica.is_up())).await;
    assert!(time < AT_MOST, "{time:?}");

    server.go_on();
    replica.reconnected().await;
}

#[tokio::test]
async fn all_operations_end_when_the_connection_does() {
    let server = server!();
    let replica = Replica::connected(1, &server.url()).await;
    let name = name(1);

    server.stop();
    // This one alone would wait for a second.
    let fetch = replica.fetch(&name, replica.token());
    let ((fetched, pinged), time) = timed(futures_util::future::join(fetch, replica.ping())).await;
    assert_eq!((fetched, pinged), (Err(EngineError::Down), Err(EngineError::Down)));
    assert!(time < Duration::from_millis(900), "{time:?}");
    server.go_on();
}

#[tokio::test]
async fn operations_that_are_dropped_do_no_harm() {
    let server = server!();
    let replica = Replica::connected(1, &server.url()).await;

    for number in 0..200 {
        let name = name(number);
        let mut entry = replica.enter(&name, replica.token(), LEASE);
        if number % 2 == 0 {
            assert!((&mut entry).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        drop(entry);
    }
    assert_eq!(replica.ping().await, Ok(()));
    // Replies still belong to their commands.
    let flight = replica.lead(&name(255)).await;
    replica.follow(&name(255), flight).await;
}

#[tokio::test]
async fn a_password_is_needed() {
    let server = server!("--requirepass", "secret");
    for url in [server.url(), format!("redis://:wrong@{}", server.address())] {
        let replica = Replica::new(1, RedisEngine::open(url).unwrap());
        assert!(!replica.is_up());
        sleep(Duration::from_millis(300)).await;
        assert!(!replica.is_up());
    }
    let replica = Replica::connected(1, &format!("redis://:secret@{}", server.address())).await;
    replica.lead(&name(1)).await;
}

#[tokio::test]
async fn a_read_only_replica_is_of_no_use() {
    let primary = server!();
    let server = server!("--replicaof", "127.0.0.1", &primary.port.to_string());
    let replica = Replica::new(1, RedisEngine::open(server.url()).unwrap());
    assert!(!replica.is_up());
    sleep(Duration::from_millis(300)).await;
    assert!(!replica.is_up());

    let () = server.ask("REPLICAOF NO ONE");
    replica.is_up_soon().await;
    replica.lead(&name(1)).await;
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() {
    let other = server!();
    let server = server!();
    let mut replica = Replica::connected(1, &server.url()).await;

    let () = server.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    // It may have closed the connection already.
    assert_eq!(replica.enter(&name(1), replica.token(), LEASE).await, Err(EngineError::Down));
    assert!(!replica.is_up());
    let () = server.ask("REPLICAOF NO ONE");
    replica.reconnected().await;
    replica.lead(&name(1)).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_is_of_no_use() {
    let server = server!("--cluster-enabled", "yes");
    let replica = Replica::new(1, RedisEngine::open(server.url()).unwrap());
    assert!(!replica.is_up());
    sleep(Duration::from_millis(300)).await;
    assert!(!replica.is_up());
}

#[tokio::test]
async fn a_server_without_resp3_is_of_no_use() {
    let (url, _server) = resp2_server().await;
    let replica = Replica::new(1, RedisEngine::open(url).unwrap());
    assert!(!replica.is_up());
    sleep(Duration::from_millis(500)).await;
    assert!(!replica.is_up());
    assert_eq!(replica.ping().await, Err(EngineError::Down));
}

/// A server that knows no `HELLO`, as those before Redis 6.
pub(crate) async fn resp2_server() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = connection.read(&mut bytes).await {
                    let commands = bytes[..length].iter().filter(|byte| **byte == b'*').count();
                    let reply = "-ERR unknown command 'HELLO', with args beginning with: '3' \r\n"
                        .repeat(commands);
                    if connection.write_all(reply.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, server)
}

#[tokio::test]
async fn a_server_that_says_nothing_is_of_no_use() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let replica = Replica::new(
        1,
        RedisEngine::open(format!("redis://{}", listener.local_addr().unwrap())).unwrap(),
    );
    assert!(!replica.is_up());
    // It tries again and again.
    for _ in 0..4 {
        let _connection = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    }
    assert!(!replica.is_up());
}

#[test]
fn another_runtime_revives_the_connection() {
    let server = server!();
    let first = Runtime::new().unwrap();
    let mut replica = first.block_on(Replica::connected(1, &server.url()));
    drop(first);
    assert!(!replica.is_up());

    Runtime::new().unwrap().block_on(async {
        replica.is_up_soon().await;
        assert_eq!(replica.push().await, Push::Reconnected);
        replica.lead(&name(1)).await;
    });
}

#[tokio::test]
async fn a_dropped_engine_closes_its_connections() {
    let server = server!();
    let replica = Replica::connected(1, &server.url()).await;
    assert_eq!(server.clients(), 2);
    drop(replica);
    soon(|| server.clients() == 0).await;
}

#[tokio::test]
async fn a_killed_connection_is_replaced_and_not_joined_by_another() {
    let server = server!();
    let mut replica = Replica::connected(1, &server.url()).await;
    for _ in 0..3 {
        let _: u64 = server.ask("CLIENT KILL TYPE pubsub");
        replica.reconnected().await;
    }
    soon(|| server.clients() == 2).await;
}

#[tokio::test]
async fn payloads_do_not_stand_in_the_way_of_entries() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let (name, other) = (name(1), name(2));
    let flight = one.lead(&name).await;
    two.follow(&name, flight).await;
    one.close(&name, flight, LEASE, true).await.unwrap();

    let landing = Landing { payload: vec![0; 4 << 20].into(), keep: LEASE, mark: None };
    let land = one.land(&name, flight, landing);
    let enter = one.enter(&other, one.token(), LEASE);
    let (landed, entered) = futures_util::future::join(land, enter).await;
    assert_eq!((landed, entered), (Ok(true), Ok(Entry::Lead)));
    assert_eq!(two.fetch(&name, flight).await.unwrap().unwrap().len(), 4 << 20);
}

#[tokio::test]
async fn a_process_that_was_stopped_does_not_blame_the_server() {
    let server = server!();
    let mut replica = Replica::connected(1, &server.url()).await;
    {
        let mut ping = replica.ping();
        assert!((&mut ping).now_or_never().is_none());
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(ping.await, Ok(()));
    }
    replica.no_push().await;
}

#[tokio::test]
async fn a_far_server_is_as_good_as_a_near_one() {
    let server = server!();
    let relay = Relay::to(server.port).await;
    relay.set(Faults { delay: Duration::from_millis(30), ..Faults::default() });
    let mut one = Replica::connected(1, &relay.url()).await;
    let two = Replica::connected(2, &relay.url()).await;

    for number in 0..5 {
        let flight = one.lead(&name(number)).await;
        two.follow(&name(number), flight).await;
        assert_eq!(one.push().await, Push::Joined { flight });
    }
    assert!(one.is_up() && two.is_up());
}

#[tokio::test]
async fn a_connection_that_is_half_open_is_replaced() {
    let server = server!();
    let relay = Relay::to(server.port).await;
    let mut replica = Replica::connected(1, &relay.url()).await;

    for faults in [
        Faults { mute: true, deaf: true, ..Faults::default() },
        Faults { mute: true, ..Faults::default() },
        Faults { deaf: true, ..Faults::default() },
    ] {
        relay.abandon(faults);
        let (reply, time) = timed(replica.ping()).await;
        assert_eq!(reply, Err(EngineError::Down));
        assert!(time < AT_MOST, "{time:?}");
        assert!(!replica.is_up());
        replica.reconnected().await;
        let flight = replica.lead(&name(1)).await;
        replica.release(&name(1), flight).await.unwrap();
    }
}

/// Pushes are no replies: a connection that only listens is of no use.
#[tokio::test]
async fn a_connection_that_only_hears_is_replaced() {
    let server = server!();
    let relay = Relay::to(server.port).await;
    let mut mute = Replica::connected(1, &relay.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let flight = mute.lead(&name(1)).await;

    relay.abandon(Faults { mute: true, ..Faults::default() });
    let (ping, _) = futures_util::future::join(mute.ping(), async {
        for _ in 0..10 {
            // The leader is told of each.
            let token = two.follow(&name(1), flight).await;
            two.close(&name(1), flight, LEASE, false).await.unwrap();
            two.release(&name(1), flight).await.unwrap();
            assert_eq!(token.replica(), two.number);
            let entry = two.enter(&name(1), flight, LEASE).await;
            assert_eq!(entry, Ok(Entry::Lead));
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(ping, Err(EngineError::Down));
    assert!(!mute.is_up());
    mute.reconnected().await;
}

#[tokio::test]
async fn a_reply_that_is_cut_is_no_reply() {
    let server = server!();
    let relay = Relay::to(server.port).await;
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &relay.url()).await;
    let flight = one.lead(&name(1)).await;
    two.follow(&name(1), flight).await;
    one.close(&name(1), flight, LEASE, true).await.unwrap();
    let landing = Landing { payload: vec![7; 100_000].into(), keep: LEASE, mark: None };
    assert_eq!(one.land(&name(1), flight, landing).await, Ok(true));
    while !matches!(two.push().await, Push::Landed { .. }) {}

    for bytes in [1, 10, 50_000, 100_005] {
        relay.cut_after(bytes);
        assert_eq!(two.fetch(&name(1), flight).await, Err(EngineError::Down));
        two.reconnected().await;
        assert_eq!(two.fetch(&name(1), flight).await.unwrap().unwrap(), vec![7; 100_000]);
    }
}

/// Redis opens a flight when it goes on, long after the replica went alone: nobody may follow that
/// for a lease.
#[tokio::test]
async fn flights_that_are_opened_by_a_redis_that_hung_are_released() {
    let server = server!();
    let mut one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;

    let led = one.lead(&name(2)).await;
    let token = two.follow(&name(2), led).await;
    server.stop();
    assert_eq!(one.enter(&name(1), one.token(), LEASE).await, Err(EngineError::Down));
    // It was not even sent.
    assert_eq!(one.close(&name(2), led, LEASE, true).await, Err(EngineError::Down));
    server.go_on();
    one.reconnected().await;
    two.is_up_soon().await;
    two.lead(&name(1)).await;
    // The follower is told, or finds out when it is back.
    two.lead(&name(2)).await;
    while let Some(push) = two.pushed() {
        assert!([Push::Again { token }, Push::Reconnected].contains(&push), "{push:?}");
    }
}

#[tokio::test]
async fn flights_that_are_opened_for_a_caller_that_left_are_released() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let name = name(1);

    server.stop();
    let entry = one.enter(&name, one.token(), LEASE);
    assert!(timeout(Duration::from_millis(30), entry).await.is_err());
    server.go_on();
    // Redis has opened the flight before it answers this.
    one.ping().await.unwrap();
    soon(|| server.keys().is_empty()).await;
    one.lead(&name).await;
}
