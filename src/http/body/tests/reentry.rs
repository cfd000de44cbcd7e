//! Foreign code that comes back to the same body.

use super::*;

/// Owns something that is dropped with the last waker, as a task is.
struct Task(#[expect(dead_code, reason = "it is there to be dropped")] Mutex<Option<Reader>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

fn owner(reader: Reader) -> Waker {
    Waker::from(Arc::new(Task(Mutex::new(Some(reader)))))
}

fn park(reader: &mut SharedBody, waker: &Waker) {
    assert_pending!(Pin::new(reader).poll_frame(&mut Context::from_waker(waker)));
}

#[test]
fn a_waker_whose_wake_drops_another_reader() {
    let (feed, [a, b, mut c]) = shared();
    let mut a = a.into_inner();
    park(&mut a, &owner(b));
    pending(&mut c);
    feed.data("one");
    assert_eq!(next(&mut c), "one");
    assert!(poll(&mut task::spawn(a)).is_ready());
}

#[test]
fn a_waker_whose_replacement_drops_another_reader() {
    let (feed, [a, b]) = shared();
    let mut a = a.into_inner();
    park(&mut a, &owner(b));
    park(&mut a, Waker::noop());
    drop(a);
    assert!(feed.is_dropped());
}

#[test]
fn a_reader_whose_drop_drops_another_reader() {
    let (feed, [a, mut b, c]) = shared();
    let mut a = a.into_inner();
    park(&mut a, &owner(c));
    pending(&mut b);
    drop(a);
    feed.data("one");
    assert_eq!(next(&mut b), "one");
    drop(b);
    assert!(feed.is_dropped());
}

#[test]
fn a_wake_that_polls_another_reader_in_place() {
    struct Inline(Mutex<Reader>, Arc<Count>);
    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            assert_eq!(next(&mut self.0.lock()), "one");
            self.1.0.fetch_add(1, SeqCst);
        }
    }
    let (feed, [a, b, mut c]) = shared();
    let mut a = a.into_inner();
    let polled = Arc::new(Count::default());
    let waker = Waker::from(Arc::new(Inline(Mutex::new(b), polled.clone())));
    park(&mut a, &waker);
    feed.data("one");
    assert_eq!(polled.get(), 1);
    assert_eq!(next(&mut c), "one");
}

#[test]
fn upstream_that_drops_a_reader_when_polled() {
    let (feed, [mut a, b]) = shared();
    feed.push(Event::Run(Box::new(move || drop(b))));
    pending(&mut a);
    feed.data("one");
    assert_eq!(next(&mut a), "one");
}

#[test]
fn upstream_that_drops_a_reader_when_dropped() {
    let (feed, [mut a, b]) = shared();
    feed.0.lock().on_drop = Some(Box::new(move || drop(b)));
    feed.push(Event::End);
    end(&mut a);
    assert!(feed.is_dropped());
}

#[test]
fn upstream_that_wakes_its_waker_when_the_last_reader_drops_it() {
    let (feed, [mut a]) = shared();
    pending(&mut a);
    let waker = feed.clone();
    feed.0.lock().on_drop = Some(Box::new(move || waker.wake()));
    drop(a);
    assert!(feed.is_dropped());
}

#[test]
fn upstream_that_reads_itself_by_another_reader() {
    let (feed, [mut a, mut b]) = shared();
    feed.push(Event::Run(Box::new(move || {
        pending(&mut b);
        drop(b);
    })));
    pending(&mut a);
    feed.data("one");
    assert!(a.is_woken());
    assert_eq!(next(&mut a), "one");
}

#[test]
fn a_frame_whose_drop_drops_another_reader() {
    struct Owner(Arc<Mutex<Option<Reader>>>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"data"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            drop(self.0.lock().take());
        }
    }
    let config = config(KIB, SlowReader::BackPressure);
    let budget = config.budget.clone();
    let (feed, [mut a, behind]) = readers(config);
    let owned = Arc::new(Mutex::new(None));
    feed.push(Event::Data(Bytes::from_owner(Owner(owned.clone()))));
    drop(next(&mut a));
    *owned.lock() = Some(a);
    assert_eq!(budget.held(), 4);
    drop(behind);
    assert!(owned.lock().is_none());
    assert_eq!(budget.held(), 0);
    assert!(feed.is_dropped());
}
