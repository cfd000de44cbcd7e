//! The table of late streams, and the unshareable keys.

use super::*;
use crate::{
    core::key::Address,
    http::{
        key::{FlightKey, HashedKey},
        late::{LateBody, LateStream, LateTable, ListedBody},
        policy::HttpPolicy,
        settings::PolicyId,
        unshareable::UnshareableKeys,
    },
};
use http::{HeaderMap, Request, Response};

type Key = HashedKey<u32>;

fn key(policy: PolicyId) -> Key {
    let partition =
        HttpPolicy::default().admit(&Request::new(()), false).ok().expect("it may share");
    HashedKey { address: Address::of(0), key: FlightKey::new(1, partition, policy) }
}

/// The body of a flight that takes newcomers after its head, unless `sealed` says otherwise.
fn share(
    world: &World,
    late: &Arc<LateTable<u32>>,
    key: &Key,
    sealed: &Mutex<bool>,
    fed: &[&'static str],
) -> SharedBody {
    let feed = Feed(Arc::new(Mutex::new((fed.iter().copied().collect(), None))));
    let (upstream, unlist) = ListedBody::new(world.upstream(&feed));
    let body = SharedBody::new(upstream, world.config.clone());
    let stream = LateStream::new(
        Response::new(()),
        LateBody::Streams(body.newcomers(None).expect("it streams")),
        None,
        None,
        None,
        None,
    );
    late.list(key, stream, &unlist, || !*sealed.lock().unwrap());
    body
}

fn join(late: &LateTable<u32>, key: &Key) -> Option<SharedBody> {
    late.join(key, &HeaderMap::new()).map(Response::into_body)
}

#[test]
fn nobody_joins_a_stream_that_was_sealed_when_its_head_came() {
    check_unbounded(3, |world| {
        let (late, key, sealed) =
            (Arc::default(), key(PolicyId::new()), Arc::new(Mutex::new(false)));
        let (elsewhere, flag): (Arc<LateTable<u32>>, _) = (Arc::clone(&late), sealed.clone());
        let sealing = thread::spawn(move || {
            // As a write does: first the table of flights, then that of streams.
            *flag.lock().unwrap() = true;
            elsewhere.forget_where(&|_, _| true);
        });
        let body = share(world, &late, &key, &sealed, &["a", END]);
        let early = join(&late, &key);
        sealing.join().unwrap();
        assert!(late.is_empty());
        assert!(join(&late, &key).is_none(), "the seal came before");
        drop(early);
        assert_eq!(read(body), "a.");
    });
}

#[test]
fn a_stream_that_ends_while_it_is_sealed_is_not_listed() {
    check_unbounded(3, |world| {
        let (late, key): (Arc<LateTable<u32>>, _) = (Arc::default(), key(PolicyId::new()));
        let body = share(world, &late, &key, &Mutex::new(false), &["a", END]);
        assert!(!late.is_empty());
        let reading = read_elsewhere(body);
        late.forget_where(&|_, _| true);
        assert_eq!(reading.join().unwrap(), "a.");
        assert!(late.is_empty());
    });
}

#[test]
fn a_newcomer_joins_while_a_stream_ends() {
    check_unbounded(3, |world| {
        let (late, key): (Arc<LateTable<u32>>, _) = (Arc::default(), key(PolicyId::new()));
        let body = share(world, &late, &key, &Mutex::new(false), &["a", END]);
        let reading = read_elsewhere(body);
        let newcomer = join(&late, &key);
        assert!(newcomer.is_none_or(|newcomer| read(newcomer) == "a."), "all or nothing");
        assert_eq!(reading.join().unwrap(), "a.");
        assert!(late.is_empty());
    });
}

#[test]
fn a_stream_takes_the_place_of_an_earlier_one_that_ends() {
    check_unbounded(2, |world| {
        let (late, key): (Arc<LateTable<u32>>, _) = (Arc::default(), key(PolicyId::new()));
        let earlier = share(world, &late, &key, &Mutex::new(false), &["a", END]);
        let reading = read_elsewhere(earlier);
        let body = share(world, &late, &key, &Mutex::new(false), &["b", END]);
        let newcomer = join(&late, &key).expect("the later one is listed, and not passed");
        assert_eq!(reading.join().unwrap(), "a.");
        assert!(!late.is_empty(), "the end of the earlier did not unlist it");
        assert_eq!(read(newcomer), "b.");
        assert_eq!(read(body), "b.");
        assert!(late.is_empty());
    });
}

#[test]
fn what_is_remembered_while_another_key_is_forgotten_is_known() {
    check_unbounded(3, |_| {
        let keys = UnshareableKeys::new(&HttpPolicy::default());
        keys.record(1, false);
        let elsewhere = keys.clone();
        let other = thread::spawn(move || {
            elsewhere.record(2, false);
            elsewhere.contains(1)
        });
        keys.record(1, true);
        other.join().unwrap();
        assert!(!keys.contains(1));
        assert!(keys.contains(2));
    });
}

#[test]
fn what_is_remembered_by_two_at_once_is_known() {
    check_unbounded(3, |_| {
        let keys = UnshareableKeys::new(&HttpPolicy::default());
        let elsewhere = keys.clone();
        let other = thread::spawn(move || elsewhere.record(2, false));
        keys.record(1, false);
        other.join().unwrap();
        assert!(keys.contains(1) && keys.contains(2));
        keys.record(1, true);
        keys.record(2, true);
        assert!(!keys.contains(1) && !keys.contains(2));
    });
}
