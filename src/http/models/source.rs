//! A sole reader becomes one of several.

use super::*;

#[test]
fn a_reader_is_cloned_by_two_at_once() {
    check_unbounded(3, |world| {
        let (_feed, body) = world.body(&["a", END]);
        let body = Arc::new(body);
        let elsewhere = body.clone();
        let other = thread::spawn(move || read(SharedBody::clone(&elsewhere)));
        assert_eq!(read(SharedBody::clone(&body)), "a.");
        assert_eq!(other.join().unwrap(), "a.");
        assert_eq!(read(Arc::into_inner(body).unwrap()), "a.");
    });
}

#[test]
fn a_reader_is_cloned_while_newcomers_are_let_in() {
    check_unbounded(3, |world| {
        let (_feed, body) = world.body(&["a", END]);
        let body = Arc::new(body);
        let elsewhere = body.clone();
        let other = thread::spawn(move || read(SharedBody::clone(&elsewhere)));
        let newcomers = body.newcomers(None).expect("it streams");
        let newcomer = newcomers.join().expect("one reader stands at the start");
        assert_eq!(read(newcomer), "a.");
        assert_eq!(other.join().unwrap(), "a.");
        drop(body);
    });
}

/// The reader's task is parked with upstream itself, and has to be woken when upstream gets another
/// waker.
#[test]
fn a_parked_reader_is_cloned_while_upstream_wakes_it() {
    check_unbounded(2, |world| {
        let (feed, body) = world.body(&[]);
        let body = Arc::new(Mutex::new(body));
        let elsewhere = body.clone();
        let origin =
            thread::spawn(move || read_with(|cx| poll(&mut elsewhere.lock().unwrap(), cx)));
        let feeding = feed.feed_from_elsewhere(&["a", END]);
        let mut clone = body.lock().unwrap().clone();
        let clone = read_with(|cx| poll(&mut clone, cx));
        assert!(["a.", "."].contains(&&*clone), "it goes on from where its origin stood: {clone}");
        assert_eq!(origin.join().unwrap(), "a.");
        feeding.join().unwrap();
    });
}

/// As above, but the clone is what polls next, and then nobody else does.
#[test]
fn a_parked_reader_is_cloned_and_the_clone_goes_quiet() {
    check_unbounded(3, |world| {
        let (feed, body) = world.body(&[]);
        let body = Arc::new(Mutex::new(body));
        let elsewhere = body.clone();
        let origin =
            thread::spawn(move || read_with(|cx| poll(&mut elsewhere.lock().unwrap(), cx)));
        let mut quiet = body.lock().unwrap().clone();
        let _ = poll_once(&mut quiet);
        feed.feed(&[END]);
        assert_eq!(origin.join().unwrap(), ".");
        drop((quiet, body));
    });
}
