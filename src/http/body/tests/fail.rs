use http_body_util::{Limited, StreamBody};

use super::*;

#[test]
fn an_error_reaches_every_reader_after_the_same_prefix() {
    let (feed, [mut a, mut b, mut c]) = shared();
    feed.data("one");
    next(&mut c);
    pending(&mut c);
    feed.push(Event::Fail);
    assert!(c.is_woken());
    assert_eq!(next(&mut a), "one");
    error(&mut a);
    assert_eq!(next(&mut b), "one");
    for reader in [&mut b, &mut c] {
        assert!(!reader.is_end_stream());
        let error = error(reader);
        assert_eq!(error.to_string(), "upstream failed");
        assert!(error.is::<io::Error>());
        assert!(reader.is_end_stream());
        assert_eq!(reader.size_hint().exact(), Some(0));
        end(reader);
    }
    assert!(feed.is_dropped());
}

#[test]
fn a_clone_of_a_failed_reader_fails_too() {
    let (feed, [mut a]) = shared();
    feed.push(Event::Fail);
    error(&mut a);
    end(&mut a);
    let mut clone = task::spawn(a.clone());
    assert!(!clone.is_end_stream());
    assert_eq!(error(&mut clone).to_string(), "upstream failed");
}

#[test]
fn a_parked_reader_is_woken_by_the_end_and_by_an_error() {
    for event in [Event::End, Event::Fail] {
        let (feed, [mut a, mut b]) = shared();
        feed.data("one");
        next(&mut a);
        next(&mut b);
        let parked = b.clone();
        let mut parked = task::spawn(parked);
        pending(&mut a);
        pending(&mut parked);
        feed.push(event);
        assert!(poll(&mut b).is_ready());
        assert!(a.is_woken() && parked.is_woken());
        assert!(poll(&mut a).is_ready());
        assert!(poll(&mut parked).is_ready());
    }
}

#[test]
fn a_body_cut_short_of_its_length_is_an_error_for_every_reader() {
    let feed = Feed::default();
    feed.announce(8);
    let body = SharedBody::new(feed.body(), config(KIB, SlowReader::BackPressure));
    feed.data("one");
    feed.push(Event::End);
    for mut reader in [body.clone(), body].map(task::spawn) {
        assert_eq!(next(&mut reader), "one");
        assert!(!reader.is_end_stream());
        assert_eq!(
            error(&mut reader).to_string(),
            "tower-singleflight: the body was cut short after 3 of 8 bytes"
        );
    }
}

#[test]
fn a_body_cut_short_that_says_it_is_at_its_end_is_an_error_too() {
    let feed = Feed::default();
    feed.announce(8);
    let body = SharedBody::new(feed.body(), config(KIB, SlowReader::BackPressure));
    feed.0.lock().ends_after_last = true;
    feed.data("one");
    feed.push(Event::Trailers);
    let mut reader = task::spawn(body);
    assert_eq!(next(&mut reader), "one");
    next_trailers(&mut reader);
    assert!(!reader.is_end_stream());
    feed.push(Event::End);
    error(&mut reader);
}

#[test]
fn a_length_that_is_known_only_later_is_a_promise_as_well() {
    let (feed, [mut reader]) = shared();
    feed.data("one");
    assert_eq!(next(&mut reader), "one");
    pending(&mut reader);
    feed.data("two");
    feed.announce(3 + 2);
    assert_eq!(next(&mut reader), "two");
    feed.push(Event::End);
    error(&mut reader);
}

#[test]
fn a_length_that_never_counts_down_is_no_promise_broken() {
    struct Lazy(FedBody);
    impl Body for Lazy {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(6)
        }
    }
    let feed = Feed::default();
    let body = SharedBody::new(Lazy(feed.body()), config(KIB, SlowReader::BackPressure));
    let mut reader = task::spawn(body);
    feed.data("one");
    feed.data("two");
    feed.push(Event::End);
    next(&mut reader);
    next(&mut reader);
    end(&mut reader);
}

#[test]
fn a_boxed_error_keeps_its_type() {
    let frames =
        futures_util::stream::iter([Ok::<_, io::Error>(Frame::data(Bytes::from("12345")))]);
    let body = Limited::new(StreamBody::new(frames), 4);
    let body = SharedBody::new(body, config(KIB, SlowReader::BackPressure));
    let mut reader = task::spawn(body);
    assert!(error(&mut reader).is::<http_body_util::LengthLimitError>());
}

#[test]
fn a_panic_reaches_the_reader_that_polled_and_the_others_get_an_error() {
    let (feed, [mut a, mut b, mut behind]) = shared();
    feed.data("one");
    next(&mut a);
    next(&mut b);
    pending(&mut b);
    feed.push(Event::Panic);
    assert_eq!(panics(&mut a), "upstream panicked");
    assert!(b.is_woken());
    assert!(feed.is_dropped());
    assert_eq!(next(&mut behind), "one");
    for reader in [&mut a, &mut b, &mut behind] {
        assert!(!reader.is_end_stream());
        assert_eq!(
            error(reader).to_string(),
            "tower-singleflight: the body panicked while one of its readers polled it"
        );
    }
}

#[test]
fn a_reader_parked_while_upstream_panics_is_woken() {
    let (feed, [mut a, b]) = shared();
    let b = Arc::new(Mutex::new(b));
    let parked = b.clone();
    feed.push(Event::Run(Box::new(move || {
        pending(&mut parked.lock());
        panic!("in the middle");
    })));
    assert_eq!(panics(&mut a), "in the middle");
    assert!(b.lock().is_woken());
    error(&mut b.lock());
}

#[test]
fn a_panic_of_the_hint_is_a_panic_of_the_body() {
    struct Hintless(bool);
    impl Body for Hintless {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            self.0 = true;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from("one")))))
        }
        fn size_hint(&self) -> SizeHint {
            assert!(!self.0, "no hint");
            SizeHint::new()
        }
    }
    let body = SharedBody::new(Hintless(false), config(KIB, SlowReader::BackPressure));
    let [mut a, mut b] = [body.clone(), body].map(task::spawn);
    assert_eq!(panics(&mut a), "no hint");
    error(&mut a);
    error(&mut b);
}

#[test]
fn a_panic_of_the_drop_of_an_ended_body_is_a_clean_end_for_all_but_one() {
    let (feed, [mut a, mut b]) = shared();
    feed.0.lock().on_drop = Some(Box::new(|| panic!("in drop")));
    feed.push(Event::End);
    assert_eq!(panics(&mut a), "in drop");
    let mut clone = task::spawn(SharedBody::clone(&a));
    assert!(!a.is_end_stream() && a.size_hint().exact().is_none());
    error(&mut a);
    error(&mut clone);
    end(&mut b);
}
