//! Each operation, as the trait promises it.

use crate::{
    replica::{LEASE, Replica, name},
    server::server,
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::sleep;
use tower_singleflight::fleet::engine::{
    Checked, Closed, Engine, EngineError, Entry, Epoch, Landing, Name, Push, Token, Waiting,
};
use tower_singleflight_redis::RedisEngine;

const SHORT: Duration = Duration::from_millis(60);

fn landing(payload: impl Into<Bytes>) -> Landing {
    Landing { payload: payload.into(), keep: LEASE, mark: None }
}

fn waiting(name: Name, flight: Token, token: Token) -> Waiting {
    Waiting { name, flight, token }
}

/// Closes a flight, and gives the tokens that wait, in order.
async fn close(replica: &Replica, name: &Name, flight: Token) -> Vec<Token> {
    match replica.close(name, flight, LEASE, false).await.unwrap() {
        Closed::Followed(mut tokens) => {
            tokens.sort();
            tokens
        }
        closed => panic!("{closed:?}"),
    }
}

#[tokio::test]
async fn the_first_leads_and_others_follow() {
    let server = server!();
    let mut one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    one.no_push().await;
    two.follow(&name, flight).await;
    assert_eq!(one.push().await, Push::Joined { flight });

    // The leader is told of the first only.
    two.follow(&name, flight).await;
    one.follow(&name, flight).await;
    one.no_push().await;
    two.no_push().await;
}

#[tokio::test]
async fn names_do_not_meet() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let same_tag = Name::new(*name(1).tag(), [2; 32]);

    one.lead(&name(1)).await;
    one.lead(&name(2)).await;
    one.lead(&same_tag).await;
}

#[tokio::test]
async fn prefixes_do_not_meet() {
    let server = server!();
    let mut one = Replica::connected(1, &server.url()).await;
    let other = Replica::new(2, RedisEngine::open(server.url()).unwrap().prefix("other"));
    other.is_up_soon().await;
    one.watch("group");
    one.ping().await.unwrap();

    let flight = one.lead(&name(1)).await;
    other.lead(&name(1)).await;
    // A write through the other prefix is not told here, and seals nothing here.
    other.seal(name(1).tag(), "group", Epoch::new([1; 8]), LEASE).await.unwrap();
    other.ping().await.unwrap();
    one.no_push().await;
    one.follow(&name(1), flight).await;
}

#[tokio::test]
async fn a_lone_flight_leaves_nothing() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    assert_eq!(one.close(&name, flight, LEASE, true).await, Ok(Closed::Alone));
    assert_eq!(server.keys(), [""; 0]);
    one.lead(&name).await;
}

#[tokio::test]
async fn closing_names_the_tokens_and_tells_them() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let mut three = Replica::connected(3, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    let second = two.follow(&name, flight).await;
    let third = three.follow(&name, flight).await;
    assert_eq!(close(&one, &name, flight).await, [second, third]);
    two.no_push().await;

    // It can be closed again, and newcomers lead.
    assert!(matches!(
        one.close(&name, flight, LEASE, true).await,
        Ok(Closed::Followed(tokens)) if tokens.len() == 2
    ));
    assert_eq!(two.push().await, Push::Closed { token: second });
    assert_eq!(three.push().await, Push::Closed { token: third });
    three.lead(&name).await;
    assert_eq!(close(&one, &name, flight).await, [second, third]);
}

#[tokio::test]
async fn a_small_payload_travels_in_the_push() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let mut three = Replica::connected(3, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    let second = two.follow(&name, flight).await;
    let third = three.follow(&name, flight).await;
    close(&one, &name, flight).await;
    let payload: Bytes = (0..8192).map(|byte| byte as u8).collect();
    assert_eq!(one.land(&name, flight, landing(payload.clone())).await, Ok(true));
    assert_eq!(two.push().await, Push::Landed { token: second, payload: Some(payload.clone()) });
    assert_eq!(three.push().await, Push::Landed { token: third, payload: Some(payload.clone()) });

    // Until all have it, it can be fetched as well.
    assert_eq!(two.done(&waiting(name, flight, second)).await, Ok(()));
    assert_eq!(three.fetch(&name, flight).await, Ok(Some(payload)));
    assert_eq!(three.done(&waiting(name, flight, third)).await, Ok(()));
    assert_eq!(three.fetch(&name, flight).await, Ok(None));
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn a_large_payload_is_fetched() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    for length in [8193, 1 << 20, 0] {
        let flight = one.lead(&name).await;
        let token = two.follow(&name, flight).await;
        close(&one, &name, flight).await;
        let payload = Bytes::from(vec![7; length]);
        assert_eq!(one.land(&name, flight, landing(payload.clone())).await, Ok(true));
        assert_eq!(two.push().await, Push::Landed { token, payload: None });
        assert_eq!(two.fetch(&name, flight).await, Ok(Some(payload)));
        assert_eq!(two.done(&waiting(name, flight, token)).await, Ok(()));
        assert_eq!(server.keys(), [""; 0]);
    }
}

#[tokio::test]
async fn what_landed_is_kept_for_a_time() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    two.follow(&name, flight).await;
    close(&one, &name, flight).await;
    let landing = Landing { keep: SHORT, ..landing("payload") };
    assert_eq!(one.land(&name, flight, landing).await, Ok(true));
    sleep(2 * SHORT).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn a_mark_lets_others_pass() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    two.follow(&name, flight).await;
    close(&one, &name, flight).await;
    let marked = Landing { mark: Some(Duration::from_secs(30)), ..landing("go") };
    assert_eq!(one.land(&name, flight, marked).await, Ok(true));
    match two.enter(&name, two.token(), LEASE).await.unwrap() {
        Entry::Pass { left } => {
            assert!(left > Duration::from_secs(5) && left <= Duration::from_secs(30), "{left:?}")
        }
        entry => panic!("{entry:?}"),
    }
}

#[tokio::test]
async fn a_mark_ends_no_open_flight() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    two.follow(&name, flight).await;
    close(&one, &name, flight).await;
    let next = two.lead(&name).await;
    let marked = Landing { mark: Some(LEASE), ..landing("go") };
    assert_eq!(one.land(&name, flight, marked).await, Ok(true));
    one.follow(&name, next).await;
}

#[tokio::test]
async fn a_write_seals_the_flight() {
    let server = server!();
    let mut one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);
    let sibling = Name::new(*name.tag(), [9; 32]);

    let flight = one.lead(&name).await;
    let token = two.follow(&name, flight).await;
    assert_eq!(one.push().await, Push::Joined { flight });
    let other = one.lead(&sibling).await;
    assert_eq!(two.seal(name.tag(), "group", Epoch::new([3; 8]), LEASE).await, Ok(()));

    // All names of the tag.
    assert_eq!(two.enter(&name, two.token(), LEASE).await, Ok(Entry::Sealed { flight }));
    assert_eq!(one.enter(&sibling, one.token(), LEASE).await, Ok(Entry::Sealed { flight: other }));

    // The next one leads. Those that waited go on waiting.
    let next = two.token();
    assert_eq!(two.shut_and_enter(&name, flight, next, LEASE).await, Ok(Entry::Lead));
    one.follow(&name, next).await;
    assert_eq!(close(&one, &name, flight).await, [token]);
    assert_eq!(one.land(&name, flight, landing("before")).await, Ok(true));

    // Nobody waited for this one.
    assert_eq!(two.shut_and_enter(&sibling, other, two.token(), LEASE).await, Ok(Entry::Lead));
    assert_eq!(one.close(&sibling, other, LEASE, true).await, Ok(Closed::Lost));

    // A second write seals what the first one did not.
    assert_eq!(two.seal(name.tag(), "group", Epoch::new([4; 8]), LEASE).await, Ok(()));
    assert_eq!(one.enter(&name, one.token(), LEASE).await, Ok(Entry::Sealed { flight: next }));
}

#[tokio::test]
async fn an_epoch_ends_after_its_life() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;

    one.seal(name(1).tag(), "group", Epoch::new([3; 8]), SHORT).await.unwrap();
    assert_eq!(server.keys().len(), 1);
    sleep(2 * SHORT).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn shutting_leaves_other_flights_alone() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    let entry = two.shut_and_enter(&name, two.token(), two.token(), LEASE).await;
    assert!(
        matches!(entry, Ok(Entry::Follow { flight: followed, .. }) if followed == flight),
        "{entry:?}"
    );
}

#[tokio::test]
async fn a_write_is_told_to_those_who_watch_the_group() {
    let server = server!();
    let mut before = Replica::new(1, RedisEngine::open(server.url()).unwrap());
    before.watch("group");
    before.is_up_soon().await;
    let mut other = Replica::connected(2, &server.url()).await;
    other.watch("other group");
    let mut later = Replica::connected(3, &server.url()).await;
    later.watch("group");
    later.watch("group");
    while server.ask::<(String, usize)>("PUBSUB NUMSUB tsf1:g:group").1 != 2 {
        sleep(Duration::from_millis(5)).await;
    }

    let tag = *name(1).tag();
    later.seal(&tag, "group", Epoch::new([3; 8]), LEASE).await.unwrap();
    assert_eq!(before.push().await, Push::Sealed { tag });
    assert_eq!(later.push().await, Push::Sealed { tag });
    before.no_push().await;
    later.no_push().await;
    other.no_push().await;
}

#[tokio::test]
async fn the_lease_of_a_zombie_is_anothers() {
    let server = server!();
    let zombie = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let mut three = Replica::connected(3, &server.url()).await;
    let name = name(1);

    let late = zombie.token();
    assert_eq!(zombie.enter(&name, late, SHORT).await, Ok(Entry::Lead));
    sleep(2 * SHORT).await;
    let flight = two.lead(&name).await;
    let token = three.follow(&name, flight).await;

    assert_eq!(zombie.renew(&[(name, late)], LEASE).await, Ok(vec![false]));
    assert_eq!(zombie.close(&name, late, LEASE, true).await, Ok(Closed::Lost));
    assert_eq!(zombie.land(&name, late, landing("small")).await, Ok(false));
    assert_eq!(zombie.land(&name, late, landing(vec![0; 10_000])).await, Ok(false));
    assert_eq!(zombie.fetch(&name, late).await, Ok(None));
    assert_eq!(zombie.release(&name, late).await, Ok(()));
    three.no_push().await;
    assert_eq!(close(&two, &name, flight).await, [token]);
}

#[tokio::test]
async fn who_waits_for_a_flight_whose_lease_ended_is_told_when_another_leads() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let three = Replica::connected(3, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    let token = two.follow(&name, flight).await;
    let open = server.keys().into_iter().find(|key| key.contains(":f:")).unwrap();
    assert_eq!(server.ask::<u8>(&format!("DEL {open}")), 1);
    let flight = three.lead(&name).await;
    assert_eq!(two.push().await, Push::Again { token });
    let token = two.follow(&name, flight).await;
    assert_eq!(close(&three, &name, flight).await, [token]);
}

#[tokio::test]
async fn renewing_extends_open_and_closed_flights() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;

    let (open, closed, lost) = (one.token(), one.token(), one.token());
    let short = Duration::from_secs(5);
    one.enter(&name(1), open, short).await.unwrap();
    one.enter(&name(2), closed, short).await.unwrap();
    let token = two.token();
    assert!(matches!(
        two.enter(&name(2), token, LEASE).await,
        Ok(Entry::Follow { left, .. }) if left <= short
    ));
    one.close(&name(2), closed, short, false).await.unwrap();

    let flights = [(name(1), open), (name(3), lost), (name(2), closed)];
    assert_eq!(one.renew(&flights, LEASE).await, Ok(vec![true, false, true]));
    for key in server.keys() {
        assert!(server.ask::<u64>(&format!("PTTL {key}")) > 10_000, "{key}");
    }
    assert_eq!(one.renew(&[], LEASE).await, Ok(vec![]));
}

#[tokio::test]
async fn a_token_that_waits_lives_longer_than_the_lease() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    let flight = one.lead(&name).await;
    two.follow(&name, flight).await;
    let [open, waiting] = server.keys().try_into().unwrap();
    let life = |key: &str| server.ask::<u64>(&format!("PTTL {key}"));
    let (open, waiting) = (life(&open), life(&waiting));
    assert!(waiting > open && waiting <= open + 1000, "{open} {waiting}");
}

#[tokio::test]
async fn checking_tells_what_became_of_flights() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;

    let (open, closed, landed) =
        (one.lead(&name(1)).await, one.lead(&name(2)).await, one.lead(&name(3)).await);
    let mut asked = vec![waiting(name(4), one.token(), two.token())];
    for (number, flight) in [(1, open), (2, closed), (3, landed)] {
        let name = name(number);
        asked.push(waiting(name, flight, two.follow(&name, flight).await));
    }
    close(&one, &name(2), closed).await;
    close(&one, &name(3), landed).await;
    one.land(&name(3), landed, landing("payload")).await.unwrap();

    let checked = two.check(&asked).await.unwrap();
    let [
        Checked::Gone,
        Checked::Pending { left: first },
        Checked::Pending { left: second },
        Checked::Landed,
    ] = checked[..]
    else {
        panic!("{checked:?}");
    };
    assert!(
        first <= LEASE && second <= LEASE && first.min(second) > LEASE / 2,
        "{first:?} {second:?}"
    );
    assert_eq!(two.check(&[]).await, Ok(vec![]));
}

#[tokio::test]
async fn checking_lets_a_token_wait_again() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    // What waits was lost, with and without the mark that somebody follows.
    let flight = one.lead(&name).await;
    let token = two.token();
    assert!(matches!(
        two.check(&[waiting(name, flight, token)]).await.unwrap()[..],
        [Checked::Pending { .. }]
    ));
    assert_eq!(close(&one, &name, flight).await, [token]);

    let flight = one.lead(&name).await;
    let first = two.follow(&name, flight).await;
    assert_eq!(
        server.ask::<u8>(&format!(
            "DEL {}",
            server.keys().into_iter().find(|key| key.contains(":w:")).unwrap()
        )),
        1
    );
    assert!(matches!(
        two.check(&[waiting(name, flight, first)]).await.unwrap()[..],
        [Checked::Pending { .. }]
    ));
    assert_eq!(close(&one, &name, flight).await, [first]);

    // Closed as well.
    let late = two.token();
    assert!(matches!(
        two.check(&[waiting(name, flight, late)]).await.unwrap()[..],
        [Checked::Pending { .. }]
    ));
    assert_eq!(close(&one, &name, flight).await, [first, late]);
}

#[tokio::test]
async fn a_released_flight_is_free_and_its_tokens_are_told() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let name = name(1);

    // Open.
    let flight = one.lead(&name).await;
    let token = two.follow(&name, flight).await;
    assert_eq!(one.release(&name, flight).await, Ok(()));
    assert_eq!(two.push().await, Push::Again { token });
    assert_eq!(server.keys(), [""; 0]);

    // Closed.
    let flight = one.lead(&name).await;
    let token = two.follow(&name, flight).await;
    close(&one, &name, flight).await;
    assert_eq!(one.release(&name, flight).await, Ok(()));
    assert_eq!(two.push().await, Push::Again { token });
    assert_eq!(server.keys(), [""; 0]);
    assert_eq!(two.check(&[waiting(name, flight, token)]).await, Ok(vec![Checked::Gone]));
}

#[tokio::test]
async fn a_full_redis_refuses_and_loses_no_small_payload() {
    let server = server!("--maxmemory-policy", "noeviction");
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;

    let (small, large, lone, left) = (
        one.lead(&name(1)).await,
        one.lead(&name(2)).await,
        one.lead(&name(3)).await,
        one.lead(&name(4)).await,
    );
    let first = two.follow(&name(1), small).await;
    let second = two.follow(&name(2), large).await;
    let third = two.follow(&name(4), left).await;
    let () = server.ask("CONFIG SET maxmemory 1");

    assert_eq!(one.enter(&name(5), one.token(), LEASE).await, Err(EngineError::Refused));
    assert_eq!(two.enter(&name(1), two.token(), LEASE).await, Err(EngineError::Refused));
    assert_eq!(one.close(&name(3), lone, LEASE, true).await, Ok(Closed::Alone));
    assert_eq!(close(&one, &name(1), small).await, [first]);
    assert_eq!(close(&one, &name(2), large).await, [second]);
    assert_eq!(one.renew(&[(name(4), left)], LEASE).await, Ok(vec![true]));
    assert_eq!(one.release(&name(4), left).await, Ok(()));
    assert_eq!(two.push().await, Push::Again { token: third });

    // A large one is refused before anybody hears of it, so a small one can follow.
    assert_eq!(
        one.land(&name(2), large, landing(vec![0; 10_000])).await,
        Err(EngineError::Refused)
    );
    two.no_push().await;
    let payload = Bytes::from("go");
    assert_eq!(
        one.land(&name(2), large, landing(payload.clone())).await,
        Err(EngineError::Refused)
    );
    assert_eq!(two.push().await, Push::Landed { token: second, payload: Some(payload) });
    let payload = Bytes::from(vec![1; 8192]);
    assert_eq!(
        one.land(&name(1), small, landing(payload.clone())).await,
        Err(EngineError::Refused)
    );
    assert_eq!(two.push().await, Push::Landed { token: first, payload: Some(payload) });
    assert!(one.is_up() && two.is_up());
}

#[tokio::test]
async fn scripts_that_are_gone_are_loaded_again() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let mut two = Replica::connected(2, &server.url()).await;
    let name = name(1);
    let flush = || server.ask::<()>("SCRIPT FLUSH");

    flush();
    let flight = one.lead(&name).await;
    flush();
    assert_eq!(two.seal(name.tag(), "group", Epoch::new([3; 8]), LEASE).await, Ok(()));
    flush();
    let next = two.token();
    assert_eq!(two.shut_and_enter(&name, flight, next, LEASE).await, Ok(Entry::Lead));
    flush();
    assert_eq!(two.renew(&[(name, flight), (name, next)], LEASE).await, Ok(vec![false, true]));
    let token = two.follow(&name, next).await;
    flush();
    assert_eq!(close(&two, &name, next).await, [token]);
    flush();
    assert_eq!(two.land(&name, next, landing(vec![5; 9000])).await, Ok(true));
    while two.push().await != (Push::Landed { token, payload: None }) {}
    flush();
    assert_eq!(
        two.check(&[waiting(name, next, token), waiting(name, flight, token)]).await,
        Ok(vec![Checked::Landed, Checked::Gone])
    );
    flush();
    assert_eq!(two.done(&waiting(name, next, token)).await, Ok(()));
    flush();
    assert_eq!(two.release(&name, next).await, Ok(()));
    assert!(one.is_up() && two.is_up());
}

#[tokio::test]
async fn a_strangers_values_are_garbled_or_refused() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let name = name(1);

    one.lead(&name).await;
    let key = server.keys().remove(0);
    let () = server.ask(&format!("SET {key} +nonsense"));
    assert_eq!(one.enter(&name, one.token(), LEASE).await, Err(EngineError::Garbled));
    let () = server.ask(&format!("DEL {key}"));
    let _: u64 = server.ask(&format!("LPUSH {key} nonsense"));
    assert_eq!(one.close(&name, one.token(), LEASE, true).await, Err(EngineError::Refused));
    assert!(one.is_up());
}

#[tokio::test]
async fn a_thousand_operations_at_once_are_all_answered() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let names = (0..1000).map(|number: u16| {
        let mut part = [0; 32];
        part[..2].copy_from_slice(&number.to_be_bytes());
        Name::new(*name(1).tag(), part)
    });
    let names = names.collect::<Vec<_>>();

    let entries = futures_util::future::join_all(
        names.iter().map(|name| one.enter(name, one.token(), LEASE)),
    )
    .await;
    let led = entries.iter().filter(|entry| **entry == Ok(Entry::Lead)).count();
    // The machine may be too slow for some, but none hangs.
    assert_eq!(
        led + entries.iter().filter(|entry| **entry == Err(EngineError::Down)).count(),
        1000
    );
    assert!(led > 0);
}
