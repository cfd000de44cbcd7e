//! A body that runs to completion is read to its end after all readers have left.

use proptest::{collection::vec, prelude::*};

use super::*;

const WINDOW: usize = 40;

fn completing(config: BodyConfig) -> (Feed, Reader) {
    let feed = Feed::default();
    let body = SharedBody::new(feed.body(), config).run_to_completion();
    (feed, task::spawn(body))
}

/// Lets the driver run.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_driver_frees_the_lag_of_the_reader_that_left() {
    let config = config(KIB, PAUSE);
    let budget = config.budget.clone();
    let (feed, mut a) = completing(config);
    let b = a.clone();
    feed.data("one");
    assert_eq!(next(&mut a), "one");
    drop(a);
    assert_eq!(budget.held(), 3);
    drop(b);
    assert_eq!(budget.held(), 0);
    settle().await;
    assert!(!feed.is_dropped());
    feed.push(Event::End);
    settle().await;
    assert!(feed.is_dropped());
}

#[tokio::test]
async fn a_body_that_panics_without_a_reader_is_dropped_and_nothing_hangs() {
    let (feed, a) = completing(config(KIB, PAUSE));
    let newcomers = a.newcomers(None).unwrap();
    drop(a);
    feed.push(Event::Panic);
    settle().await;
    assert!(feed.is_dropped());
    assert!(newcomers.join().is_none());
}

#[tokio::test]
async fn a_reader_that_failed_or_is_evicted_leaves_nothing_to_finish() {
    let (feed, mut a) = completing(config(KIB, PAUSE));
    feed.push(Event::Fail);
    error(&mut a);
    drop(a);
    assert!(feed.is_dropped());

    let (feed, mut a) = completing(config(4, SlowReader::Evict));
    let b = a.clone();
    for data in ["one", "two", "six", "ten"] {
        feed.data(data);
        assert_eq!(next(&mut a), data);
    }
    drop(b);
    assert!(!feed.is_dropped());
    drop(a);
    assert!(!feed.is_dropped(), "the last reader was in time");
    feed.push(Event::End);
    settle().await;
    assert!(feed.is_dropped());
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Data(usize),
    Yield,
    Poll(usize),
    Join,
    Clone(usize),
    Drop(usize),
    /// Lets the driver run.
    Settle,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..=8_usize).prop_map(Op::Data),
        1 => Just(Op::Yield),
        4 => (0..9_usize).prop_map(Op::Poll),
        3 => Just(Op::Join),
        1 => (0..9_usize).prop_map(Op::Clone),
        4 => (0..9_usize).prop_map(Op::Drop),
        4 => Just(Op::Settle),
    ];
    vec(op, 1..80)
}

/// A reader beside the number of bytes that it has had.
type Had = (Reader, usize);

/// Reads as far as it goes.
fn read((body, had): &mut Had, sent: usize) {
    loop {
        match poll(body) {
            Poll::Ready(Some(Ok(frame))) => *had += frame.data_ref().map_or(0, Bytes::len),
            Poll::Pending if body.is_woken() => {}
            _ => break,
        }
    }
    assert!(*had <= sent, "no reader has more than was sent");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn in_any_order_it_is_finished_or_has_outgrown_the_window(ops in ops()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let config = config(WINDOW, SlowReader::Unbounded);
            let config = BodyConfig { keep_start: 1 << 20, ..config };
            let budget = config.budget.clone();
            let (feed, reader) = completing(config);
            let newcomers = reader.newcomers(None).unwrap();
            let (mut readers, mut sent, mut since) = (vec![(reader, 0)], 0, 0);
            for op in ops {
                let count = readers.len();
                match op {
                    Op::Data(length) => {
                        sent += length;
                        since = if count > 0 { 0 } else { since + length };
                        feed.push(Event::Data(Bytes::from(vec![b'x'; length])));
                    }
                    Op::Yield => feed.push(Event::Yield),
                    Op::Join => {
                        let newcomer = newcomers.join();
                        assert_eq!(newcomer.is_none(), feed.is_dropped(), "all is held while it is \
                            not dropped");
                        readers.extend(newcomer.map(|body| (task::spawn(body), 0)));
                    }
                    Op::Settle => settle().await,
                    _ if count == 0 => {}
                    Op::Poll(n) => read(&mut readers[n % count], sent),
                    Op::Clone(n) => {
                        let (reader, had) = &readers[n % count];
                        let clone = (task::spawn(SharedBody::clone(reader)), *had);
                        readers.push(clone);
                    }
                    Op::Drop(n) => {
                        // It pulls all that was sent, so that the window counts from here.
                        read(&mut readers[n % count], sent);
                        drop(readers.swap_remove(n % count));
                    }
                }
                assert!(!feed.is_dropped() || since > WINDOW, "it is dropped although it fits");
                if feed.is_dropped() {
                    return;
                }
            }
            settle().await;
            feed.push(Event::End);
            for reader in &mut readers {
                read(reader, sent);
                assert_eq!(reader.1, sent, "each reader has all");
            }
            readers.clear();
            settle().await;
            assert!(feed.is_dropped());
            newcomers.close();
            assert_eq!(budget.held(), 0);
        });
    }
}

#[test]
fn a_driver_whose_runtime_stands_still_does_not_hold_newcomers_back() {
    let (feed, a) =
        completing(BodyConfig { keep_start: 100, ..config(8, SlowReader::BackPressure) });
    let newcomers = a.newcomers(None).unwrap();
    let idle = tokio::runtime::Builder::new_current_thread().build().unwrap();
    idle.block_on(async {
        drop(a);
        settle().await;
    });
    let mut b = task::spawn(newcomers.join().unwrap());
    for data in ["aaaa", "bbbb", "cccc", "dddd"] {
        feed.data(data);
        assert_eq!(next(&mut b), data);
    }
    feed.push(Event::End);
    end(&mut b);
}
