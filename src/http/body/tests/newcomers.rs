//! Newcomers read a body from its first byte, or not at all.

use super::*;

#[test]
fn a_newcomer_reads_from_the_first_byte_while_several_readers_go_on() {
    let (feed, [mut a, mut b]) = shared();
    let newcomers = a.newcomers(None).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(next(&mut b), "one");
    let mut late = task::spawn(newcomers.join().expect("the start is held"));
    feed.data("two");
    feed.push(Event::End);
    for frame in ["one", "two"] {
        assert_eq!(next(&mut late), frame);
    }
    end(&mut late);
    assert_eq!(next(&mut a), "two");
}

#[test]
fn a_single_reader_keeps_nothing_for_newcomers() {
    let config = config(KIB, SlowReader::BackPressure);
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[test]
fn a_newcomer_joins_a_single_reader_that_has_read_nothing() {
    let (feed, [mut a]) = shared();
    let newcomers = a.newcomers(None).unwrap();
    pending(&mut a);
    let mut late = task::spawn(newcomers.join().expect("nothing was passed yet"));
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(next(&mut late), "one");
}

#[test]
fn what_was_kept_for_newcomers_is_freed_when_the_window_is_full() {
    let config = config(4, SlowReader::Evict);
    let budget = config.budget.clone();
    let (feed, [mut a, mut b]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    for data in ["one", "two", "six", "ten"] {
        feed.data(data);
        assert_eq!(next(&mut a), data);
        assert_eq!(next(&mut b), data);
    }
    assert!(newcomers.join().is_none());
    feed.data("end");
    assert_eq!(next(&mut a), "end");
    assert_eq!(next(&mut b), "end");
    assert_eq!(budget.held(), 0);
}

#[test]
fn closing_frees_what_was_kept_for_newcomers_at_once() {
    let config = config(KIB, SlowReader::Evict);
    let budget = config.budget.clone();
    let (feed, [mut a, mut b]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(next(&mut b), "one");
    assert_eq!(budget.held(), 3);
    newcomers.close();
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[test]
fn the_last_reader_but_one_frees_what_was_kept_for_newcomers() {
    let config = config(KIB, SlowReader::Evict);
    let budget = config.budget.clone();
    let (feed, [mut a, mut b]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(next(&mut b), "one");
    drop(b);
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_newcomers_once_their_time_is_up() {
    let config = config(KIB, SlowReader::Evict);
    let budget = config.budget.clone();
    let (feed, [mut a, mut b]) = readers(config);
    let newcomers = a.newcomers(Some(Instant::now() + Duration::from_secs(1))).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(next(&mut b), "one");
    tokio::time::advance(Duration::from_secs(1)).await;
    feed.data("two");
    assert_eq!(next(&mut a), "two");
    assert_eq!(next(&mut b), "two");
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[test]
fn what_was_kept_for_newcomers_is_freed_when_somebody_is_kept_out() {
    for slow in
        [SlowReader::default(), SlowReader::Evict, SlowReader::BackPressure, SlowReader::Unbounded]
    {
        let config = BodyConfig { budget: Budget::new(3), ..config(KIB, slow) };
        let budget = config.budget.clone();
        let (feed, [mut a, mut b]) = readers(config);
        let newcomers = a.newcomers(None).unwrap();
        feed.data("one");
        assert_eq!(next(&mut a), "one");
        assert_eq!(next(&mut b), "one");
        assert!(budget.is_spent());
        assert!(budget.admits());
        assert!(newcomers.join().is_none());
    }
}

#[test]
fn nobody_joins_a_body_that_failed_or_that_nobody_reads() {
    let (feed, [mut a, b]) = shared();
    let newcomers = a.newcomers(None).unwrap();
    feed.push(Event::Fail);
    assert!(matches!(poll(&mut a), Poll::Ready(Some(Err(_)))));
    assert!(newcomers.join().is_none());
    drop((a, b));
    assert!(newcomers.join().is_none());
    assert!(feed.is_dropped());
}

#[test]
fn newcomers_do_not_keep_upstream_alive() {
    let (feed, [a, b]) = shared();
    let _newcomers = a.newcomers(None).unwrap();
    drop((a, b));
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn newcomers_do_not_join_a_body_that_is_paused() {
    let (feed, [mut a, mut slow]) = readers(config(4, SlowReader::default()));
    let newcomers = a.newcomers(None).unwrap();
    for data in ["one", "two"] {
        feed.data(data);
        assert_eq!(next(&mut a), data);
        assert!(newcomers.join().is_some());
    }
    pending(&mut a);
    assert!(newcomers.join().is_none());
    assert_eq!(next(&mut slow), "one");
    assert!(a.is_woken());
}

#[tokio::test(start_paused = true)]
async fn newcomers_join_again_when_a_pause_for_the_budget_is_over_and_the_start_is_still_held() {
    let config = BodyConfig { budget: Budget::new(100), ..config(KIB, SlowReader::default()) };
    let budget = config.budget.clone();
    let (feed, [mut a, _slow]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    for data in ["one", "two"] {
        feed.data(data);
        assert_eq!(next(&mut a), data);
    }
    budget.take(100);
    pending(&mut a);
    assert!(newcomers.join().is_none());
    assert!(budget.give_back(100));
    budget.relieve();
    assert!(newcomers.join().is_some());
}

fn keeping(bytes: u64) -> BodyConfig {
    BodyConfig { keep_start: bytes, ..config(KIB, SlowReader::BackPressure) }
}

#[test]
fn a_single_reader_keeps_the_start_for_newcomers_and_no_more_than_that() {
    let config = keeping(6);
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    for data in ["one", "two"] {
        feed.data(data);
        assert_eq!(next(&mut a), data);
    }
    assert_eq!(budget.held(), 6);
    let mut late = task::spawn(newcomers.join().expect("the start is held"));
    assert_eq!((next(&mut late), next(&mut late)), ("one".into(), "two".into()));
    drop(late);
    feed.data("3");
    assert_eq!(next(&mut a), "3");
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[test]
fn a_first_frame_that_is_larger_than_the_start_is_not_kept() {
    let config = keeping(2);
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[test]
fn the_start_of_a_single_reader_leaves_half_of_the_budget() {
    let config = BodyConfig { budget: Budget::new(11), ..keeping(100) };
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    feed.data("fives");
    assert_eq!(next(&mut a), "fives");
    assert_eq!(budget.held(), 5);
    assert!(newcomers.join().is_some());
    feed.data("6");
    assert_eq!(next(&mut a), "6");
    assert_eq!(budget.held(), 0);
}

#[test]
fn the_start_of_a_single_reader_is_no_longer_than_the_window() {
    let config = BodyConfig { limit: 4, ..keeping(100) };
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let _newcomers = a.newcomers(None).unwrap();
    for data in ["one", "two", "six", "ten"] {
        feed.data(data);
        assert_eq!(next(&mut a), data);
        assert!(budget.held() <= 6);
    }
    assert_eq!(budget.held(), 0);
    pending(&mut a);
}

#[test]
fn the_start_goes_with_its_only_reader() {
    let config = keeping(100);
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    drop(a);
    assert_eq!(budget.held(), 0);
    assert!(feed.is_dropped());
    assert!(newcomers.join().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_start_of_a_single_reader_is_freed_once_its_time_is_up() {
    let config = keeping(100);
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let _newcomers = a.newcomers(Some(Instant::now() + Duration::from_secs(1))).unwrap();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    assert_eq!(budget.held(), 3);
    advance(1_000).await;
    feed.data("two");
    assert_eq!(next(&mut a), "two");
    assert_eq!(budget.held(), 0);
}

#[test]
fn a_body_that_ended_well_is_held_for_newcomers_without_a_reader() {
    let config = BodyConfig { keep_start: 6, ..config(KIB, PAUSE) };
    let budget = config.budget.clone();
    let (feed, [a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    newcomers.outlive_readers();
    let held = newcomers.hold().expect("it has a reader");
    drop(read_to_end(&feed, a));
    assert_eq!(budget.held(), 6);
    drop(read_to_end(&feed, task::spawn(newcomers.join().unwrap())));
    assert_eq!(budget.held(), 6);
    drop(held);
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

#[test]
fn a_body_that_failed_is_not_held() {
    let config = BodyConfig { keep_start: 6, ..config(KIB, PAUSE) };
    let budget = config.budget.clone();
    let (feed, [mut a]) = readers(config);
    let newcomers = a.newcomers(None).unwrap();
    newcomers.outlive_readers();
    let _held = newcomers.hold().expect("it has a reader");
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    feed.push(Event::Fail);
    error(&mut a);
    drop(a);
    assert_eq!(budget.held(), 0);
    assert!(newcomers.join().is_none());
}

/// Feeds six bytes, if the body is not complete yet, and reads all.
fn read_to_end(feed: &Feed, mut reader: Reader) -> Reader {
    if !feed.is_dropped() {
        feed.data("one");
        feed.data("two");
        feed.push(Event::End);
    }
    assert_eq!((next(&mut reader), next(&mut reader)), ("one".into(), "two".into()));
    end(&mut reader);
    reader
}
