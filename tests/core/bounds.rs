//! Which types may go where.

use tower_singleflight::{
    Group, Outcome, PassReason, Role, Run, SharedError, Stats, Ticket, VetoReason,
};

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}
fn is_unpin<T: Unpin>() {}
fn is_static<T: 'static>() {}
fn is_debug<T: std::fmt::Debug>() {}
fn is_clone<T: Clone>() {}
fn is_copy<T: Copy>() {}
fn is_error<T: std::error::Error>() {}
fn is_future<T: Future>(_: &T) {}

/// A key that is no more than it must be.
#[derive(PartialEq, Eq, Hash)]
struct Key;

/// A value that is no more than it must be.
#[derive(Clone)]
struct Value;

#[test]
fn group() {
    is_send::<Group<Key, Value>>();
    is_sync::<Group<Key, Value>>();
    is_unpin::<Group<Key, Value>>();
    is_static::<Group<Key, Value>>();
    is_debug::<Group<Key, Value>>();
    is_clone::<Group<Key, Value>>();
    let _: Group<Key, Value> = Group::default();
}

#[test]
fn futures() {
    is_send::<Run<Value>>();
    is_unpin::<Run<Value>>();
    is_static::<Run<Value>>();
    is_debug::<Run<Value>>();
    is_send::<Ticket<Value>>();
    is_unpin::<Ticket<Value>>();
    is_static::<Ticket<Value>>();
    is_debug::<Ticket<Value>>();
}

#[test]
fn results() {
    is_send::<Outcome<Value>>();
    is_sync::<Outcome<Value>>();
    is_clone::<Outcome<Value>>();
    is_copy::<Outcome<u8>>();
    is_copy::<Role>();
    is_debug::<Outcome<u8>>();
}

#[test]
fn errors_and_stats() {
    is_send::<SharedError>();
    is_sync::<SharedError>();
    is_clone::<SharedError>();
    is_error::<SharedError>();
    is_static::<SharedError>();
    is_copy::<Stats>();
    is_copy::<PassReason>();
    is_copy::<VetoReason>();
    is_send::<Stats>();
}

#[test]
fn work_need_not_be_sync_nor_unpin() {
    let group = Group::<Key, Value>::new();
    let not_sync = std::cell::Cell::new(0);
    let run = group.run(Key, move || async move {
        let pinned = std::marker::PhantomPinned;
        tokio::task::yield_now().await;
        not_sync.set(1);
        let _ = pinned;
        Value
    });
    is_future(&run);
    drop(run);
}

#[test]
fn a_group_borrows_nothing_from_those_who_use_it() {
    fn run(group: &Group<String, usize>, key: &str) -> Run<usize> {
        let len = key.len();
        group.run(key.to_owned(), move || async move { len })
    }
    let run = run(&Group::new(), "key");
    is_future(&run);
}

#[test]
fn debug_output_says_what_it_is_and_locks_nothing() {
    let group = Group::<Key, Value>::new();
    let run = group.run(Key, || async { Value });
    assert!(format!("{group:?}").starts_with("Group"));
    assert!(format!("{run:?}").starts_with("Run"));
}
