//! Readers of one body.

use super::*;

#[test]
fn two_readers_wait_while_upstream_is_fed() {
    check_unbounded(2, |world| {
        let (feed, body) = world.body(&[]);
        let other = read_elsewhere(body.clone());
        let feeding = feed.feed_from_elsewhere(&["a", END]);
        assert_eq!(read(body), "a.");
        assert_eq!(other.join().unwrap(), "a.");
        feeding.join().unwrap();
    });
}

#[test]
fn two_readers_wait_while_upstream_is_fed_twice() {
    check_unbounded(2, |world| {
        let (feed, body) = world.body(&[]);
        let other = read_elsewhere(body.clone());
        let mine = thread::spawn(move || read(body));
        feed.feed(&["a"]);
        feed.feed(&[END]);
        assert_eq!(mine.join().unwrap(), "a.");
        assert_eq!(other.join().unwrap(), "a.");
    });
}

#[test]
fn three_readers_get_the_same_error() {
    check_unbounded(2, |world| {
        let (feed, body) = world.body(&["a"]);
        let two = read_elsewhere(body.clone());
        let three = read_elsewhere(body.clone());
        feed.feed(&[FAIL]);
        assert_eq!(read(body), "a!");
        assert_eq!((two.join().unwrap(), three.join().unwrap()), ("a!".into(), "a!".into()));
    });
}

#[test]
fn a_reader_goes_quiet_while_another_waits() {
    check_unbounded(3, |world| {
        let (feed, body) = world.body(&[]);
        let mut quiet = body.clone();
        let quiet = thread::spawn(move || {
            let _ = poll_once(&mut quiet);
            quiet
        });
        let feeding = feed.feed_from_elsewhere(&["a", END]);
        assert_eq!(read(body), "a.");
        feeding.join().unwrap();
        let rest = read(quiet.join().unwrap());
        assert!(["a.", "."].contains(&&*rest));
    });
}

#[test]
fn a_reader_leaves_while_another_waits() {
    check_unbounded(3, |world| {
        let (feed, body) = world.body(&[]);
        let mut leaving = body.clone();
        let leaving = thread::spawn(move || {
            let _ = poll_once(&mut leaving);
        });
        let feeding = feed.feed_from_elsewhere(&["a", END]);
        assert_eq!(read(body), "a.");
        leaving.join().unwrap();
        feeding.join().unwrap();
    });
}

#[test]
fn all_readers_leave_while_upstream_is_fed() {
    check_unbounded(3, |world| {
        let (feed, body) = world.body(&[]);
        let mut other = body.clone();
        let leaving = thread::spawn(move || {
            let _ = poll_once(&mut other);
        });
        let feeding = feed.feed_from_elsewhere(&["a"]);
        let mut body = body;
        let _ = poll_once(&mut body);
        drop(body);
        leaving.join().unwrap();
        feeding.join().unwrap();
        assert_eq!(world.alive.load(SeqCst), 0, "upstream went with the last");
    });
}

#[test]
fn a_reader_is_cloned_while_another_reads() {
    check_unbounded(3, |world| {
        let (feed, body) = world.body(&["a"]);
        let other = read_elsewhere(body.clone());
        let clone = body.clone();
        drop(body);
        feed.feed(&[END]);
        assert_eq!(read(clone), "a.");
        assert_eq!(other.join().unwrap(), "a.");
    });
}

#[test]
fn a_newcomer_joins_while_the_last_reader_leaves() {
    check_unbounded(3, |world| {
        let (_feed, body) = world.body(&["a", END]);
        let newcomers = body.newcomers(None).unwrap();
        let leaving = thread::spawn(move || drop(body));
        if let Some(newcomer) = newcomers.join() {
            assert_eq!(read(newcomer), "a.");
        }
        leaving.join().unwrap();
        assert!(newcomers.join().is_none());
    });
}

#[test]
fn a_newcomer_joins_while_two_read_and_the_door_closes() {
    check_unbounded(2, |world| {
        let (_feed, body) = world.body(&["a", END]);
        let newcomers = Arc::new(body.newcomers(None).unwrap());
        let (closing, other) = (newcomers.clone(), read_elsewhere(body.clone()));
        let closing = thread::spawn(move || closing.close());
        let newcomer = newcomers.join();
        assert_eq!(read(body), "a.");
        assert!(newcomer.is_none_or(|newcomer| read(newcomer) == "a."));
        assert_eq!(other.join().unwrap(), "a.");
        closing.join().unwrap();
    });
}

#[test]
fn a_newcomer_reads_from_the_start_while_two_wait() {
    check_unbounded(2, |world| {
        let (feed, mut body) = world.body(&["a"]);
        let newcomers = body.newcomers(None).unwrap();
        let other = body.clone();
        let reading = read_elsewhere(body.clone());
        assert_eq!(next(&mut body), "a");
        let newcomer = thread::spawn(move || newcomers.join().map(read));
        feed.feed(&[END]);
        assert_eq!(newcomer.join().unwrap().as_deref(), Some("a."), "two hold the door open");
        assert_eq!((read(body), read(other)), (END.into(), "a.".into()));
        assert_eq!(reading.join().unwrap(), "a.");
    });
}

#[test]
fn who_waits_for_the_window_is_woken_when_the_slow_one_reads() {
    check(3, SlowReader::BackPressure, 2, u64::MAX, |world| {
        let (_feed, body) = world.body(&["a", "b", "c", END]);
        let other = read_elsewhere(body.clone());
        assert_eq!(read(body), "abc.");
        assert_eq!(other.join().unwrap(), "abc.");
    });
}

#[test]
fn who_waits_for_the_window_is_woken_when_the_slow_one_leaves() {
    check(3, SlowReader::BackPressure, 2, u64::MAX, |world| {
        let (_feed, body) = world.body(&["a", "b", "c", END]);
        let slow = body.clone();
        let leaving = thread::spawn(move || drop(slow));
        assert_eq!(read(body), "abc.");
        leaving.join().unwrap();
    });
}

#[test]
fn two_wait_for_the_window_and_one_goes_quiet() {
    check(2, SlowReader::BackPressure, 2, u64::MAX, |world| {
        let (_feed, mut body) = world.body(&["a", "b", "c", END]);
        let mut slow = body.clone();
        assert_eq!((next(&mut body), next(&mut body)), ("a".into(), "b".into()));
        let mut quiet = body.clone();
        let quiet = thread::spawn(move || {
            let _ = poll_once(&mut quiet);
            quiet
        });
        let slow = thread::spawn(move || {
            next(&mut slow);
            slow
        });
        assert_eq!(next(&mut body), "c");
        drop((quiet.join().unwrap(), slow.join().unwrap()));
    });
}

#[test]
fn a_slow_reader_reads_while_it_is_evicted() {
    for slow in [SlowReader::Evict, SlowReader::default()] {
        check(3, slow, 2, u64::MAX, |world| {
            let (_feed, body) = world.body(&["a", "b", "c", END]);
            let slow = read_elsewhere(body.clone());
            let mine = read(body);
            let slow = slow.join().unwrap();
            assert!(["abc.", "!", "a!", "ab!"].contains(&&*slow), "{slow}");
            assert!(
                mine == "abc." || slow == "abc." && ["!", "a!", "ab!"].contains(&&*mine),
                "{mine} {slow}"
            );
        });
    }
}

#[test]
fn two_evict_a_third_at_once() {
    check(2, SlowReader::Evict, 2, u64::MAX, |world| {
        let (_feed, mut body) = world.body(&["a", "b", END]);
        let slow = body.clone();
        assert_eq!((next(&mut body), next(&mut body)), ("a".into(), "b".into()));
        let other = read_elsewhere(body.clone());
        assert_eq!(read(body), END);
        assert_eq!(other.join().unwrap(), END);
        assert_eq!(read(slow), FAIL);
    });
}
