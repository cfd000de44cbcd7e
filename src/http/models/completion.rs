//! A driver reads a body to its end after all readers have left.

use super::*;

fn check_driven(preemptions: usize, scenario: fn(&World)) {
    check(preemptions, SlowReader::Unbounded, 9, u64::MAX, scenario);
}

#[test]
fn the_last_reader_leaves_while_upstream_is_fed() {
    check_driven(3, |world| {
        let (feed, body) = world.body(&["a"]);
        let body = body.run_to_completion();
        let feeding = feed.feed_from_elsewhere(&["b", END]);
        drop(body);
        feeding.join().unwrap();
        model::join_tasks();
        assert!(feed.is_read(), "the driver read all of it");
    });
}

#[test]
fn two_readers_leave_at_once() {
    check_driven(2, |world| {
        let (feed, body) = world.body(&[]);
        let body = body.run_to_completion();
        let other = body.clone();
        let leaving = thread::spawn(move || drop(other));
        drop(body);
        feed.feed(&["a", END]);
        leaving.join().unwrap();
        model::join_tasks();
        assert!(feed.is_read(), "one of them was the last");
    });
}

#[test]
fn a_newcomer_joins_while_the_last_reader_leaves() {
    check_driven(2, |world| {
        let (feed, body) = world.body(&["a"]);
        let mut body = body.run_to_completion();
        let newcomers = body.newcomers(None).expect("it streams");
        assert_eq!(next(&mut body), "a");
        let leaving = thread::spawn(move || drop(body));
        let newcomer = newcomers.join();
        feed.feed(&["b", END]);
        assert!(newcomer.is_none_or(|newcomer| read(newcomer) == "ab."), "all or nothing");
        leaving.join().unwrap();
        model::join_tasks();
    });
}

#[test]
fn a_body_is_closed_while_a_driver_reads_it() {
    check_driven(2, |world| {
        let (feed, body) = world.body(&["a"]);
        let body = body.run_to_completion();
        let newcomers = body.newcomers(None).expect("it streams");
        let leaving = thread::spawn(move || drop(body));
        newcomers.close();
        feed.feed(&[FAIL]);
        let newcomer = newcomers.join();
        assert!(newcomer.is_none_or(|newcomer| read(newcomer) == "a!"), "all or nothing");
        leaving.join().unwrap();
        model::join_tasks();
    });
}

#[test]
fn without_a_runtime_the_body_is_dropped_with_its_last_reader() {
    check_driven(2, |world| {
        model::without_runtime();
        let (_feed, body) = world.body(&["a"]);
        drop(body.run_to_completion());
    });
}
