//! The ACL in the docs is enough, and no word of it is too much.

use crate::{
    replica::{LEASE, Replica, name},
    server::{Server, server},
};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tower_singleflight::fleet::engine::{
    Checked, Closed, Engine, EngineError, Entry, Epoch, Landing, Push, Waiting,
};
use tower_singleflight_redis::RedisEngine;

#[tokio::test(flavor = "multi_thread")]
async fn the_acl_of_the_docs_is_enough_and_one_word_less_is_not() {
    let server = server!();
    let words = words();
    assert_eq!(words.len(), 17, "{words:?}");
    works(&server, &words).await.unwrap();

    for missing in &words {
        let fewer: Vec<_> = words.iter().filter(|word| *word != missing).cloned().collect();
        assert!(works(&server, &fewer).await.is_err(), "it works without {missing}");
        let () = server.ask("FLUSHALL");
    }
}

/// The words of the docs after the user and its password.
fn words() -> Vec<String> {
    let docs = include_str!("../../src/lib.rs");
    let line = docs.lines().find_map(|line| line.split_once("resetchannels ")).unwrap().1;
    line.split(' ').map(str::to_owned).collect()
}

/// Whether all operations work for a user with these words.
async fn works(server: &Server, words: &[String]) -> Result<(), String> {
    let () = server.ask(&format!("ACL SETUSER fleet reset on >secret {}", words.join(" ")));
    let engine =
        || RedisEngine::open(format!("redis://fleet:secret@{}", server.address())).unwrap();
    let (mut one, mut two) = (Replica::new(1, engine()), Replica::new(2, engine()));
    one.watch("group");
    let start = Instant::now();
    while !(one.is_up() && two.is_up()) {
        // With all words, it may take as long as it likes.
        if start.elapsed() > Duration::from_secs(if words.len() == 17 { 20 } else { 2 }) {
            return Err("not up".to_owned());
        }
        sleep(Duration::from_millis(5)).await;
    }
    all_operations(&mut one, &mut two).await.map_err(|error| error.to_string())
}

async fn all_operations(one: &mut Replica, two: &mut Replica) -> Result<(), EngineError> {
    let name = name(1);
    one.ping().await?;
    for payload in [100, 10_000] {
        let sealed = one.token();
        let entry = one.enter(&name, sealed, LEASE).await?;
        assert_eq!(entry, Entry::Lead);
        let old = two.token();
        assert_eq!(two.enter(&name, old, LEASE).await?.flight(), Some(sealed));
        two.seal(name.tag(), "group", Epoch::new([payload as u8; 8]), LEASE).await?;
        let flight = two.token();
        assert_eq!(two.shut_and_enter(&name, sealed, flight, LEASE).await?, Entry::Lead);
        one.release(&name, sealed).await?;
        let token = one.token();
        assert_eq!(one.enter(&name, token, LEASE).await?.flight(), Some(flight));
        assert_eq!(two.renew(&[(name, flight)], LEASE).await?, [true]);
        let waiting = Waiting { name, flight, token };
        assert!(matches!(
            one.check(std::slice::from_ref(&waiting)).await?[..],
            [Checked::Pending { .. }]
        ));
        assert_eq!(two.close(&name, flight, LEASE, true).await?, Closed::Followed(vec![token]));
        let landing = Landing { payload: vec![1; payload].into(), keep: LEASE, mark: None };
        assert!(two.land(&name, flight, landing).await?);
        assert_eq!(one.fetch(&name, flight).await?.map(|payload| payload.len()), Some(payload));
        one.done(&waiting).await?;
        let told = async { while !matches!(one.push().await, Push::Landed { .. }) {} };
        timeout(Duration::from_secs(5), told).await.map_err(|_| EngineError::Down)?;
        assert_eq!(two.fetch(&name, flight).await?, None);
    }
    Ok(())
}

trait Followed {
    fn flight(&self) -> Option<tower_singleflight::fleet::engine::Token>;
}

impl Followed for Entry {
    fn flight(&self) -> Option<tower_singleflight::fleet::engine::Token> {
        match self {
            Entry::Follow { flight, .. } => Some(*flight),
            _ => None,
        }
    }
}
