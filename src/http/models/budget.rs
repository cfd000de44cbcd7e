//! Bodies that share a budget.

use super::*;

const PAUSE: SlowReader = SlowReader::PauseThenEvict(Duration::from_secs(1));

/// A body with two readers: the one took `taken`, of which the other took nothing, and has `rest`
/// before it.
fn ahead(world: &World, taken: &[&'static str], rest: &[&'static str]) -> (SharedBody, SharedBody) {
    let (_feed, mut body) = world.body(&[taken, rest].concat());
    let slow = body.clone();
    for frame in taken {
        assert_eq!(next(&mut body), *frame);
    }
    (body, slow)
}

#[test]
fn a_body_that_waits_goes_on_when_another_gives_back() {
    check(3, SlowReader::BackPressure, 9, 4, |world| {
        let (_other, other_slow) = ahead(world, &["a", "b"], &[END]);
        let (body, slow) = ahead(world, &["a", "b"], &[END]);
        let leaving = thread::spawn(move || drop(other_slow));
        assert_eq!(read(body), END);
        leaving.join().unwrap();
        assert_eq!(read(slow), "ab.");
    });
}

#[test]
fn a_body_that_waits_goes_on_when_another_reads() {
    check(3, SlowReader::BackPressure, 9, 4, |world| {
        let (_other, mut other_slow) = ahead(world, &["a", "b"], &[END]);
        let (body, slow) = ahead(world, &["a", "b"], &[END]);
        let reading = thread::spawn(move || {
            next(&mut other_slow);
            other_slow
        });
        assert_eq!(read(body), END);
        drop((slow, reading.join().unwrap()));
    });
}

#[test]
fn two_bodies_that_wait_go_on_when_a_third_gives_back() {
    check(2, SlowReader::BackPressure, 9, 6, |world| {
        let (_other, other_slow) = ahead(world, &["a", "b"], &[END]);
        let (one, _one_slow) = ahead(world, &["a", "b"], &[END]);
        let (two, _two_slow) = ahead(world, &["a", "b"], &[END]);
        let leaving = thread::spawn(move || drop(other_slow));
        let one = read_elsewhere(one);
        assert_eq!(read(two), END);
        assert_eq!(one.join().unwrap(), END);
        leaving.join().unwrap();
    });
}

/// What wakes it may find the budget spent again: then it waits on, and the next who gives back has
/// to wake it.
#[test]
fn a_body_that_waits_while_the_budget_is_spent_again_is_woken_in_the_end() {
    check(2, SlowReader::BackPressure, 9, 5, |world| {
        let (_one, mut one_slow) = ahead(world, &["a"], &[]);
        let (_two, mut two_slow) = ahead(world, &["a"], &[]);
        let (mut another, _another_slow) = ahead(world, &["a"], &["b"]);
        let (body, _slow) = ahead(world, &["a", "b"], &[END]);
        let giving = thread::spawn(move || {
            assert_eq!(next(&mut one_slow), "a");
            one_slow
        });
        let spending = thread::spawn(move || {
            assert_eq!(next(&mut another), "b");
            assert_eq!(next(&mut two_slow), "a");
            (another, two_slow)
        });
        assert_eq!(read(body), END);
        drop((giving.join().unwrap(), spending.join().unwrap()));
    });
}

#[test]
fn two_bodies_give_back_to_each_other() {
    check(3, SlowReader::BackPressure, 9, 4, |world| {
        let (one, one_slow) = ahead(world, &["a", "b"], &[END]);
        let (two, two_slow) = ahead(world, &["a", "b"], &[END]);
        let elsewhere = thread::spawn(move || {
            drop(one_slow);
            read(two)
        });
        drop(two_slow);
        assert_eq!(read(one), END);
        assert_eq!(elsewhere.join().unwrap(), END);
    });
}

#[test]
fn a_stalled_reader_reads_while_it_gives_way() {
    check(3, PAUSE, 9, 2, |world| {
        let (_body, slow) = ahead(world, &["a", "b"], &[END]);
        assert!(!world.config.budget.admits());
        model::advance(Duration::from_secs(1));
        let slow = read_elsewhere(slow);
        assert!(world.config.budget.admits() || world.config.budget.is_spent());
        let slow = slow.join().unwrap();
        assert!(["ab.", "!", "a!"].contains(&&*slow), "{slow}");
        assert!(!world.config.budget.is_spent());
    });
}

#[test]
fn a_stalled_reader_leaves_while_two_ask() {
    check(2, PAUSE, 9, 2, |world| {
        let (body, slow) = ahead(world, &["a", "b"], &[END]);
        assert!(!world.config.budget.admits());
        model::advance(Duration::from_secs(1));
        drop(body);
        let budget = world.config.budget.clone();
        let leaving = thread::spawn(move || drop(slow));
        let asking = thread::spawn(move || budget.admits());
        let _ = world.config.budget.admits();
        let _ = asking.join().unwrap();
        leaving.join().unwrap();
        assert!(world.config.budget.admits());
    });
}

#[test]
fn a_body_that_waits_goes_on_when_a_stalled_one_gives_way() {
    check(2, PAUSE, 9, 4, |world| {
        let (_stalled, stalled_slow) = ahead(world, &["a", "b"], &[END]);
        let (body, slow) = ahead(world, &["a", "b"], &[END]);
        assert!(!world.config.budget.admits());
        model::advance(Duration::from_secs(1));
        let budget = world.config.budget.clone();
        let asking = thread::spawn(move || budget.admits());
        let slow = read_elsewhere(slow);
        assert_eq!(read(body), END);
        let _ = asking.join().unwrap();
        assert!(["ab.", "!", "a!"].contains(&&*slow.join().unwrap()));
        drop(stalled_slow);
    });
}
