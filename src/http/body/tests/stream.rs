use std::collections::VecDeque;

use bytes::Buf;
use http_body_util::{BodyExt, Empty, StreamBody};

use super::*;

#[test]
fn every_reader_gets_every_frame_and_the_trailers() {
    let (feed, [mut a, mut b, mut c]) = shared();
    feed.data("one");
    feed.data("two");
    feed.push(Event::Trailers);
    feed.push(Event::End);
    for reader in [&mut a, &mut b, &mut c] {
        assert_eq!(next(reader), "one");
        assert_eq!(next(reader), "two");
        assert_eq!(next_trailers(reader), trailers());
        end(reader);
        end(reader);
    }
    assert_eq!(feed.polls(), 4);
}

#[test]
fn a_frame_is_there_before_upstream_has_ended() {
    let (feed, [mut a, mut b]) = shared();
    pending(&mut a);
    pending(&mut b);
    feed.data("one");
    assert!(a.is_woken() && b.is_woken());
    assert_eq!(next(&mut b), "one");
    assert_eq!(next(&mut a), "one");
    pending(&mut a);
    pending(&mut b);
}

#[test]
fn data_is_not_copied() {
    let (feed, [mut a, mut b]) = shared();
    let data = Bytes::from(vec![7; KIB]);
    feed.push(Event::Data(data.clone()));
    assert_eq!(next(&mut a).as_ptr(), data.as_ptr());
    assert_eq!(next(&mut b).as_ptr(), data.as_ptr());
}

#[test]
fn a_buffer_of_several_chunks_is_split_not_copied() {
    let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
    let buffer = one.clone().chain(two.clone());
    let stream = tokio_stream_of([buffer]);
    let body = SharedBody::new(stream, config(KIB, SlowReader::BackPressure));
    let mut a = task::spawn(body.clone());
    let mut b = task::spawn(body);
    for reader in [&mut a, &mut b] {
        assert_eq!(next(reader).as_ptr(), one.as_ptr());
        assert_eq!(next(reader).as_ptr(), two.as_ptr());
        end(reader);
    }
}

#[test]
fn an_empty_frame_passes() {
    let (feed, [mut a, mut b]) = shared();
    feed.data("");
    feed.push(Event::End);
    assert_eq!(next(&mut a), "");
    end(&mut a);
    assert_eq!(next(&mut b), "");
    end(&mut b);
}

#[test]
fn a_sole_reader_holds_nothing() {
    let config = config(KIB, SlowReader::BackPressure);
    let budget = config.budget.clone();
    let (feed, [mut reader]) = readers(config);
    for data in ["one", "two", "three"] {
        feed.data(data);
        assert_eq!(next(&mut reader), data);
        assert_eq!(budget.held(), 0);
    }
}

#[test]
fn a_frame_is_held_once_and_freed_when_the_last_reader_has_passed_it() {
    let config = config(KIB, SlowReader::BackPressure);
    let budget = config.budget.clone();
    let (feed, [mut a, mut b, mut c]) = readers(config);
    let owner = Arc::new([0_u8; 5]);
    struct Owner(Arc<[u8; 5]>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }
    feed.push(Event::Data(Bytes::from_owner(Owner(owner.clone()))));
    next(&mut a);
    assert_eq!(budget.held(), 5);
    next(&mut b);
    assert_eq!(budget.held(), 5);
    assert_eq!(Arc::strong_count(&owner), 2);
    next(&mut c);
    assert_eq!(budget.held(), 0);
    assert_eq!(Arc::strong_count(&owner), 1);
}

#[test]
fn what_a_dropped_reader_had_yet_to_read_is_freed() {
    let config = config(KIB, SlowReader::BackPressure);
    let budget = config.budget.clone();
    let (feed, [mut a, mut b, c]) = readers(config);
    feed.data("one");
    feed.data("three");
    next(&mut a);
    next(&mut b);
    next(&mut a);
    assert_eq!(budget.held(), 8);
    drop(c);
    assert_eq!(budget.held(), 5);
    drop(b);
    assert_eq!(budget.held(), 0);
}

#[test]
fn the_budget_is_given_back_when_all_readers_are_dropped_in_the_middle() {
    let config = config(KIB, SlowReader::BackPressure);
    let budget = config.budget.clone();
    let (feed, [mut a, b, c]) = readers(config);
    feed.data("one");
    next(&mut a);
    drop((a, b));
    assert_eq!(budget.held(), 3);
    drop(c);
    assert_eq!(budget.held(), 0);
}

#[test]
fn a_clone_goes_on_from_where_its_origin_stands() {
    let (feed, [mut a, mut b]) = shared();
    for data in ["one", "two", "three"] {
        feed.data(data);
        next(&mut a);
    }
    feed.push(Event::End);
    assert_eq!(next(&mut b), "one");
    let mut lagging = task::spawn(b.clone());
    let mut ahead = task::spawn(a.clone());
    end(&mut ahead);
    for reader in [&mut b, &mut lagging] {
        assert_eq!(next(reader), "two");
        assert_eq!(next(reader), "three");
        end(reader);
    }
}

#[test]
fn a_clone_of_a_parked_reader_is_woken_by_nothing_until_it_is_polled() {
    let (feed, [mut a]) = shared();
    pending(&mut a);
    let mut clone = a.clone();
    feed.data("one");
    let count = Arc::new(Count::default());
    assert!(poll_with(&mut clone, &count).is_ready());
    assert_eq!(count.get(), 0);
    assert_eq!(next(&mut a), "one");
}

#[test]
fn a_dropped_reader_leaves_the_others_alone() {
    let (feed, [mut a, mut b]) = shared();
    pending(&mut a);
    pending(&mut b);
    drop(a);
    feed.data("one");
    assert!(b.is_woken());
    assert_eq!(next(&mut b), "one");
}

#[test]
fn a_woken_reader_that_is_not_polled_holds_up_nobody() {
    let (feed, [mut busy, mut b]) = shared();
    pending(&mut busy);
    pending(&mut b);
    feed.data("one");
    assert_eq!(next(&mut b), "one");
    pending(&mut b);
    feed.data("two");
    assert!(b.is_woken());
    assert_eq!(next(&mut b), "two");
}

#[test]
fn a_woken_reader_that_is_dropped_holds_up_nobody() {
    let (feed, [mut a, mut b]) = shared();
    pending(&mut a);
    pending(&mut b);
    feed.data("one");
    assert!(a.is_woken());
    drop(a);
    assert!(b.is_woken());
    assert_eq!(next(&mut b), "one");
}

#[test]
fn a_reader_polled_from_another_task_wakes_that_task() {
    let (feed, [reader, mut other]) = shared();
    let mut body = reader.into_inner();
    let [first, second] = [(); 2].map(|()| Arc::new(Count::default()));
    assert_pending!(poll_with(&mut body, &first));
    assert_pending!(poll_with(&mut body, &second));
    assert_eq!(Arc::strong_count(&first), 1, "the old waker is let go");
    pending(&mut other);
    feed.data("one");
    assert_eq!((first.get(), second.get()), (0, 1));
}

#[test]
fn a_parked_reader_is_woken_once_a_frame() {
    const READERS: usize = 50;
    let (feed, [reader]) = shared();
    let mut bodies = vec![reader.into_inner(); READERS];
    let count = Arc::new(Count::default());
    for round in 1..=10 {
        for body in &mut bodies {
            assert_pending!(poll_with(body, &count));
        }
        feed.data("data");
        for body in &mut bodies {
            assert!(poll_with(body, &count).is_ready());
        }
        assert_eq!(count.get(), round * READERS);
    }
    assert_eq!(feed.polls(), 20, "one poll to park and one to get the frame");
}

#[test]
fn a_wake_up_with_nothing_behind_it_costs_one_poll_of_upstream() {
    let (feed, [mut a, mut b, mut c]) = shared();
    for _ in 0..2 {
        pending(&mut a);
        pending(&mut b);
        pending(&mut c);
        feed.wake();
    }
    assert!(a.is_woken() && b.is_woken() && c.is_woken());
    assert_eq!(feed.polls(), 2);
}

#[test]
fn upstream_that_wakes_itself_while_it_is_polled_is_polled_again() {
    let (feed, [mut a, mut b]) = shared();
    pending(&mut b);
    feed.push(Event::Yield);
    feed.push(Event::Yield);
    pending(&mut a);
    assert!(a.is_woken());
    pending(&mut b);
    assert!(a.is_woken() && b.is_woken());
    feed.data("one");
    assert_eq!(next(&mut b), "one");
}

/// Has one reader park while another polls upstream, and then upstream go on with `event`.
fn parks_while_upstream_is_out(event: Event) -> (Feed, Reader, Reader) {
    let (feed, [mut poller, reader]) = shared();
    let parked = Arc::new(Mutex::new(Some(reader)));
    let park = parked.clone();
    feed.push(Event::Run(Box::new(move || {
        pending(park.lock().as_mut().unwrap());
    })));
    feed.push(event);
    let _ = poll(&mut poller);
    let parked = parked.lock().take().unwrap();
    (feed, poller, parked)
}

#[test]
fn a_reader_that_parks_while_another_polls_upstream_is_woken_by_its_frame() {
    let (feed, poller, mut parked) = parks_while_upstream_is_out(Event::Data("one".into()));
    assert!(parked.is_woken() && !poller.is_woken());
    assert_eq!(next(&mut parked), "one");
    assert_eq!(feed.polls(), 2);
}

#[test]
fn a_reader_that_parks_while_another_polls_upstream_is_woken_by_its_end() {
    let (_feed, _poller, mut parked) = parks_while_upstream_is_out(Event::End);
    assert!(parked.is_woken());
    end(&mut parked);
}

#[test]
fn a_reader_that_parks_while_another_polls_upstream_is_woken_by_its_error() {
    let (_feed, _poller, mut parked) = parks_while_upstream_is_out(Event::Fail);
    assert!(parked.is_woken());
    error(&mut parked);
}

#[test]
fn a_reader_that_parks_while_another_polls_upstream_is_woken_by_its_wake_up() {
    let (feed, poller, mut parked) = parks_while_upstream_is_out(Event::Yield);
    assert!(parked.is_woken() && poller.is_woken());
    feed.data("one");
    assert_eq!(next(&mut parked), "one");
}

#[test]
fn a_wake_up_while_upstream_is_out_wakes_nobody_before_it_is_back() {
    let (feed, [mut a, b]) = shared();
    pending(&mut a);
    let waker = feed.0.lock().waker.clone().unwrap();
    let parked = Arc::new(Mutex::new(b));
    let park = parked.clone();
    feed.push(Event::Run(Box::new(move || {
        pending(&mut park.lock());
        waker.wake_by_ref();
        assert!(!park.lock().is_woken(), "it would find upstream out");
    })));
    pending(&mut a);
    assert!(a.is_woken() && parked.lock().is_woken());
}

#[test]
fn upstream_is_dropped_by_the_last_reader() {
    let (feed, [mut a, b]) = shared();
    feed.data("one");
    next(&mut a);
    pending(&mut a);
    drop(a);
    assert!(!feed.is_dropped());
    drop(b);
    assert!(feed.is_dropped());
}

#[test]
fn upstream_is_dropped_when_it_ends_though_there_are_readers() {
    let (feed, [mut a, mut b]) = shared();
    feed.data("one");
    feed.0.lock().ends_after_last = true;
    next(&mut a);
    assert!(feed.is_dropped());
    assert_eq!(next(&mut b), "one");
    end(&mut b);
}

#[test]
fn a_late_wake_up_of_a_dropped_upstream_is_harmless() {
    let (feed, [mut a]) = shared();
    pending(&mut a);
    drop(a);
    feed.wake();
}

#[test]
fn an_ended_body_is_empty() {
    let body = SharedBody::new(Empty::<Bytes>::new(), config(KIB, SlowReader::Evict));
    for body in [body, SharedBody::default()] {
        assert!(matches!(body.0, super::super::Content::Whole(_)), "nothing is shared");
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        end(&mut task::spawn(body));
    }
}

#[test]
fn a_body_made_of_bytes_gives_them_to_every_clone() {
    let mut body = task::spawn(SharedBody::from("hello"));
    let mut clone = task::spawn(body.clone());
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(next(&mut body), "hello");
    assert!(body.is_end_stream());
    end(&mut body);
    assert_eq!(next(&mut clone), "hello");
    end(&mut task::spawn(body.clone()));
}

#[tokio::test]
async fn a_body_of_any_buffer_collects() {
    let buffers = [VecDeque::from([1, 2, 3]), VecDeque::from([4])];
    let body = tokio_stream_of(buffers);
    let body = SharedBody::new(body, config(KIB, SlowReader::Unbounded));
    let another = body.clone();
    assert_eq!(body.collect().await.unwrap().to_bytes(), &[1, 2, 3, 4][..]);
    assert_eq!(another.collect().await.unwrap().to_bytes(), &[1, 2, 3, 4][..]);
}

#[test]
fn a_body_goes_where_its_users_send_it() {
    fn check<T: Send + Sync + Unpin + Clone + Default + std::fmt::Debug + 'static>() {}
    check::<SharedBody>();
    fn is_body<T: Body<Data = Bytes, Error = SharedError>>() {}
    is_body::<SharedBody>();
}

fn tokio_stream_of<D: Buf + Send + 'static>(
    buffers: impl IntoIterator<Item = D, IntoIter: Send + 'static>,
) -> impl Body<Data = D, Error = io::Error> + Send + 'static {
    let frames = buffers.into_iter().map(|data| Ok(Frame::data(data)));
    StreamBody::new(futures_util::stream::iter(frames))
}
