//! The task that connects, notices the end of a connection, and connects again.

use crate::{
    engine::release_command,
    keys::Keys,
    link::{Link, REPLY_WITHIN},
    report::Report,
    trouble::{Kind, Trouble},
    unanswered::{Operation, Unanswered},
};
use futures_util::{
    FutureExt,
    future::{self, Either},
};
use redis::{Client, Pipeline};
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle, time::sleep};
use tower_singleflight::fleet::engine::{Name, Push, Pushes, Replica, Token};

/// The pause before the second attempt to connect. It doubles with each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// How long an attempt to connect takes at most, after some that failed. The first takes
/// [`REPLY_WITHIN`].
const CONNECT_AT_MOST: Duration = Duration::from_secs(2);

/// What the engine and its task share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    /// The connections, while there are any.
    link: RwLock<Option<Arc<Link>>>,
    listener: OnceLock<(Replica, Pushes)>,
    /// The channels of the groups that are watched. They only grow.
    groups: Mutex<Vec<String>>,
    /// Wakes the task: a group was added, or an operation was abandoned.
    wake: Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
    unanswered: Unanswered,
    was_up: AtomicBool,
    report: Mutex<Report>,
}

impl Shared {
    pub(crate) fn new(client: Client, prefix: &str) -> Self {
        let report = Report::new(client.get_connection_info().addr().to_string());
        Self {
            client,
            keys: Keys::new(prefix),
            link: RwLock::new(None),
            listener: OnceLock::new(),
            groups: Mutex::default(),
            wake: Arc::default(),
            task: Mutex::default(),
            unanswered: Unanswered::default(),
            was_up: AtomicBool::new(false),
            report: Mutex::new(report),
        }
    }

    /// The link, if it is up. Otherwise sees to it that the task is there to make one.
    pub(crate) fn link(self: &Arc<Self>) -> Option<Arc<Link>> {
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner).clone();
        let link = link.filter(|link| link.is_up());
        if link.is_none() {
            self.start();
        }
        link
    }

    /// Whether the link is up, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.link
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|link| link.is_up())
    }

    pub(crate) fn listen(self: &Arc<Self>, replica: Replica, pushes: Pushes) {
        // Called once, as the trait says.
        let _ = self.listener.set((replica, pushes));
        // So that the first request finds a connection.
        self.start();
    }

    pub(crate) fn watch(&self, group: &str) {
        let channel = self.keys.group(group);
        let mut groups = lock(&self.groups);
        if !groups.contains(&channel) {
            groups.push(channel);
            self.wake.notify_one();
        }
    }

    /// For an operation on a flight, from before it is sent until its reply.
    pub(crate) fn unanswered(&self, name: &Name, flight: Token) -> Operation<'_> {
        self.unanswered.operation(name, flight)
    }

    /// Starts the task in this runtime, unless there is one, or no runtime, or nothing to listen
    /// to.
    fn start(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.listener.get().is_none() {
            return;
        }
        let mut task = lock(&self.task);
        // Finished: its runtime was shut down.
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            *task = Some(runtime.spawn(Arc::clone(self).supervise()).abort_handle());
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }

    async fn supervise(self: Arc<Self>) {
        let Some((replica, pushes)) = self.listener.get() else { return };
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let trouble = match self.connect(*replica, pushes, pause).await {
                Ok((link, subscribed)) => {
                    let _taken_away = self.put(Arc::clone(&link));
                    lock(&self.report).up();
                    if self.was_up.swap(true, Relaxed) {
                        pushes(Push::Reconnected);
                    }
                    self.tend(&link, subscribed).await
                }
                Err(trouble) => trouble,
            };
            lock(&self.report).down(&trouble);
            // A connection that fails at once is no reason for haste.
            pause = if started.elapsed() > LAST_PAUSE { FIRST_PAUSE } else { pause };
            sleep(jittered(pause)).await;
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// Connects, and subscribes to all there is. Gives how many groups that are.
    async fn connect(
        &self,
        replica: Replica,
        pushes: &Pushes,
        pause: Duration,
    ) -> Result<(Arc<Link>, usize), Trouble> {
        let mut channels = vec![self.keys.inbox(replica)];
        channels.extend_from_slice(&lock(&self.groups));
        let within = pause.clamp(REPLY_WITHIN, CONNECT_AT_MOST);
        let link = Link::connect(&self.client, within, &channels, pushes, &self.wake);
        // rustls panics without a crypto provider, tokio without its I/O driver.
        match AssertUnwindSafe(link).catch_unwind().await {
            Ok(link) => {
                let link = link?;
                self.release_unanswered(&link).await?;
                Ok((Arc::new(link), channels.len() - 1))
            }
            Err(_) => Err(Trouble::new(Kind::Away, "the client panicked")),
        }
    }

    /// See [`Unanswered`].
    async fn release_unanswered(&self, link: &Link) -> Result<(), Trouble> {
        let flights = self.unanswered.take();
        if flights.is_empty() {
            return Ok(());
        }
        let mut commands = Pipeline::new();
        for (name, flight) in &flights {
            commands.add_command(release_command(&self.keys, name, *flight));
        }
        if link.ask(&link.control, commands).await.is_err() {
            self.unanswered.put_back(flights);
            return Err(link
                .trouble()
                .unwrap_or_else(|| Trouble::new(Kind::Silent, "it releases no flights")));
        }
        Ok(())
    }

    /// Returns at the end of the link.
    async fn tend(&self, link: &Link, mut subscribed: usize) -> Trouble {
        loop {
            match future::select(pin!(link.ended()), pin!(self.wake.notified())).await {
                Either::Left((trouble, _)) => return trouble,
                Either::Right(_) => {}
            }
            let added = lock(&self.groups)[subscribed..].to_vec();
            for channel in added {
                match link.subscribe(&channel).await {
                    Ok(()) => subscribed += 1,
                    Err(trouble) => link.end(trouble),
                }
            }
            link.check_abandoned().await;
            // After the operations themselves: the connection keeps the order. What fails is kept
            // for the next connection.
            let _ = self.release_unanswered(link).await;
        }
    }

    /// Shows the link to operations until the guard is dropped, also if that is by the end of the
    /// runtime.
    fn put(&self, link: Arc<Link>) -> TakenAway<'_> {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = Some(link);
        TakenAway(self)
    }
}

/// Takes the link away.
struct TakenAway<'a>(&'a Shared);

impl Drop for TakenAway<'_> {
    fn drop(&mut self) {
        let link = self.0.link.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(link) = link {
            link.end(Trouble::new(Kind::Away, "the runtime of the connection was shut down"));
        }
    }
}

/// Between a half and all of it, at random.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause / 2 + (pause / 2).mul_f64(random as f64 / u64::MAX as f64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
