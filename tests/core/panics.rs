//! Panics of the work reach every waiter; panics of user types reach the caller that ran them.

use crate::util::*;
use std::{
    hash::{Hash, Hasher},
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};
use tokio_test::{
    assert_pending, assert_ready_eq,
    task::{self, Spawn},
};
use tower_singleflight::{Group, Run};

fn works_on(group: &Group<u32, &'static str>) {
    assert_eq!(group.in_flight(), 0);
    assert_eq!(ready_now(task::spawn(group.run(1, ready("after")))), led("after", false));
    assert_eq!(ready_now(task::spawn(group.run(2, ready("other")))), led("other", false));
}

fn explode(message: &'static str) -> impl FnOnce() -> std::future::Ready<&'static str> + Send {
    move || panic!("{message}")
}

// ---- of the work

#[test]
fn sole_caller_gets_the_panic_of_the_closure() {
    let group = Group::new();
    let mut run = task::spawn(group.run(1, explode("closure")));
    assert_eq!(panic_text(|| run.poll()), "closure");
    works_on(&group);
}

#[test]
fn sole_caller_gets_the_panic_of_the_future() {
    let group = Group::new();
    let mut run = task::spawn(group.run(1, || async { panic!("future") }));
    assert_eq!(panic_text(|| run.poll()), "future");
    works_on(&group);
}

on_both_runtimes! {
    async fn every_waiter_gets_the_same_message() {
        let group = Group::new();
        let (remote, inner) = work::<&str>();
        let mut waiters = vec![tokio::spawn(group.run(1, inner))];
        waiters.extend((0..4).map(|_| tokio::spawn(group.run(1, never()))));
        until("the work is polled", || remote.polls() > 0).await;
        remote.panic_with(String::from("one for all"));
        for waiter in waiters {
            assert_eq!(text_of(waiter.await.unwrap_err().into_panic()), "one for all");
        }
        assert_eq!(remote.drops(), 1);
        works_on(&group);
    }

    async fn every_waiter_gets_the_panic_of_the_closure() {
        let group = Group::new();
        let (all_have_called, until_all_have_called) = std::sync::mpsc::channel();
        let closure = move || {
            until_all_have_called.recv().unwrap();
            explode("closure")()
        };
        let waiters = [group.run(1, closure), group.run(1, never()), group.run(1, never())];
        all_have_called.send(()).unwrap();
        for waiter in waiters.map(tokio::spawn) {
            assert_eq!(text_of(waiter.await.unwrap_err().into_panic()), "closure");
        }
        works_on(&group);
    }
}

#[test]
fn a_literal_and_a_formatted_message_keep_their_types() {
    // A panic with a literal carries a `&str`, one with arguments a `String`: code that downcasts
    // sees no difference.
    let group = Group::<u32, ()>::new();
    for formatted in [false, true] {
        let (remote, inner) = work();
        let mut leader = task::spawn(group.run(1, inner));
        let mut follower = follow(&group, 1);
        if formatted {
            remote.panic_with(String::from("text"))
        } else {
            remote.panic_with("text")
        }
        for payload in [panic_payload(|| leader.poll()), panic_payload(|| follower.poll())] {
            assert_eq!(payload.is::<String>(), formatted);
            assert_eq!(text_of(payload), "text");
        }
    }
}

#[test]
fn whoever_polled_gets_a_payload_that_is_no_text_and_the_others_a_text_that_names_the_crate() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let mut follower = follow(&group, 1);
    remote.panic_with(42_u64);
    assert_eq!(panic_payload(|| leader.poll()).downcast_ref(), Some(&42_u64));
    assert!(panic_text(|| follower.poll()).contains("tower-singleflight"));
}

#[tokio::test]
async fn a_payload_that_is_no_text_in_a_task_gives_every_waiter_a_text_that_names_the_crate() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut waiters = [task::spawn(group.run(1, inner)), follow(&group, 1)];
    remote.panic_with(42_u64);
    settle().await;
    for waiter in &mut waiters {
        assert!(panic_text(|| waiter.poll()).contains("tower-singleflight"));
    }
}

#[tokio::test]
async fn a_payload_that_panics_when_dropped_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("payload dropped");
        }
    }
    let group = Group::new();
    let (remote, inner) = work::<&str>();
    let mut waiters = [task::spawn(group.run(1, inner)), follow(&group, 1)];
    remote.panic_with(Bomb);
    settle().await;
    for waiter in &mut waiters {
        assert!(panic_text(|| waiter.poll()).contains("tower-singleflight"));
    }
    works_on(&group);
}

#[test]
fn the_panic_hook_prints_the_origin_once() {
    const TEXT: &str = "printed once";
    static PRINTED: AtomicUsize = AtomicUsize::new(0);
    let before = panic::take_hook();
    // Other tests panic meanwhile, and are not counted.
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() == Some(TEXT) {
            PRINTED.fetch_add(1, SeqCst);
        } else {
            before(info);
        }
    }));
    let group = Group::new();
    let leader = task::spawn(group.run(1, || async { panic!("{TEXT}") }));
    let waiters = [leader, follow(&group, 1), follow(&group, 1)];
    for mut waiter in waiters {
        assert_eq!(panic_text(|| waiter.poll()), TEXT);
    }
    assert_eq!(PRINTED.load(SeqCst), 1);
    works_on(&group);
}

#[tokio::test]
async fn a_panic_wakes_every_parked_waiter() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut waiters = [task::spawn(group.run(1, inner)), follow(&group, 1), follow(&group, 1)];
    waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
    remote.panic_with("over");
    settle().await;
    assert!(waiters.iter().all(|waiter| waiter.is_woken()));
}

#[tokio::test]
async fn nobody_waits_for_a_spawned_panic_and_nothing_happens() {
    let group = Group::new();
    drop(group.spawn(1, explode("nobody hears")));
    settle().await;
    works_on(&group);
}

#[tokio::test]
async fn a_panicked_waiter_may_be_dropped_without_a_poll() {
    let group = Group::new();
    let (remote, inner) = work::<&str>();
    let waiters = (group.run(1, inner), group.run(1, never()));
    remote.panic_with("unheard");
    settle().await;
    drop(waiters);
    works_on(&group);
}

#[test]
fn a_poll_after_the_panic_says_so() {
    let group = Group::new();
    let mut run = task::spawn(group.run(1, explode("once")));
    assert_eq!(panic_text(|| run.poll()), "once");
    assert!(panic_text(|| run.poll()).contains("tower-singleflight"));
}

#[test]
fn a_poll_after_the_value_says_so() {
    let group = Group::new();
    let mut run = task::spawn(group.run(1, ready("once")));
    assert_ready_eq!(run.poll(), led("once", false));
    assert!(panic_text(|| run.poll()).contains("tower-singleflight"));
}

#[test]
fn other_keys_are_unharmed() {
    let group = Group::new();
    let mut other = task::spawn(group.run(2, ready("unharmed")));
    let mut run = task::spawn(group.run(1, explode("here")));
    assert_eq!(panic_text(|| run.poll()), "here");
    assert_ready_eq!(other.poll(), led("unharmed", false));
}

// ---- of the work's drop

fn bomb(armed: &Arc<AtomicBool>, text: &'static str) -> OnDrop<impl FnMut() + Send + 'static> {
    let armed = armed.clone();
    OnDrop(move || {
        if armed.swap(false, SeqCst) {
            panic!("{text}");
        }
    })
}

#[test]
fn sole_caller_that_leaves_gets_the_panic_of_the_works_drop() {
    let group = Group::new();
    let bomb = bomb(&Arc::new(AtomicBool::new(true)), "work dropped");
    let run = group.run(1, move || async move {
        let _bomb = bomb;
        "never"
    });
    assert_eq!(panic_text(|| drop(run)), "work dropped");
    works_on(&group);
}

#[tokio::test]
async fn the_last_that_leaves_gets_the_panic_of_the_works_drop() {
    let group = Group::new();
    let bomb = bomb(&Arc::new(AtomicBool::new(true)), "work dropped");
    let leader = group.run(1, move || async move {
        let _bomb = bomb;
        std::future::pending().await
    });
    let follower = group.run(1, never());
    settle().await;
    drop(leader);
    assert_eq!(panic_text(|| drop(follower)), "work dropped");
    works_on(&group);
}

/// Ready at once, and a panic when dropped.
struct Grenade;

impl Future for Grenade {
    type Output = &'static str;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<&'static str> {
        Poll::Ready("landed")
    }
}

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("work dropped");
    }
}

#[test]
fn a_panic_of_the_finished_works_drop_is_one_of_the_work() {
    // As it is in any `async` block that awaits such a future.
    let group = Group::new();
    let mut leader = task::spawn(group.run(1, || Grenade));
    let mut follower = follow(&group, 1);
    assert_eq!(panic_text(|| leader.poll()), "work dropped");
    assert_eq!(panic_text(|| follower.poll()), "work dropped");
    works_on(&group);
}

// ---- of the value

#[derive(Debug)]
struct Fragile {
    clone_fails: Arc<AtomicBool>,
    drop_fails: Arc<AtomicBool>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        if self.clone_fails.swap(false, SeqCst) {
            panic!("clone");
        }
        Self { clone_fails: self.clone_fails.clone(), drop_fails: self.drop_fails.clone() }
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        if self.drop_fails.swap(false, SeqCst) {
            panic!("drop");
        }
    }
}

type Switch = Arc<AtomicBool>;

/// Three waiters of a flight that has landed.
async fn landed() -> (Group<u32, Fragile>, Vec<Spawn<Run<Fragile>>>, Switch, Switch) {
    let group = Group::new();
    let (remote, inner) = work();
    let waiters = vec![task::spawn(group.run(1, inner)), follow(&group, 1), follow(&group, 1)];
    let (clone_fails, drop_fails) = (Switch::default(), Switch::default());
    remote.land(Fragile { clone_fails: clone_fails.clone(), drop_fails: drop_fails.clone() });
    settle().await;
    assert_eq!(group.in_flight(), 0);
    (group, waiters, clone_fails, drop_fails)
}

#[tokio::test]
async fn a_panic_of_the_values_clone_reaches_the_one_who_took_it() {
    let (group, mut waiters, clone_fails, _) = landed().await;
    clone_fails.store(true, SeqCst);
    assert_eq!(panic_text(|| waiters[0].poll()), "clone");
    for waiter in waiters.drain(1..) {
        drop(ready_now(waiter).value);
    }
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_panic_of_the_values_drop_reaches_the_last_who_leaves() {
    let (group, mut waiters, _, drop_fails) = landed().await;
    drop_fails.store(true, SeqCst);
    let last = waiters.pop();
    drop(waiters);
    assert_eq!(panic_text(|| drop(last)), "drop");
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_value_that_nobody_waits_for_may_panic_when_dropped() {
    let group = Group::new();
    let drop_fails = Arc::new(AtomicBool::new(true));
    drop(group.spawn(
        1,
        ready(Fragile { clone_fails: Switch::default(), drop_fails: drop_fails.clone() }),
    ));
    settle().await;
    assert!(!drop_fails.load(SeqCst));
    let safe = Fragile { clone_fails: Switch::default(), drop_fails };
    assert!(!ready_now(task::spawn(group.run(1, ready(safe)))).shared);
}

/// Says how many there are, lets go of a waiter when it is cloned, and may panic when it is
/// dropped.
struct Counted {
    alive: Arc<()>,
    other: Arc<Mutex<Option<Run<Counted>>>>,
    drop_fails: bool,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        drop(self.other.lock().unwrap().take());
        Self { alive: self.alive.clone(), other: self.other.clone(), drop_fails: false }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.drop_fails {
            panic!("drop");
        }
    }
}

#[tokio::test]
async fn a_clone_is_not_leaked_when_the_drop_of_the_original_panics_right_after_it() {
    let (group, alive) = (Group::new(), Arc::new(()));
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let other = Arc::new(Mutex::new(Some(group.run(1, never()))));
    assert!(leader.poll().is_pending());
    // When the leader clones it, it is not the last. Then it is.
    remote.land(Counted { alive: alive.clone(), other: other.clone(), drop_fails: true });
    settle().await;
    assert_eq!(panic_text(|| leader.poll()), "drop");
    drop((leader, remote));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test]
async fn a_value_is_not_leaked_when_the_drop_of_a_followers_own_work_panics() {
    let (group, alive) = (Group::new(), Arc::new(()));
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let bomb = OnDrop(|| panic!("work dropped"));
    let mut follower = task::spawn(group.run(1, move || async move {
        let _bomb = bomb;
        unreachable!("it follows")
    }));
    drop(leader);
    remote.land(Counted { alive: alive.clone(), other: Arc::default(), drop_fails: false });
    settle().await;
    assert_eq!(panic_text(|| follower.poll()), "work dropped");
    drop((follower, remote));
    assert_eq!(Arc::strong_count(&alive), 1);
}

// ---- of the key

#[derive(Default)]
struct Faults {
    hash: AtomicBool,
    eq: AtomicBool,
    drop: AtomicBool,
}

struct Key(u32, Arc<Faults>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.1.hash.swap(false, SeqCst) {
            panic!("hash");
        }
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        if self.1.eq.swap(false, SeqCst) {
            panic!("eq");
        }
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        if self.1.drop.swap(false, SeqCst) {
            panic!("key dropped");
        }
    }
}

struct Keyed {
    group: Group<Key, &'static str>,
    faults: Arc<Faults>,
}

impl Keyed {
    fn new() -> Self {
        Self { group: Group::new(), faults: Arc::default() }
    }

    fn key(&self) -> Key {
        Key(1, self.faults.clone())
    }

    fn leader(&self) -> Spawn<Run<&'static str>> {
        task::spawn(self.group.run(self.key(), ready("landed")))
    }

    fn follower(&self) -> Spawn<Run<&'static str>> {
        task::spawn(self.group.run(self.key(), never()))
    }

    /// The flight that was there before is there still, and the key is free once it has landed.
    fn undisturbed(&self, leader: Spawn<Run<&'static str>>) {
        let follower = self.follower();
        assert_eq!(self.group.in_flight(), 1);
        assert_eq!(ready_now(leader), led("landed", true));
        assert_eq!(ready_now(follower), followed("landed"));
        assert_eq!(ready_now(self.leader()), led("landed", false));
        assert_eq!(self.group.in_flight(), 0);
    }
}

#[test]
fn a_panic_in_hash_reaches_its_caller_only() {
    let keyed = Keyed::new();
    let leader = keyed.leader();
    keyed.faults.hash.store(true, SeqCst);
    assert_eq!(panic_text(|| keyed.follower()), "hash");
    keyed.faults.hash.store(true, SeqCst);
    assert_eq!(panic_text(|| keyed.group.forget(&keyed.key())), "hash");
    keyed.undisturbed(leader);
}

#[test]
fn a_panic_in_eq_reaches_its_caller_only() {
    let keyed = Keyed::new();
    let leader = keyed.leader();
    keyed.faults.eq.store(true, SeqCst);
    assert_eq!(panic_text(|| keyed.follower()), "eq");
    keyed.faults.eq.store(true, SeqCst);
    assert_eq!(panic_text(|| keyed.group.forget(&keyed.key())), "eq");
    keyed.undisturbed(leader);
}

#[test]
fn a_panic_in_the_drop_of_a_joiners_key_reaches_the_joiner_only() {
    let keyed = Keyed::new();
    let leader = keyed.leader();
    keyed.faults.drop.store(true, SeqCst);
    assert_eq!(panic_text(|| keyed.follower()), "key dropped");
    keyed.undisturbed(leader);
}

#[test]
fn a_panic_in_the_drop_of_a_landed_key_reaches_the_one_who_landed_it() {
    let keyed = Keyed::new();
    let mut leader = keyed.leader();
    let follower = keyed.follower();
    keyed.faults.drop.store(true, SeqCst);
    assert_eq!(panic_text(|| leader.poll()), "key dropped");
    assert_eq!(ready_now(follower), followed("landed"));
    keyed.undisturbed(keyed.leader());
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_key_landed_by_a_task_costs_nobody_the_value() {
    let keyed = Keyed::new();
    let (leader, follower) = (keyed.leader(), keyed.follower());
    keyed.faults.drop.store(true, SeqCst);
    settle().await;
    assert!(!keyed.faults.drop.load(SeqCst));
    assert_eq!(ready_now(leader), led("landed", true));
    assert_eq!(ready_now(follower), followed("landed"));
}

#[test]
fn a_panic_in_the_drop_of_a_cancelled_key_reaches_the_last_who_leaves() {
    let keyed = Keyed::new();
    let leader = keyed.leader();
    keyed.faults.drop.store(true, SeqCst);
    assert_eq!(panic_text(|| drop(leader)), "key dropped");
    keyed.undisturbed(keyed.leader());
}

#[test]
fn a_panic_in_the_drop_of_a_forgotten_key_reaches_the_one_who_forgot_it() {
    let keyed = Keyed::new();
    let leader = keyed.leader();
    let key = keyed.key();
    keyed.faults.drop.store(true, SeqCst);
    assert_eq!(panic_text(|| keyed.group.forget(&key)), "key dropped");
    assert_eq!(ready_now(leader), led("landed", false));
    keyed.undisturbed(keyed.leader());
}

#[test]
fn the_works_panic_is_not_lost_behind_the_keys() {
    let keyed = Keyed::new();
    let mut leader = task::spawn(keyed.group.run(keyed.key(), explode("work")));
    let mut follower = keyed.follower();
    keyed.faults.drop.store(true, SeqCst);
    assert_eq!(panic_text(|| leader.poll()), "work");
    assert_eq!(panic_text(|| follower.poll()), "work");
    keyed.undisturbed(keyed.leader());
}

// ---- of a waker

#[tokio::test]
async fn a_waker_that_panics_does_not_leave_the_others_asleep() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = group.run(1, inner);
    let mut follower = follow(&group, 1);
    assert_pending!(poll_with(&mut leader, &waker(|| panic!("waker"))));
    assert_pending!(follower.poll());
    remote.wake();
    remote.land("landed");
    settle().await;
    assert!(follower.is_woken());
    assert_ready_eq!(follower.poll(), followed("landed"));
    assert_eq!(ready_now(task::spawn(leader)), led("landed", true));
}

#[tokio::test]
async fn a_waiter_dropped_by_the_wake_up_of_a_panic() {
    for (waker_of, victim) in [(0, 0), (0, 1), (1, 0)] {
        let group = Group::<u32, ()>::new();
        let (remote, inner) = work();
        let slots: Arc<[_]> =
            [group.run(1, inner), group.run(1, never())].map(Some).map(Mutex::new).into();
        for n in 0..2 {
            let theirs = slots.clone();
            let waker = waker(move || {
                if n == waker_of {
                    theirs[victim].lock().unwrap().take();
                }
            });
            assert_pending!(poll_with(slots[n].lock().unwrap().as_mut().unwrap(), &waker));
        }
        remote.panic_with("over");
        settle().await;
        assert!(slots[victim].lock().unwrap().is_none());
        let left = slots[1 - victim].lock().unwrap().take().unwrap();
        assert_eq!(panic_text(|| ready_now(task::spawn(left))), "over");
        assert_eq!(group.in_flight(), 0);
    }
}

// ---- while a panic is under way

#[tokio::test]
async fn leader_that_panics_elsewhere_is_not_noticed() {
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let follower = group.run(1, never());
    let text = panic_text(move || {
        let _leader = leader;
        panic!("elsewhere");
    });
    assert_eq!(text, "elsewhere");
    remote.land("landed");
    assert_eq!(follower.await, followed("landed"));
}

#[test]
fn two_threads_see_the_same_message() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let follower = group.run(1, never());
    let heard = Arc::new(Mutex::new(Vec::new()));
    remote.panic_with("over there");
    std::thread::scope(|scope| {
        for run in [leader, follower] {
            let heard = heard.clone();
            scope.spawn(move || {
                let text = panic_text(|| block_on(run));
                heard.lock().unwrap().push(text);
            });
        }
    });
    assert_eq!(*heard.lock().unwrap(), ["over there", "over there"]);
}
