//! The primitive, for code that is not a `Service`.

#[cfg(tower_singleflight_loom)]
mod models;

use crate::{
    core::{
        key::Address,
        reentry::FlightNumber,
        rules::Rules,
        shard::{Entered, Missed, Table},
        waiter::{Arrival, Waiter},
    },
    observe::{Caller, Event, Observer, Work},
    stats::{PassReason, Stats},
    sync::current_runtime,
};
use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A namespace of keys, in which at most one piece of work runs for each key: Go's
/// `singleflight.Group`.
///
/// [`run`](Group::run) is for callers that wait: the work is dropped when all of them have gone.
/// [`spawn`](Group::spawn) is for work that has to finish, also when no caller waits. Fallible work
/// has a `Result` for its `T`. [`stats`](Group::stats) counts.
///
/// A clone is the same group. The work of different keys never waits for one another.
///
/// ```
/// use tower_singleflight::Group;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let users = Group::new();
/// let load = |id: u32| users.run(id, move || async move { format!("user {id}") });
///
/// let (one, two) = tokio::join!(load(7), load(7));
/// assert_eq!(one.value, "user 7");
/// assert_eq!(two.value, "user 7");
/// assert!(one.shared && two.shared); // the closure ran once
/// # }
/// ```
///
/// # Errors
///
/// Every waiter gets a clone of the value, so an error that is not `Clone` goes into a
/// [`SharedError`]:
///
/// ```
/// use tower_singleflight::{Group, SharedError};
///
/// let files = Group::new();
/// let run = files.run("hosts", || async { std::fs::read("hosts").map_err(SharedError::new) });
/// ```
///
/// [`SharedError`]: crate::SharedError
///
/// # Calls inside a flight
///
/// Work that calls its own key, directly or through flights of other keys that it leads, would wait
/// for itself. Such a call runs its own work at once and joins nothing. Two cases cannot be seen: a
/// call in a task that the work spawned and waits for; and two flights that each join the other,
/// although neither was led inside the other.
///
/// # Panics
///
/// A panic in the work reaches every waiter with the same message, as in Go's `Do`; the key is free
/// for the next call. Waiters of a flight that was lost, because its runtime shut down, panic only
/// if none of them has work of its own left. A panic in `Hash`, `Eq` or `Drop` of a key, or in
/// `Clone` or `Drop` of a value, reaches only the caller that ran it.
///
/// # When it does not compile
///
/// | The compiler says | What helps |
/// |---|---|
/// | the trait bound `Report: Clone` is not satisfied | derive `Clone`, or put the value into an `Arc` |
/// | the trait bound `io::Error: Clone` is not satisfied | `.map_err(SharedError::new)` or `.map_err(Arc::new)` in the work |
/// | the trait bound `f64: Hash` is not satisfied, or `f64: Eq` | a float is no key: use `price.to_bits()` |
/// | borrowed data escapes outside of method, or of function: `self` or an argument | the work owns its values: clone them before `run` |
/// | `name` does not live long enough: argument requires that `name` is borrowed for `'static` | the same |
/// | closure may outlive the current function, but it borrows `name` | <code>move \|\| async move { .. }</code> |
/// | expected a `FnOnce()` closure, found `impl Future` | pass a closure that returns the future: <code>\|\| load(7)</code> |
/// | future cannot be sent between threads safely | the work can move to a task: keep no `Rc` and no `MutexGuard` across an `.await` |
/// | type annotations needed for `Group<_, _>` | name the types: `Group<u32, String>` |
///
/// The work may outlive the caller that started it, so it cannot borrow from that caller. This
/// does not compile:
///
/// ```compile_fail,E0521
/// use tower_singleflight::Group;
///
/// async fn length(group: &Group<String, usize>, name: &str) -> usize {
///     group.run(name.to_owned(), move || async move { name.len() }).await.value
/// }
/// ```
///
/// This compiles:
///
/// ```
/// use tower_singleflight::Group;
///
/// async fn length(group: &Group<String, usize>, name: &str) -> usize {
///     let owned = name.to_owned();
///     group.run(name.to_owned(), move || async move { owned.len() }).await.value
/// }
/// ```
pub struct Group<K, T, H = RandomState> {
    table: Arc<Table<K, T>>,
    hasher: Arc<H>,
}

impl<K, T> Group<K, T>
where
    K: Hash + Eq + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static, // every waiter gets one; an error that is not `Clone` goes into a `SharedError`
{
    /// A group without flights. It allocates no table before the first.
    pub fn new() -> Self {
        Self::with_hasher(RandomState::new())
    }

    /// A group that metrics and traces call `name`, as [the guide](crate::guide::watch) says.
    pub fn named(name: impl Into<String>) -> Self {
        let group = Self::new();
        group.table.observer().set_name(Some(&name.into().into()));
        group
    }
}

impl<K, T, H> Group<K, T, H>
where
    K: Hash + Eq + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
    H: BuildHasher,
{
    /// A group that hashes its keys with `hasher`. Keep the default where others choose the keys.
    pub fn with_hasher(hasher: H) -> Self {
        Self { table: Table::new(Arc::new(Observer::default())), hasher: Arc::new(hasher) }
    }

    /// Gives the result of `work`, or of the work in progress for `key`: Go's `Do`.
    ///
    /// The call joins or leads here and now; the work starts when the future is first polled, or
    /// when a second caller joins. It is polled in place while one caller waits, and in a task of
    /// its own from the second on, on the tokio runtime of its leader or else of the joiner. Where
    /// there is no runtime at all, it stays with one of its waiters, and then a waiter that is not
    /// polled does hold the others up.
    ///
    /// `work` runs in the span of its leader (with the feature `tracing`). Neither task-locals nor
    /// a `LocalSet` follow it to its task. A current-thread runtime that is no longer driven holds
    /// up the flights whose tasks it runs.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future never disturbs the other waiters, even if it led. When the last waiter
    /// is dropped, the work is dropped at once, unless [`spawn`](Group::spawn) asked for the same
    /// key meanwhile.
    ///
    /// # Panics
    ///
    /// The future panics with what the work panicked with. See [`Group`].
    pub fn run<F, Fut>(&self, key: K, work: F) -> Run<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        self.run_by(&Rules::default(), None, key, work)
    }

    /// Starts the work in a task, or joins the work in progress for `key`. The work is finished
    /// even if no caller waits: Go's `DoChan`.
    ///
    /// The ticket gives the result, and may be dropped. If the work in progress that it joined is
    /// lost with its runtime, the ticket runs its own work when it is next polled. A ticket that is
    /// awaited inside the work that it joined would wait for itself, so it runs its own work as
    /// well. In both cases the work goes on only while the ticket is polled. A panic in the work
    /// reaches the callers that await their tickets. If there is none, the process goes on, unlike
    /// Go's.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime. The ticket panics with what the work panicked with. See [`Group`].
    pub fn spawn<F, Fut>(&self, key: K, work: F) -> Ticket<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        assert!(
            current_runtime().is_some(),
            "tower-singleflight: `Group::spawn` was called outside a tokio runtime"
        );
        let rules = Rules { run_to_completion: true, ..Rules::default() };
        let address = self.address(&key);
        let (waiter, own_work) = match self.enter(address, key, &rules, None, work) {
            Entered::Led(waiter, _) => (waiter, None),
            Entered::Joined(waiter, work) => (waiter, Some(lazily(work, Caller::here()))),
            Entered::Inside(work) => {
                (self.table.lead_unlisted(address, &rules, lazily(work, Caller::here())), None)
            }
            Entered::Held(..) | Entered::Outdated(_) => unreachable!("{ONLY_FLIGHTS}"),
        };
        waiter.move_to_task();
        Ticket(Run(RunState::Waiting { own_work, waiter }))
    }

    /// Lets later calls for `key` start new work: Go's `Forget`. The waiters of the work in
    /// progress get its result.
    pub fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.table.forget(self.hasher.hash_one(key), |known| known.borrow() == key);
    }

    /// Forgets every key for which `forget` returns `true`. `forget` is called once for each flight
    /// that calls may join. It may use the group. If it panics, the other keys are asked first, and
    /// the panic goes on after that.
    pub fn forget_if(&self, mut forget: impl FnMut(&K) -> bool) {
        self.table.forget_if(&mut forget);
    }

    /// Forgets all keys. The waiters of the work in progress get its result.
    pub fn forget_all(&self) {
        self.forget_if(|_| true);
    }

    /// How many flights are in progress, forgotten ones too.
    pub fn in_flight(&self) -> usize {
        self.stats().in_flight
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.table.observer().stats()
    }

    fn run_by<F, Fut>(
        &self,
        rules: &Rules,
        newer_than: Option<FlightNumber>,
        key: K,
        work: F,
    ) -> Run<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        Run(match self.enter(self.address(&key), key, rules, newer_than, work) {
            Entered::Led(waiter, _) => RunState::Waiting { own_work: None, waiter },
            Entered::Joined(waiter, work) => {
                RunState::Waiting { own_work: Some(lazily(work, Caller::here())), waiter }
            }
            Entered::Inside(work) => {
                self.table
                    .observer()
                    .tell(Event::Passed { reason: PassReason::Reentrant, waited: false });
                RunState::Passing(lazily(work, Caller::here()))
            }
            Entered::Held(..) | Entered::Outdated(_) => unreachable!("{ONLY_FLIGHTS}"),
        })
    }

    fn enter<F, Fut>(
        &self,
        address: Address,
        key: K,
        rules: &Rules,
        newer_than: Option<FlightNumber>,
        work: F,
    ) -> Entered<T, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let entered = self.table.enter(
            address,
            key,
            rules,
            newer_than,
            work,
            |work, _, caller| lazily(work, caller),
            || true,
        );
        if let Entered::Led(_, Some(Missed { why, .. })) = entered {
            self.table.observer().tell(Event::NearMiss { why, part: None });
        }
        entered
    }

    fn address(&self, key: &K) -> Address {
        Address::of(self.hasher.hash_one(key))
    }
}

const ONLY_FLIGHTS: &str = "the results of a group are in its flights alone";
/// Calls the closure when first polled, so that its panic is one of the work.
fn lazily<T, F, Fut>(work: F, caller: Caller) -> Work<T>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    Work::new(Box::pin(async move { work().await }), caller)
}

impl<K, T> Default for Group<K, T>
where
    K: Hash + Eq + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T, H> Clone for Group<K, T, H> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone(), hasher: self.hasher.clone() }
    }
}

impl<K, T, H> fmt::Debug for Group<K, T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What a flight gave to one of its waiters: Go's `Result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome<T> {
    /// What the work returned. The last waiter to take it gets the original, the others clones; two
    /// that take it at the same moment, on two threads, may both get clones.
    pub value: T,
    /// Whether somebody joined the flight: the same for all its waiters, its leader too.
    pub shared: bool,
    /// This waiter's part in the flight that gave the value.
    pub role: Role,
}

/// A waiter's part in its flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Its own work was done.
    Leader,
    /// It joined, and was given what the leader's work returned.
    Follower,
}

impl<T: Clone + Send + Sync + 'static> From<Arrival<T>> for Outcome<T> {
    fn from(arrival: Arrival<T>) -> Self {
        let role = if arrival.leads() { Role::Leader } else { Role::Follower };
        Self { shared: arrival.is_shared(), role, value: arrival.take() }
    }
}

/// The future of [`Group::run`].
#[must_use = "a flight stops working when nobody waits for it"]
pub struct Run<T: Send + Sync + 'static>(RunState<T>);

enum RunState<T: Send + Sync + 'static> {
    Waiting {
        own_work: Option<Work<T>>,
        waiter: Waiter<T>,
    },
    /// Called inside the flight that it would have joined.
    Passing(Work<T>),
}

impl<T: Clone + Send + Sync + 'static> Future for Run<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let RunState::Waiting { own_work, waiter } = &mut self.0 {
            match waiter.poll(cx, |_| own_work.take().expect("a follower has work of its own")) {
                Poll::Ready(arrival) => {
                    drop(own_work.take());
                    return Poll::Ready(arrival.into());
                }
                Poll::Pending if own_work.is_none() || !waiter.is_inside() => return Poll::Pending,
                Poll::Pending => {
                    waiter.pass(PassReason::Reentrant);
                    let work = own_work.take().expect("it is some");
                    self.0 = RunState::Passing(work);
                }
            }
        }
        let RunState::Passing(work) = &mut self.0 else {
            unreachable!("a flight was left or has returned")
        };
        Pin::new(work).poll(cx).map(|value| Outcome { value, shared: false, role: Role::Leader })
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

/// The future of [`Group::spawn`]. The work goes on without it, but for the cases named there.
pub struct Ticket<T: Send + Sync + 'static>(Run<T>);

impl<T: Clone + Send + Sync + 'static> Future for Ticket<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}
