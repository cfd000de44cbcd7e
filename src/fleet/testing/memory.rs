//! An engine in the process, with faults to order.

use super::store::{Store, StorePush};
use crate::{
    fleet::engine::{
        BoxFuture, Checked, Closed, Engine, EngineError, EngineResult, Entry, Epoch, Landing, Name,
        Push, Pushes, Replica, Tag, Token, Waiting,
    },
    sync::Mutex,
};
use bytes::Bytes;
use std::{
    collections::{HashSet, VecDeque},
    fmt, future, mem,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// An [`Engine`] in the process, for tests. Each value is one replica's way to a store;
/// [`another`](Self::another) makes the way of one more replica. A clone is the same replica, so a
/// test can keep one to order faults.
///
/// It does what the engine for Redis does, with the same state. Leases follow tokio's clock, so
/// tests can pause it.
///
/// ```
/// use tower_singleflight::fleet::testing::MemoryEngine;
///
/// let one = MemoryEngine::new();
/// let other = one.another();
/// other.partition(true); // this replica no longer reaches the store
/// assert_eq!(one.stored(), 0);
/// ```
#[derive(Clone)]
pub struct MemoryEngine {
    shared: Arc<Mutex<MemoryState>>,
    me: usize,
}

/// One method of [`Engine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the method of this name")]
#[non_exhaustive]
pub enum Operation {
    Enter,
    ShutAndEnter,
    Close,
    Land,
    Renew,
    Check,
    Release,
    Fetch,
    Done,
    Seal,
    Ping,
}

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The operation does not reach the store, and has no reply.
    LoseOperation,
    /// The store does the operation. There is no reply.
    LoseReply,
    /// The store does the operation. The reply is [`EngineError::Down`].
    FailReply,
    /// The store refuses the operation.
    Refuse,
    /// The operation and its reply take this much longer, in all.
    Delay(Duration),
    /// The store does the operation at once. The reply takes this much longer.
    DelayReply(Duration),
}

#[derive(Default)]
struct MemoryState {
    store: Store,
    replicas: Vec<Way>,
    is_full: bool,
    is_stopped: bool,
}

/// The connection between a replica and the store.
#[derive(Default)]
struct Way {
    replica: Option<Replica>,
    pushes: Option<Pushes>,
    groups: HashSet<String>,
    delay: Duration,
    is_cut: bool,
    drops_pushes: bool,
    faults: VecDeque<(Operation, Fault)>,
    log: Vec<Operation>,
    sent: Vec<Bytes>,
}

/// A push on its way, and how long it takes.
type Sent = (Pushes, Push, Duration);

impl MemoryEngine {
    /// Makes a store, and the way of its first replica.
    #[must_use]
    pub fn new() -> Self {
        let shared = MemoryState { replicas: vec![Way::default()], ..MemoryState::default() };
        Self { shared: Arc::new(Mutex::new(shared)), me: 0 }
    }

    /// Makes the way of another replica to the same store.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut shared = self.shared.lock();
        shared.replicas.push(Way::default());
        Self { shared: self.shared.clone(), me: shared.replicas.len() - 1 }
    }

    fn way<R>(&self, change: impl FnOnce(&mut Way) -> R) -> R {
        change(&mut self.shared.lock().replicas[self.me])
    }

    fn store<R>(&self, change: impl FnOnce(&mut Store) -> R) -> R {
        change(&mut self.shared.lock().store)
    }
}

/// Faults of this replica's way to the store.
impl MemoryEngine {
    /// Orders a fault for the next operation of this kind. Several are met in their order.
    pub fn fault(&self, operation: Operation, fault: Fault) {
        self.way(|way| way.faults.push_back((operation, fault)));
    }

    /// Lets each operation take this long, there and back. A push takes half of it.
    pub fn delay(&self, round_trip: Duration) {
        self.way(|way| way.delay = round_trip);
    }

    /// Drops the pushes to this replica, from now on or (`false`) no longer. A real engine loses
    /// them with its connection only.
    pub fn drop_pushes(&self, drops: bool) {
        self.way(|way| way.drops_pushes = drops);
    }

    /// Cuts this replica off, or (`false`) connects it again. While it is cut off it is down.
    pub fn partition(&self, cut: bool) {
        let was_cut = self.way(|way| mem::replace(&mut way.is_cut, cut));
        if was_cut && !cut {
            let pushes = self.way(|way| way.pushes.clone());
            pushes.into_iter().for_each(|pushes| pushes(Push::Reconnected));
        }
    }

    /// Returns the replica that this value is the way of, once it listens.
    #[must_use]
    pub fn replica(&self) -> Option<Replica> {
        self.way(|way| way.replica)
    }

    /// Delivers a push to this replica, whether or not there is a cause.
    pub fn push(&self, push: Push) {
        let pushes = self.way(|way| way.pushes.clone());
        pushes.into_iter().for_each(|pushes| pushes(push.clone()));
    }

    /// The operations of this replica so far, in their order, also those that were lost.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.way(|way| way.log.clone())
    }

    /// Forgets the operations so far.
    pub fn forget_operations(&self) {
        self.way(|way| way.log.clear());
    }

    /// The payloads that this replica has sent.
    #[must_use]
    pub fn payloads(&self) -> Vec<Bytes> {
        self.way(|way| way.sent.clone())
    }
}

/// Faults of the store.
impl MemoryEngine {
    /// Empties the store, as `FLUSHALL` does.
    pub fn wipe(&self) {
        self.store(|store| *store = Store::default());
    }

    /// Ends the leases of all open flights, and all marks.
    pub fn expire_leases(&self) {
        self.store(Store::end_open_flights);
    }

    /// Ends the leases of all closed flights.
    pub fn expire_closed(&self) {
        self.store(Store::end_closed_flights);
    }

    /// Evicts the waiting tokens of open flights.
    pub fn evict_waiting(&self) {
        self.store(Store::drop_waiting);
    }

    /// Evicts the payloads.
    pub fn evict_payloads(&self) {
        self.store(Store::drop_payloads);
    }

    /// Evicts the epochs.
    pub fn evict_epochs(&self) {
        self.store(Store::drop_epochs);
    }

    /// Changes the payloads that are kept.
    pub fn garble_payloads(&self, garble: impl Fn(&Bytes) -> Bytes) {
        self.store(|store| store.garble_payloads(&garble));
    }

    /// Fills the store, or (`false`) makes room. A full store refuses whatever adds an entry.
    pub fn fill(&self, full: bool) {
        self.shared.lock().is_full = full;
    }

    /// Stops the store, or (`false`) lets it go on. Operations hang meanwhile, and are done after
    /// that.
    pub fn stop(&self, stop: bool) {
        self.shared.lock().is_stopped = stop;
    }

    /// How many entries the store has.
    #[must_use]
    pub fn stored(&self) -> usize {
        let now = Instant::now();
        self.store(|store| {
            store.expire(now);
            store.len()
        })
    }
}

/// How often a stopped store is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl MemoryEngine {
    /// Does one operation, with the fault that was ordered for it. `adds`: whether a full store
    /// refuses it. It goes on in a task if its future is dropped: a command that was sent is not
    /// taken back.
    fn operate<'a, R, F>(&self, operation: Operation, adds: bool, run: F) -> EngineResult<'a, R>
    where
        R: Send + 'static,
        F: FnOnce(&mut Store, Instant, bool, &mut Vec<StorePush>) -> Result<R, EngineError>
            + Send
            + 'static,
    {
        let engine = self.clone();
        let (is_down, fault, delay) = self.way(|way| {
            way.log.push(operation);
            let at = way.faults.iter().position(|(kind, _)| *kind == operation);
            let fault = at.and_then(|at| way.faults.remove(at)).map(|(_, fault)| fault);
            (way.is_cut, fault, way.delay)
        });
        if is_down {
            return Box::pin(future::ready(Err(EngineError::Down)));
        }
        let (mut there, mut back) = (delay / 2, delay / 2);
        match fault {
            Some(Fault::LoseOperation) => return Box::pin(future::pending()),
            Some(Fault::Refuse) => return Box::pin(future::ready(Err(EngineError::Refused))),
            Some(Fault::Delay(more)) => (there, back) = (there + more / 2, back + more / 2),
            Some(Fault::DelayReply(more)) => back += more,
            Some(Fault::LoseReply | Fault::FailReply) | None => {}
        }
        let job: BoxFuture<'static, _> = Box::pin(async move {
            wait(there).await;
            while engine.shared.lock().is_stopped {
                sleep(LOOK_AGAIN).await;
            }
            let result = engine.run(adds, run);
            wait(back).await;
            match fault {
                Some(Fault::LoseReply) => future::pending().await,
                Some(Fault::FailReply) => Err(EngineError::Down),
                _ if engine.way(|way| way.is_cut) => Err(EngineError::Down),
                _ => result,
            }
        });
        Box::pin(GoesOn(Some(job)))
    }

    fn run<R>(
        &self,
        adds: bool,
        run: impl FnOnce(&mut Store, Instant, bool, &mut Vec<StorePush>) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let (now, mut told) = (Instant::now(), Vec::new());
        let mut shared = self.shared.lock();
        if shared.replicas[self.me].is_cut {
            return Err(EngineError::Down);
        }
        if shared.is_full && adds {
            return Err(EngineError::Refused);
        }
        let has_room = !shared.is_full;
        let result = run(&mut shared.store, now, has_room, &mut told);
        let sent: Vec<_> = told.into_iter().flat_map(|told| shared.address(told)).collect();
        drop(shared);
        sent.into_iter().for_each(deliver);
        result
    }
}

impl MemoryState {
    /// The replicas that get a push now.
    fn address(&self, told: StorePush) -> Vec<Sent> {
        let sent = |way: &Way, push: &Push| {
            let pushes = way.pushes.clone().filter(|_| !way.is_cut && !way.drops_pushes)?;
            Some((pushes, push.clone(), way.delay / 2))
        };
        match told {
            StorePush::Token(token, push) => {
                let ways = self.replicas.iter().filter(|way| way.replica == Some(token.replica()));
                ways.filter_map(|way| sent(way, &push)).collect()
            }
            StorePush::Group(group, push) => {
                let ways = self.replicas.iter().filter(|way| way.groups.contains(&group));
                ways.filter_map(|way| sent(way, &push)).collect()
            }
        }
    }
}

fn deliver((pushes, push, delay): Sent) {
    if delay.is_zero() {
        return pushes(push);
    }
    tokio::spawn(async move {
        sleep(delay).await;
        pushes(push);
    });
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// A command that was sent: it goes on in a task if its future is dropped.
struct GoesOn<R: Send + 'static>(Option<BoxFuture<'static, R>>);

impl<R: Send + 'static> Future for GoesOn<R> {
    type Output = R;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<R> {
        let job = self.0.as_mut().expect("a future is not polled after it was ready");
        let polled = job.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<R: Send + 'static> Drop for GoesOn<R> {
    fn drop(&mut self) {
        let Some(job) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { drop(job.await) }));
        }
    }
}

impl Engine for MemoryEngine {
    fn listen(&self, replica: Replica, pushes: Pushes) {
        self.way(|way| (way.replica, way.pushes) = (Some(replica), Some(pushes)));
    }

    fn watch(&self, group: &str) {
        self.way(|way| way.groups.insert(group.to_owned()));
    }

    fn is_up(&self) -> bool {
        !self.way(|way| way.is_cut)
    }

    fn enter<'a>(
        &'a self,
        name: &'a Name,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry> {
        let name = *name;
        self.operate(Operation::Enter, true, move |store, now, _, told| {
            Ok(store.enter(now, &name, token, lease, told))
        })
    }

    fn shut_and_enter<'a>(
        &'a self,
        name: &'a Name,
        sealed: Token,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry> {
        let name = *name;
        self.operate(Operation::ShutAndEnter, true, move |store, now, _, told| {
            store.shut(now, &name, sealed);
            Ok(store.enter(now, &name, token, lease, told))
        })
    }

    fn close<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        lease: Duration,
        tells: bool,
    ) -> EngineResult<'a, Closed> {
        let name = *name;
        self.operate(Operation::Close, false, move |store, now, _, told| {
            Ok(store.close(now, &name, flight, lease, tells, told))
        })
    }

    fn land<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        landing: Landing,
    ) -> EngineResult<'a, bool> {
        let name = *name;
        self.way(|way| way.sent.push(landing.payload.clone()));
        self.operate(Operation::Land, false, move |store, now, has_room, told| {
            store.land(now, &name, flight, landing, has_room, told).ok_or(EngineError::Refused)
        })
    }

    fn renew<'a>(
        &'a self,
        flights: &'a [(Name, Token)],
        lease: Duration,
    ) -> EngineResult<'a, Vec<bool>> {
        let flights = flights.to_vec();
        self.operate(Operation::Renew, false, move |store, now, _, _| {
            Ok(flights
                .iter()
                .map(|(name, flight)| store.renew(now, name, *flight, lease))
                .collect())
        })
    }

    fn check<'a>(&'a self, waiting: &'a [Waiting]) -> EngineResult<'a, Vec<Checked>> {
        let waiting = waiting.to_vec();
        self.operate(Operation::Check, true, move |store, now, _, _| {
            Ok(waiting.iter().map(|waiting| store.check(now, waiting)).collect())
        })
    }

    fn release<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, ()> {
        let name = *name;
        self.operate(Operation::Release, false, move |store, now, _, told| {
            store.release(now, &name, flight, told);
            Ok(())
        })
    }

    fn fetch<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, Option<Bytes>> {
        let name = *name;
        self.operate(Operation::Fetch, false, move |store, now, _, _| {
            Ok(store.fetch(now, &name, flight))
        })
    }

    fn done<'a>(&'a self, waiting: &'a Waiting) -> EngineResult<'a, ()> {
        let waiting = waiting.clone();
        self.operate(Operation::Done, false, move |store, now, _, _| {
            store.done(now, &waiting);
            Ok(())
        })
    }

    fn seal<'a>(
        &'a self,
        tag: &'a Tag,
        group: &'a str,
        epoch: Epoch,
        life: Duration,
    ) -> EngineResult<'a, ()> {
        let (tag, group) = (*tag, group.to_owned());
        self.operate(Operation::Seal, true, move |store, now, _, told| {
            store.seal(now, &tag, &group, epoch, life, told);
            Ok(())
        })
    }

    fn ping(&self) -> EngineResult<'_, ()> {
        self.operate(Operation::Ping, false, |_, _, _, _| Ok(()))
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEngine").field("replica", &self.me).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::testing::conformance;

    #[tokio::test(start_paused = true)]
    async fn the_engine_in_the_process_keeps_every_promise() {
        let engine = MemoryEngine::new();
        conformance(|| (engine.another(), engine.another())).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(engine.stored(), 0, "nothing is left once all has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_them_with_a_delay() {
        let engine = MemoryEngine::new();
        let (one, two) = (engine.another(), engine.another());
        one.delay(Duration::from_millis(10));
        two.delay(Duration::from_millis(30));
        conformance(|| (one, two)).await;
    }
}
