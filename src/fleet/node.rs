//! This process in a fleet: its engine, and what its requests share.

use crate::{
    fleet::{
        breaker::Breaker,
        engine::{Engine, EngineError, Entry, Epoch, Name, Push, Replica, Tag, Token},
        name::Secret,
        random::random,
        slots::{TokenSlot, TokenSlots},
        stats::{FleetCounters, FleetReason},
    },
    panics::CaughtPanic,
    sync::Mutex,
};
use lru::LruCache;
use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, timeout},
};

/// How many entries may be under way at once.
const MAX_UNDER_WAY: usize = 1024;

/// How many flights are remembered that are not worth asking for.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// One replica of a fleet.
pub(crate) struct Node {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) secret: Secret,
    /// `None` if the operating system had no random bytes: the fleet goes alone.
    replica: Option<Replica>,
    next_token: AtomicU64,
    pub(crate) slots: TokenSlots,
    pub(crate) breaker: Breaker,
    under_way: AtomicUsize,
    /// Wakes the task that looks after the slots.
    pub(crate) wake_keeper: Notify,
    pub(crate) has_reconnected: AtomicBool,
    /// How often the engine came back.
    reconnects: AtomicU64,
    /// The state that was reported last.
    pub(crate) was_up: AtomicBool,
    /// Whether the recorder of metrics was told what the metrics are, and the first state.
    #[cfg(feature = "metrics")]
    pub(crate) is_described: AtomicBool,
    /// Whether the log was told that the engine is gone.
    #[cfg(feature = "tracing")]
    pub(crate) is_logged: AtomicBool,
    layers: Mutex<Vec<Weak<dyn Sealing>>>,
    /// The runtime in which a flight last asked the engine, or in which the fleet was made.
    runtime: Mutex<Option<Handle>>,
    passes: Mutex<LruCache<Name, Instant>>,
    forgetting: Mutex<ForgettingTags>,
    pub(crate) counters: FleetCounters,
}

/// A layer, which takes its flights off its table when a write on another replica concerns them.
pub(crate) trait Sealing: Send + Sync {
    fn sealed(&self, tag: &Tag);
}

/// How many tags may be forgotten at once before all flights go alone for that time.
const MAX_FORGETTING: usize = 4096;

/// The tags that are forgotten here, while the others may not know of it.
#[derive(Default)]
struct ForgettingTags {
    /// How often each is being forgotten.
    tags: HashMap<Tag, usize>,
    /// How many more are being forgotten than are noted.
    unnoted: usize,
}

/// Tags that are forgotten here, until the others know of it.
pub(crate) struct Forgetting {
    node: Arc<Node>,
    noted: Vec<Tag>,
    unnoted: usize,
}

/// Counts an entry that is under way.
struct UnderWay(Arc<Node>);

impl Node {
    pub(crate) fn new(engine: Box<dyn Engine>, secret: Secret) -> Arc<Self> {
        let replica = random().map(Replica::new);
        let node = Arc::new(Self {
            engine,
            secret,
            replica,
            next_token: AtomicU64::new(1),
            slots: TokenSlots::default(),
            breaker: Breaker::default(),
            under_way: AtomicUsize::new(0),
            wake_keeper: Notify::new(),
            has_reconnected: AtomicBool::new(false),
            reconnects: AtomicU64::new(0),
            was_up: AtomicBool::new(true),
            #[cfg(feature = "metrics")]
            is_described: AtomicBool::new(false),
            #[cfg(feature = "tracing")]
            is_logged: AtomicBool::new(false),
            layers: Mutex::default(),
            runtime: Mutex::new(Handle::try_current().ok()),
            passes: Mutex::new(LruCache::unbounded()),
            forgetting: Mutex::default(),
            counters: FleetCounters::default(),
        });
        node.passes.lock().resize(REMEMBERED);
        if let Some(replica) = replica {
            let weak = Arc::downgrade(&node);
            node.engine.listen(
                replica,
                Arc::new(move |push| {
                    if let Some(node) = weak.upgrade() {
                        node.told(push);
                    }
                }),
            );
        }
        node
    }

    fn told(&self, push: Push) {
        match push {
            Push::Sealed { tag } => self.sealed(&tag),
            Push::Reconnected => {
                self.notice();
                self.reconnects.fetch_add(1, SeqCst);
                self.has_reconnected.store(true, SeqCst);
                self.wake_keeper.notify_one();
            }
            push => self.slots.push(push),
        }
    }

    /// All layers of this replica take the flights with this tag off their tables. A panic in the
    /// `Drop` of a key is passed on after that.
    pub(crate) fn sealed(&self, tag: &Tag) {
        let layers: Vec<_> = self.layers.lock().iter().filter_map(Weak::upgrade).collect();
        let mut caught = CaughtPanic::default();
        layers.iter().for_each(|layer| caught.run(|| layer.sealed(tag)));
        caught.resume();
    }

    /// Tells this layer of writes on other replicas.
    pub(crate) fn watch(&self, group: &str, layer: Weak<dyn Sealing>) {
        let mut layers = self.layers.lock();
        layers.retain(|layer| layer.strong_count() > 0);
        layers.push(layer);
        drop(layers);
        self.engine.watch(group);
    }

    /// Remembers this runtime for code that runs in none.
    pub(crate) fn used(&self, runtime: &Handle) {
        let earlier = self.runtime.lock().replace(runtime.clone());
        drop(earlier);
    }

    /// The runtime of the code that runs now, or else the one that was used last.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.lock().clone())
    }

    pub(crate) fn is_up(&self) -> bool {
        self.replica.is_some() && self.engine.is_up() && !self.breaker.is_open()
    }

    /// The number of the connection to the engine. `None`: it cannot be reached.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.engine.is_up().then(|| self.reconnects.load(SeqCst))
    }

    /// Why the engine is not asked now, if it is not.
    pub(crate) fn reason_not_to_ask(&self, name: &Name) -> Option<FleetReason> {
        if !self.notice() {
            Some(FleetReason::Down)
        } else if self.is_remembered(name) {
            Some(FleetReason::Unshareable)
        } else if self.under_way.load(Relaxed) >= MAX_UNDER_WAY {
            Some(FleetReason::Busy)
        } else {
            None
        }
    }

    /// Remembers that the results of this name are not for other replicas.
    pub(crate) fn remember(&self, name: &Name, time: Duration) {
        let now = Instant::now();
        let Some(end) = now.checked_add(time) else { return };
        let mut passes = self.passes.lock();
        // So a burst of names does not stay until as many others come.
        while passes.peek_lru().is_some_and(|(_, end)| *end <= now) {
            passes.pop_lru();
        }
        passes.put(*name, end);
    }

    pub(crate) fn forget(&self, name: &Name) {
        self.passes.lock().pop(name);
    }

    fn is_remembered(&self, name: &Name) -> bool {
        let mut passes = self.passes.lock();
        let Some(end) = passes.peek(name) else { return false };
        let is_live = Instant::now() < *end;
        if !is_live {
            passes.pop(name);
        }
        is_live
    }

    /// Flights with these tags go alone until the value is dropped: another replica may not know
    /// yet that its flight is forgotten.
    pub(crate) fn forgetting(self: &Arc<Self>, tags: &[Tag]) -> Forgetting {
        let mut state = self.forgetting.lock();
        let mut forgetting = Forgetting { node: self.clone(), noted: Vec::new(), unnoted: 0 };
        for tag in tags {
            if state.tags.len() < MAX_FORGETTING || state.tags.contains_key(tag) {
                *state.tags.entry(*tag).or_default() += 1;
                forgetting.noted.push(*tag);
            } else {
                forgetting.unnoted += 1;
            }
        }
        state.unnoted += forgetting.unnoted;
        forgetting
    }

    /// True if any of these tags is forgotten here, and the others may not know of it yet.
    pub(crate) fn is_forgetting(&self, tags: &[Tag]) -> bool {
        let state = self.forgetting.lock();
        state.unnoted > 0 || tags.iter().any(|tag| state.tags.contains_key(tag))
    }

    /// A slot for a new token.
    pub(crate) fn open_slot(self: &Arc<Self>) -> Option<TokenSlot> {
        let token = Token::new(self.replica?, self.next_token.fetch_add(1, Relaxed));
        Some(TokenSlots::open(self, token))
    }

    /// Enters with this token. `None`: there was no reply in time. A late reply is dealt with: a
    /// flight that it leads is released, since its call has begun elsewhere, and its epoch may be
    /// from after that.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        name: &Name,
        token: Token,
        shuts: Option<Token>,
        times: EnterTimes,
        runtime: &Handle,
    ) -> Option<Result<Entry, EngineError>> {
        self.under_way.fetch_add(1, Relaxed);
        let under_way = UnderWay(self.clone());
        let (node, name, lease) = (self.clone(), *name, times.lease);
        let reply = async move {
            let _under_way = under_way;
            match shuts {
                None => node.engine.enter(&name, token, lease).await,
                Some(sealed) => node.engine.shut_and_enter(&name, sealed, token, lease).await,
            }
        };
        let entering = EnterPermit {
            reply: Some(Box::pin(reply)),
            node: self.clone(),
            name,
            token,
            lease,
            runtime: runtime.clone(),
        };
        match timeout(times.enter_within, entering).await {
            Ok(reply) => {
                match reply {
                    Err(EngineError::Down) => self.had_no_reply(runtime),
                    Ok(_) | Err(_) => self.had_reply(),
                }
                Some(reply)
            }
            Err(_) => {
                self.had_no_reply(runtime);
                None
            }
        }
    }

    /// A seal to tell the other replicas of.
    pub(crate) fn untold(self: &Arc<Self>, tag: Tag) -> Untold {
        Untold { node: self.clone(), tag, is_told: false }
    }
}

/// A seal that the other replicas are to be told of. Dropped before that, it counts as lost.
pub(crate) struct Untold {
    node: Arc<Node>,
    tag: Tag,
    is_told: bool,
}

impl Untold {
    /// Tells them. The breaker has no say in this: entries may be too late for a request, and a
    /// seal is still in time.
    pub(crate) async fn tell(mut self, group: &str, life: Duration, within: Duration) {
        let engine = &self.node.engine;
        if let Some(epoch) = random().map(Epoch::new).filter(|_| engine.is_up()) {
            let seal = engine.seal(&self.tag, group, epoch, life);
            self.is_told = matches!(timeout(within, seal).await, Ok(Ok(())));
        }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        let counters = &self.node.counters;
        let counter = if self.is_told { &counters.seals } else { &counters.seals_lost };
        counter.add(1);
    }
}

/// How long an entry lives, and how long its reply may take.
#[derive(Clone, Copy)]
pub(crate) struct EnterTimes {
    pub(crate) lease: Duration,
    pub(crate) enter_within: Duration,
}

type EnterReply = std::pin::Pin<Box<dyn Future<Output = Result<Entry, EngineError>> + Send>>;

/// An entry under way. If it is dropped before its reply, a task deals with that.
struct EnterPermit {
    reply: Option<EnterReply>,
    node: Arc<Node>,
    name: Name,
    token: Token,
    lease: Duration,
    runtime: Handle,
}

impl Future for EnterPermit {
    type Output = Result<Entry, EngineError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let reply = self.reply.as_mut().expect("a future is not polled after it was ready");
        let polled = reply.as_mut().poll(cx);
        if polled.is_ready() {
            self.reply = None;
        }
        polled
    }
}

impl Drop for EnterPermit {
    fn drop(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        let (node, name, token, lease) = (self.node.clone(), self.name, self.token, self.lease);
        drop(self.runtime.spawn(async move {
            // After its lease, the flight is gone without this.
            if let Ok(Ok(Entry::Lead)) = timeout(lease, reply).await {
                drop(timeout(lease, node.engine.release(&name, token)).await);
            }
        }));
    }
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        let mut state = self.node.forgetting.lock();
        state.unnoted -= self.unnoted;
        for tag in &self.noted {
            if let Some(times) = state.tags.get_mut(tag) {
                *times -= 1;
                if *times == 0 {
                    state.tags.remove(tag);
                }
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("replica", &self.replica)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "fleet-testing"))]
mod tests {
    use super::*;
    use crate::fleet::testing::MemoryEngine;

    #[tokio::test(start_paused = true)]
    async fn names_that_are_remembered_no_more_take_no_room() {
        let node = Node::new(Box::new(MemoryEngine::new()), Secret::new(b"0123456789abcdef"));
        let name = |number: u8| Name::new(Tag::new([0; 16]), [number; 32]);
        (0..100).for_each(|number| node.remember(&name(number), Duration::from_secs(1)));
        assert_eq!(node.passes.lock().len(), 100);
        tokio::time::advance(Duration::from_secs(2)).await;
        node.remember(&name(100), Duration::from_secs(1));
        assert_eq!(node.passes.lock().len(), 1);
    }
}
