//! Slow readers, and the window.

use super::*;

#[tokio::test(start_paused = true)]
async fn upstream_is_not_polled_while_the_window_is_full() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    assert_eq!(feed.polls(), 2);
    assert_eq!(next(&mut slow), "aaaa");
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
    assert_eq!(next(&mut slow), "bbbb");
    assert_eq!(next(&mut slow), "cccc");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_on_is_evicted_after_the_pause() {
    let config = config(8, PAUSE);
    let budget = config.budget.clone();
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    advance(999).await;
    assert!(!first.is_woken());
    pending(&mut first);
    assert_eq!(budget.held(), 8);
    advance(1).await;
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
    assert!(!first.is_woken(), "it goes on without a wake-up of its own");
    assert_eq!(budget.held(), 0);
    evicted(&mut slow);
    pending(&mut first);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_not_woken_before_there_is_room() {
    let (_feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["a", "bbbb", "cccc"]);
    pending(&mut first);
    assert_eq!(next(&mut slow), "a");
    assert!(!first.is_woken());
    assert_eq!(next(&mut slow), "bbbb");
    assert!(first.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_upstream_is_not_woken_by_a_slower_reader() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    pending(&mut first);
    next(&mut slow);
    pending(&mut first);
    assert_eq!(feed.polls(), 3);
    next(&mut slow);
    assert!(!first.is_woken());
}

#[tokio::test(start_paused = true)]
async fn only_the_readers_too_far_behind_are_evicted() {
    let (feed, mut first, [mut slow, mut better]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    assert_eq!(next(&mut better), "aaaa");
    pending(&mut first);
    advance(1_000).await;
    feed.data("cccc");
    assert_eq!(next(&mut first), "cccc");
    evicted(&mut slow);
    assert_eq!(next(&mut better), "bbbb");
    assert_eq!(next(&mut better), "cccc");
}

#[tokio::test(start_paused = true)]
async fn every_reader_that_waits_is_woken_when_the_pause_is_over() {
    let (feed, first, _slow) = ahead::<1>(config(8, PAUSE), ["aaaa", "bbbb"]);
    let [mut busy, mut other] = [first.clone(), first.clone()].map(task::spawn);
    drop(first);
    pending(&mut busy);
    pending(&mut other);
    advance(1_000).await;
    assert!(busy.is_woken() && other.is_woken());
    feed.data("cccc");
    assert_eq!(next(&mut other), "cccc");
}

#[tokio::test(start_paused = true)]
async fn every_reader_that_waits_is_woken_when_the_slow_one_reads_on() {
    let (_feed, first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    let [mut busy, mut other] = [first.clone(), first.clone()].map(task::spawn);
    pending(&mut busy);
    pending(&mut other);
    next(&mut slow);
    assert!(busy.is_woken() && other.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_and_is_dropped_leaves_the_waiting_to_the_others() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    let mut other = task::spawn(first.clone());
    pending(&mut first);
    pending(&mut other);
    drop(first);
    advance(1_000).await;
    feed.data("cccc");
    assert!(other.is_woken());
    assert_eq!(next(&mut other), "cccc");
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_is_dropped_ends_the_pause() {
    let (feed, mut first, [slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    drop(slow);
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_is_left_alone_reads_all() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    pending(&mut first);
    drop(first);
    feed.data("cccc");
    for data in ["aaaa", "bbbb", "cccc"] {
        assert_eq!(next(&mut slow), data);
    }
}

#[tokio::test(start_paused = true)]
async fn upstream_pauses_until_the_slow_reader_has_caught_up_by_half() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["a"; 8]);
    feed.data("b");
    for _ in 0..4 {
        pending(&mut first);
        advance(900).await;
        assert_eq!(next(&mut slow), "a");
    }
    assert!(first.is_woken());
    assert_eq!(feed.polls(), 8);
    assert_eq!(next(&mut first), "b");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_moves_and_then_stops_is_evicted_after_a_pause_in_which_it_took_nothing() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["a"; 8]);
    feed.data("b");
    pending(&mut first);
    advance(900).await;
    assert_eq!(next(&mut slow), "a");
    advance(100).await;
    pending(&mut first);
    advance(999).await;
    pending(&mut first);
    advance(1).await;
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "b");
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_holds_the_others_back_for_so_long_and_no_longer() {
    let (feed, mut first, [mut slow]) = ahead(patient(config(16, PAUSE)), ["a"; 16]);
    feed.data("b");
    for _ in 0..5 {
        pending(&mut first);
        advance(599).await;
        assert_eq!(next(&mut slow), "a");
    }
    pending(&mut first);
    advance(4).await;
    pending(&mut first);
    advance(1).await;
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "b");
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn all_pauses_of_a_body_count() {
    let (feed, mut first, [mut slow]) = ahead(patient(config(8, PAUSE)), ["aa"; 4]);
    for _ in 0..3 {
        for _ in 0..2 {
            pending(&mut first);
            advance(499).await;
            assert_eq!(next(&mut slow), "aa");
        }
        advance(60_000).await;
        for _ in 0..2 {
            feed.data("aa");
            assert_eq!(next(&mut first), "aa");
        }
    }
    feed.data("bb");
    pending(&mut first);
    advance(6).await;
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "bb");
    evicted(&mut slow);
}

/// Else the others had no time for the least of their own differences, for as long as the body goes
/// on.
#[tokio::test(start_paused = true)]
async fn those_who_are_left_when_the_slow_are_gone_have_their_full_time() {
    let (feed, mut first, [mut slow, mut other]) = ahead(patient(config(16, PAUSE)), ["a"; 16]);
    for _ in 0..16 {
        next(&mut other);
    }
    for _ in 0..5 {
        pending(&mut first);
        advance(599).await;
        assert_eq!(next(&mut slow), "a");
    }
    advance(5).await;
    for _ in 0..16 {
        feed.data("b");
        assert_eq!(next(&mut first), "b");
    }
    evicted(&mut slow);
    for _ in 0..5 {
        pending(&mut first);
        advance(599).await;
        assert_eq!(next(&mut other), "b");
    }
    pending(&mut first);
    advance(4).await;
    pending(&mut first);
    assert_eq!(next(&mut other), "b");
}

#[tokio::test(start_paused = true)]
async fn once_slow_readers_had_their_time_nobody_waits_for_those_more_than_half_a_window_behind() {
    let config = BodyConfig { hold_back: Duration::ZERO, ..config(8, PAUSE) };
    let (feed, mut first, [mut slow, mut half]) = ahead(config, ["a"; 8]);
    for _ in 0..3 {
        next(&mut slow);
        next(&mut half);
    }
    next(&mut half);
    let mut slowest = task::spawn(slow.clone());
    for _ in 0..3 {
        feed.data("b");
        next(&mut first);
    }
    next(&mut slow);
    for _ in 0..3 {
        next(&mut half);
    }
    feed.data("c");
    assert_eq!(next(&mut first), "c");
    evicted(&mut slowest);
    evicted(&mut slow);
    assert_eq!(next(&mut half), "a");
}

#[tokio::test(start_paused = true)]
async fn readers_that_stopped_at_several_places_are_evicted_together_and_the_one_that_reads_is_not()
{
    let (feed, mut first, [mut a, mut b, mut steady]) = ahead(config(16, PAUSE), ["a"; 16]);
    next(&mut b);
    for _ in 0..3 {
        next(&mut steady);
    }
    feed.data("b");
    pending(&mut first);
    advance(500).await;
    next(&mut steady);
    advance(500).await;
    pending(&mut first);
    evicted(&mut a);
    evicted(&mut b);
    for _ in 0..4 {
        next(&mut steady);
    }
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "b");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_caught_up_by_half_gets_a_new_pause() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    pending(&mut first);
    advance(900).await;
    next(&mut slow);
    feed.data("cccc");
    next(&mut first);
    pending(&mut first);
    advance(999).await;
    assert_eq!(next(&mut slow), "bbbb");
}

#[tokio::test(start_paused = true)]
async fn without_a_pause_a_slow_reader_is_evicted_at_once() {
    let config = config(8, SlowReader::Evict);
    let budget = config.budget.clone();
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    feed.data("cccc");
    assert_eq!(next(&mut first), "cccc");
    assert_eq!(budget.held(), 0);
    evicted(&mut slow);
}

#[test]
fn outside_a_runtime_a_slow_reader_is_evicted_at_once() {
    let (feed, mut first, [mut slow]) = ahead(config(8, PAUSE), ["aaaa", "bbbb"]);
    feed.data("cccc");
    assert_eq!(next(&mut first), "cccc");
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn back_pressure_waits_for_as_long_as_it_takes() {
    let slow_down = config(8, SlowReader::BackPressure);
    let (feed, mut first, [mut slow]) = ahead(slow_down, ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    advance(1_000_000).await;
    assert!(!first.is_woken());
    pending(&mut first);
    next(&mut slow);
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
}

#[tokio::test(start_paused = true)]
async fn a_pause_without_end_is_back_pressure() {
    let endless = config(8, SlowReader::PauseThenEvict(Duration::MAX));
    let (_feed, mut first, [mut slow]) = ahead(endless, ["aaaa", "bbbb"]);
    pending(&mut first);
    next(&mut slow);
    assert!(first.is_woken());
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_all_is_kept() {
    let config = config(8, SlowReader::Unbounded);
    let budget = config.budget.clone();
    let (_feed, _first, [mut slow]) = ahead(config, ["data"; 100]);
    assert_eq!(budget.held(), 400);
    for _ in 0..100 {
        assert_eq!(next(&mut slow), "data");
    }
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_frame_larger_than_the_window_passes() {
    for slow_reader in [PAUSE, SlowReader::Evict, SlowReader::BackPressure] {
        let (feed, [mut first, mut second]) = readers(config(2, slow_reader));
        for data in ["aaaa", "bbbb", "cccc"] {
            feed.data(data);
            assert_eq!(next(&mut first), data);
            assert_eq!(next(&mut second), data);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tiny_frames_fill_the_window_by_their_number() {
    const MANY: usize = 1 << 16;
    let pause = config(KIB * KIB, PAUSE);
    let (feed, mut first, [mut slow]) = ahead(pause, std::iter::repeat_n("", MANY));
    feed.data("");
    pending(&mut first);
    for _ in 0..MANY / 2 {
        assert!(!first.is_woken());
        next(&mut slow);
    }
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "");
}

#[tokio::test(start_paused = true)]
async fn an_evicted_reader_does_not_keep_upstream() {
    let (feed, mut first, [slow]) = ahead(config(8, SlowReader::Evict), ["aaaa", "bbbb"]);
    pending(&mut first);
    let mut clone = task::spawn(slow.clone());
    drop(first);
    assert!(feed.is_dropped());
    drop(slow);
    evicted(&mut clone);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_reader_is_dropped_without_a_trace() {
    let evict = config(8, SlowReader::Evict);
    let budget = evict.budget.clone();
    let (feed, mut first, [slow]) = ahead(evict, ["aaaa", "bbbb"]);
    pending(&mut first);
    drop((slow.clone(), slow));
    feed.data("cccc");
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_hint_of_an_evicted_reader_is_what_it_will_miss() {
    let feed = Feed::default();
    feed.announce(100);
    let body = SharedBody::new(feed.body(), config(8, SlowReader::Evict));
    let [mut first, mut slow] = [body.clone(), body].map(task::spawn);
    for data in ["aaaa", "bbbb", "cccc"] {
        feed.data(data);
        next(&mut first);
    }
    assert_eq!(slow.size_hint().exact(), Some(100));
    evicted(&mut slow);
}

#[tokio::test(start_paused = true)]
async fn the_next_slowest_reader_gets_a_pause_of_its_own() {
    let (feed, mut first, [mut stuck, mut fair]) = ahead(config(8, PAUSE), ["a"; 8]);
    for _ in 0..4 {
        next(&mut fair);
    }
    feed.data("a");
    pending(&mut first);
    advance(1_000).await;
    assert_eq!(next(&mut first), "a");
    evicted(&mut stuck);
    advance(600_000).await;
    for _ in 0..3 {
        feed.data("a");
        next(&mut first);
    }
    feed.data("a");
    pending(&mut first);
    advance(999).await;
    pending(&mut first);
    assert_eq!(next(&mut fair), "a");
}

#[test]
fn a_reader_that_waits_for_another_may_move_to_another_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pause = SlowReader::PauseThenEvict(Duration::from_millis(20));
    for shut_down in [false, true] {
        let (old, new) = (runtime(), runtime());
        let (feed, mut first, _slow) = old.block_on(async {
            let (feed, mut first, [slow]) = ahead(config(8, pause), ["a"; 8]);
            feed.data("b");
            pending(&mut first);
            (feed, first, slow)
        });
        let _old = (!shut_down).then_some(old);
        let frame =
            new.block_on(std::future::poll_fn(|cx| first.enter(|_, body| body.poll_frame(cx))));
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "b");
        drop(feed);
    }
}
