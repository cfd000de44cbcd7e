//! One reader, before anybody else reads.

use super::*;

fn sole() -> (Feed, Reader) {
    let feed = Feed::default();
    let reader = task::spawn(SharedBody::new(feed.body(), config(KIB, SlowReader::BackPressure)));
    (feed, reader)
}

#[test]
fn upstream_wakes_the_task_of_a_sole_reader_itself() {
    let (feed, mut body) = sole();
    pending(&mut body);
    assert!(
        feed.0.lock().waker.as_ref().unwrap().will_wake(&body.enter(|cx, _| cx.waker().clone()))
    );
}

#[test]
fn a_sole_reader_that_waits_is_woken_when_a_clone_takes_its_place_at_upstream() {
    let (feed, mut one) = sole();
    pending(&mut one);
    let mut two = task::spawn(one.clone());
    assert!(one.is_woken());
    pending(&mut two);
    pending(&mut one);
    feed.push(Event::Data("a".into()));
    assert!(one.is_woken() && two.is_woken());
    assert_eq!((next(&mut one), next(&mut two)), ("a".into(), "a".into()));
}

#[test]
fn a_clone_of_a_sole_reader_goes_on_from_where_it_stands() {
    let (feed, mut one) = sole();
    feed.push(Event::Data("a".into()));
    assert_eq!(next(&mut one), "a");
    let mut two = task::spawn(one.clone());
    feed.push(Event::Data("b".into()));
    feed.push(Event::End);
    assert_eq!((next(&mut one), next(&mut two)), ("b".into(), "b".into()));
    end(&mut one);
    end(&mut two);
}

#[test]
fn a_clone_made_after_upstream_panicked_gets_an_error() {
    let (feed, mut one) = sole();
    feed.push(Event::Panic);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut one))).is_err());
    let mut two = task::spawn(one.clone());
    assert!(error(&mut two).to_string().contains("panicked"));
    assert!(error(&mut one).to_string().contains("panicked"));
    end(&mut one);
}

#[test]
fn upstream_is_dropped_with_the_last_frame_of_a_sole_reader() {
    let (feed, mut body) = sole();
    feed.0.lock().ends_after_last = true;
    feed.push(Event::Data("a".into()));
    assert_eq!(next(&mut body), "a");
    assert!(feed.is_dropped());
    assert!(body.is_end_stream());
    end(&mut body);
    end(&mut task::spawn(body.clone()));
}

#[test]
fn a_waker_that_panics_as_it_is_dropped_is_no_end_of_the_body() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "the waker's Drop");
        }
    }
    for event in [Event::Fail, Event::Data("the last".into())] {
        let (feed, mut body) = sole();
        feed.0.lock().ends_after_last = true;
        let bomb = Waker::from(Arc::new(Bomb));
        assert!(Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&bomb)).is_pending());
        drop((feed.0.lock().waker.take(), bomb));
        feed.push(event);
        assert_eq!(panics(&mut body), "the waker's Drop");
        error(&mut body);
    }
}
