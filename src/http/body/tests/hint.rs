//! What a reader says of its length and its end.

use bytes::Buf;
use http_body_util::Full;

use super::*;

#[test]
fn the_hint_counts_the_chunks_still_to_be_split() {
    let buffer = Bytes::from_static(b"one").chain(&b"twoo"[..]);
    let body = SharedBody::new(Full::new(buffer), config(KIB, SlowReader::BackPressure));
    let mut reader = task::spawn(body);
    assert_eq!(reader.size_hint().exact(), Some(7));
    assert_eq!(next(&mut reader), "one");
    assert_eq!(reader.size_hint().exact(), Some(4));
    assert!(!reader.is_end_stream());
    assert_eq!(next(&mut reader), "twoo");
    assert_eq!(reader.size_hint().exact(), Some(0));
    assert!(reader.is_end_stream());
}

#[test]
fn the_hint_and_the_end_are_each_readers_own() {
    let (feed, [mut a, mut b]) = shared();
    feed.announce(8);
    let body = SharedBody::new(feed.body(), config(KIB, SlowReader::BackPressure));
    (*a, *b) = (body.clone(), body);
    feed.0.lock().dropped = false;
    feed.data("one");
    feed.data("three");
    assert_eq!(a.size_hint().exact(), Some(8));
    next(&mut a);
    assert_eq!((a.size_hint().exact(), b.size_hint().exact()), (Some(5), Some(8)));
    feed.0.lock().ends_after_last = true;
    next(&mut a);
    assert_eq!((a.size_hint().exact(), b.size_hint().exact()), (Some(0), Some(8)));
    assert!(a.is_end_stream() && !b.is_end_stream());
    next(&mut b);
    assert!(!b.is_end_stream());
    next(&mut b);
    assert!(b.is_end_stream());
    end(&mut a);
    end(&mut b);
}

#[test]
fn the_hint_of_a_body_of_unknown_length_is_what_is_known() {
    let (feed, [mut a, b]) = shared();
    feed.data("one");
    next(&mut a);
    assert_eq!((a.size_hint().lower(), a.size_hint().upper()), (0, None));
    assert_eq!((b.size_hint().lower(), b.size_hint().upper()), (3, None));
    feed.push(Event::End);
    end(&mut a);
    assert!(a.is_end_stream() && !b.is_end_stream());
}
