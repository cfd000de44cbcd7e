//! Slow readers, and the budget.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_the_budget_holds_nobody_back() {
    let config = patient(BodyConfig { budget: Budget::new(100), ..config(16, PAUSE) });
    let budget = config.budget.clone();
    let (feed, mut first, [mut slow]) = ahead(config, ["a"; 15]);
    budget.take(100);
    for _ in 0..10 {
        pending(&mut first);
        advance(600).await;
        assert_eq!(next(&mut slow), "a");
    }
    assert!(budget.give_back(100));
    budget.relieve();
    for _ in 0..11 {
        feed.data("b");
        assert_eq!(next(&mut first), "b");
    }
    pending(&mut first);
    advance(999).await;
    pending(&mut first);
    assert_eq!(next(&mut slow), "a");
}

#[tokio::test(start_paused = true)]
async fn a_reader_behind_is_evicted_when_the_budget_is_spent() {
    let mut config = config(KIB, PAUSE);
    config.budget = Budget::new(8);
    let budget = config.budget.clone();
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    assert!(budget.is_spent());
    feed.data("cccc");
    pending(&mut first);
    advance(1_000).await;
    assert_eq!(next(&mut first), "cccc");
    evicted(&mut slow);
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_moves_while_the_budget_is_spent_is_not_evicted() {
    let mut config = config(KIB, PAUSE);
    config.budget = Budget::new(4);
    let budget = config.budget.clone();
    let (feed, mut first, [mut slow]) = ahead(config, ["a", "b", "c"]);
    budget.take(4);
    feed.data("d");
    pending(&mut first);
    advance(900).await;
    assert_eq!(next(&mut slow), "a");
    advance(100).await;
    assert!(first.is_woken());
    pending(&mut first);
    advance(999).await;
    pending(&mut first);
    assert_eq!(next(&mut slow), "b");
    assert_eq!(next(&mut first), "d");
}

#[tokio::test(start_paused = true)]
async fn a_pause_for_the_budget_ends_when_another_body_gives_it_back() {
    let mut config = config(KIB, PAUSE);
    config.budget = Budget::new(16);
    let (_, _other_first, [other_slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    drop(other_slow);
    advance(1_000).await;
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
    for data in ["aaaa", "bbbb", "cccc"] {
        assert_eq!(next(&mut slow), data);
    }
}

fn of_budget(slow: SlowReader, bytes: u64) -> BodyConfig {
    BodyConfig { budget: Budget::new(bytes), ..config(KIB, slow) }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_the_budget_is_woken_when_another_body_gives_it_back() {
    for slow in [SlowReader::BackPressure, PAUSE] {
        let config = of_budget(slow, 16);
        let (_, _other_first, [other_slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
        let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
        feed.data("cccc");
        pending(&mut first);
        drop(other_slow);
        assert!(first.is_woken());
        assert_eq!(next(&mut first), "cccc");
        assert_eq!(next(&mut slow), "aaaa");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_the_budget_again_is_woken_again() {
    let config = of_budget(SlowReader::BackPressure, 20);
    let others = [(); 2].map(|()| ahead::<1>(config.clone(), ["aaaa"]));
    let (feed, mut first, [_slow]) = ahead(config, ["aaaa", "bbbb", "cccc"]);
    for (data, (other_feed, mut other_first, [mut other_slow])) in
        ["dddd", "eeee"].into_iter().zip(others)
    {
        feed.data(data);
        pending(&mut first);
        assert_eq!(next(&mut other_slow), "aaaa");
        assert!(first.is_woken());
        assert_eq!(next(&mut first), data);
        pending(&mut first);
        drop(other_feed);
        pending(&mut other_first);
    }
}

/// Two readers that stopped reading, one of them `data` behind the other, who took nothing since.
fn stalled(config: &BodyConfig, data: &[&'static str]) -> (Feed, Reader, Reader) {
    let (feed, first, [slow]) = ahead(config.clone(), data.iter().copied());
    (feed, first, slow)
}

#[tokio::test(start_paused = true)]
async fn stalled_readers_are_evicted_when_somebody_is_kept_out_for_a_pause() {
    for data in [&["aaaa", "bbbb"][..], &["aaaabbbb"]] {
        let config = of_budget(PAUSE, 8);
        let (feed, mut first, mut slow) = stalled(&config, data);
        advance(10_000).await;
        assert!(!config.budget.admits(), "nobody was kept out until now");
        advance(999).await;
        assert!(!config.budget.admits());
        advance(101).await;
        assert!(config.budget.admits());
        assert_eq!(config.budget.held(), 0);
        evicted(&mut slow);
        feed.data("cccc");
        assert_eq!(next(&mut first), "cccc");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_moves_is_not_evicted_though_somebody_is_kept_out() {
    let config = of_budget(PAUSE, 4);
    let (_feed, _first, mut slow) = stalled(&config, &["a", "b", "c", "dddd"]);
    for data in ["a", "b", "c"] {
        assert!(!config.budget.admits());
        advance(999).await;
        assert!(!config.budget.admits());
        assert_eq!(next(&mut slow), data);
        advance(1).await;
    }
    assert!(!config.budget.admits());
    assert_eq!(next(&mut slow), "dddd");
    assert!(config.budget.admits());
}

#[tokio::test(start_paused = true)]
async fn a_clone_of_a_stalled_reader_has_a_pause_of_its_own() {
    let config = of_budget(PAUSE, 4);
    let (_feed, _first, slow) = stalled(&config, &["aaaa"]);
    assert!(!config.budget.admits());
    advance(900).await;
    let mut clone = task::spawn(slow.clone());
    drop(slow);
    advance(200).await;
    assert!(!config.budget.admits());
    assert_eq!(next(&mut clone), "aaaa");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_evicted_who_is_waited_for_for_ever() {
    for slow in [SlowReader::BackPressure, SlowReader::Unbounded] {
        let config = of_budget(slow, 4);
        let (_feed, _first, mut slow) = stalled(&config, &["aaaa"]);
        for _ in 0..5 {
            assert!(!config.budget.admits());
            advance(100_000).await;
        }
        assert_eq!(next(&mut slow), "aaaa");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_pause_stalled_readers_are_evicted_when_somebody_comes() {
    let config = of_budget(SlowReader::Evict, 8);
    let (_feed, _first, mut slow) = stalled(&config, &["aaaa", "bbbb"]);
    assert!(config.budget.admits());
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn no_more_readers_are_evicted_than_the_budget_asks_for() {
    let config = of_budget(PAUSE, 8);
    let (_a, _first_a, mut slow_a) = stalled(&config, &["aaaa"]);
    let (_b, _first_b, mut slow_b) = stalled(&config, &["bbbb"]);
    assert!(!config.budget.admits());
    advance(1_000).await;
    assert!(config.budget.admits());
    evicted(&mut slow_a);
    assert_eq!(next(&mut slow_b), "bbbb");
}

#[tokio::test(start_paused = true)]
async fn upstream_goes_when_all_its_readers_were_evicted_for_the_budget() {
    let config = of_budget(PAUSE, 4);
    let (feed, first, mut slow) = stalled(&config, &["aaaa"]);
    drop(first);
    assert!(!config.budget.admits());
    advance(1_000).await;
    assert!(config.budget.admits());
    assert!(feed.is_dropped());
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_the_budget_gets_it_from_the_stalled_and_its_own_readers_stay() {
    let config = of_budget(PAUSE, 16);
    let (_other, _other_first, mut stalled) = stalled(&config, &["aaaa", "bbbb"]);
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    advance(1_000).await;
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
    evicted(&mut stalled);
    assert_eq!(next(&mut slow), "aaaa");
}

#[tokio::test(start_paused = true)]
async fn who_drops_upstream_for_the_budget_is_not_hurt_when_that_panics() {
    let config = of_budget(PAUSE, 4);
    let (feed, first, _slow) = stalled(&config, &["aaaa"]);
    feed.0.lock().on_drop = Some(Box::new(|| std::panic::resume_unwind(Box::new("drop"))));
    drop(first);
    assert!(!config.budget.admits());
    advance(1_000).await;
    assert!(config.budget.admits());
}

#[tokio::test(start_paused = true)]
async fn with_the_budget_spent_the_steps_of_others_buy_the_slowest_no_longer_pause() {
    let mut config = config(KIB, PAUSE);
    config.budget = Budget::new(100);
    let budget = config.budget.clone();
    let (feed, mut first, [mut stuck, mut other]) = ahead(config, ["a"; 50]);
    budget.take(100);
    feed.data("b");
    pending(&mut first);
    advance(900).await;
    next(&mut other);
    advance(100).await;
    pending(&mut first);
    evicted(&mut stuck);
    assert_eq!(next(&mut other), "a");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_had_everything_is_not_evicted_for_the_time_in_which_there_was_nothing_to_read()
 {
    let config = of_budget(PAUSE, 8);
    let (feed, mut first, mut second) = stalled(&config, &["aaaa"]);
    assert_eq!(next(&mut second), "aaaa");
    config.budget.take(100);
    assert!(!config.budget.admits());
    advance(2_000).await;
    feed.data("bbbb");
    assert_eq!(next(&mut first), "bbbb");
    assert!(!config.budget.admits());
    assert_eq!(next(&mut second), "bbbb");
}
