//! Two connections to one server, from the time that both are set up until the first one fails.

use crate::{
    pushes, scripts,
    trouble::{Kind, Trouble},
};
use futures_util::future::{self, Either};
use redis::{
    AsyncConnectionConfig, Client, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection,
};
use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tower_singleflight::fleet::engine::{EngineError, Pushes};

/// How long a reply may take.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_millis(250);

/// How long a reply may take on the connection for large payloads, which may have some to carry
/// before it.
const BULK_REPLY_WITHIN: Duration = Duration::from_secs(1);

/// In how many pieces the time for a reply is waited for. A process that was stopped or starved,
/// not the server, has only one piece behind it when it goes on, and reads the replies that have
/// come before it counts the others.
const PIECES: u32 = 5;

/// How many commands may wait in the client to be written. Callers would queue with the default
/// of 50.
const PIPELINE_BUFFER: usize = 4096;

/// Two connections that live and fail together.
///
/// 1. Once `ended` is closed, no operation succeeds, no push is delivered, and those that wait are
///    told at once.
/// 2. An operation that is dropped before its reply wakes the supervisor, which asks for a sign of
///    life. So a server that hangs is noticed even if no caller has the patience to wait for
///    [`REPLY_WITHIN`].
pub(crate) struct Link {
    /// All scripts without large payloads, and the inbox.
    pub(crate) control: Wire,
    /// Payloads.
    pub(crate) bulk: Wire,
    ended: Arc<Ended>,
    /// Whether an operation was dropped before its reply.
    abandoned: AtomicBool,
    supervisor: Arc<Notify>,
}

/// One connection.
pub(crate) struct Wire {
    connection: MultiplexedConnection,
    within: Duration,
    clock: Clock,
}

/// When a connection last gave a reply.
struct Clock {
    start: Instant,
    /// In microseconds from the start.
    heard: AtomicU64,
}

/// Closed at the end of a link.
struct Ended {
    gate: Semaphore,
    why: OnceLock<Trouble>,
}

/// The answer to one command.
pub(crate) type Reply = Result<Value, EngineError>;

impl Link {
    /// Connects, loads the scripts, and subscribes to the channels.
    pub(crate) async fn connect(
        client: &Client,
        within: Duration,
        channels: &[String],
        pushes: &Pushes,
        supervisor: &Arc<Notify>,
    ) -> Result<Self, Trouble> {
        let ended = Arc::new(Ended { gate: Semaphore::new(0), why: OnceLock::new() });
        let (control, bulk) = future::try_join(
            Wire::connect(client, within, REPLY_WITHIN, Some(pushes), &ended),
            Wire::connect(client, within, BULK_REPLY_WITHIN, None, &ended),
        )
        .await?;
        let link = Self {
            control,
            bulk,
            ended,
            abandoned: AtomicBool::new(false),
            supervisor: Arc::clone(supervisor),
        };
        link.prepare().await?;
        for channel in channels {
            link.subscribe(channel).await?;
        }
        Ok(link)
    }

    /// Loads the scripts, and sees what kind of server it is.
    async fn prepare(&self) -> Result<(), Trouble> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HELLO").arg(3);
        for command in scripts::load() {
            pipeline.add_command(command);
        }
        let replies = self.control.send(&pipeline).await?;
        let mut replies = replies.into_iter().map(|reply| match reply {
            Value::ServerError(error) => {
                let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
                Err(Trouble::of_reply(&error).unwrap_or_else(|| Trouble::new(Kind::Refused, text)))
            }
            reply => Ok(reply),
        });
        if let Some(hello) = replies.next() {
            check_server(hello?)?;
        }
        replies.try_for_each(|reply| reply.map(drop))
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Result<(), Trouble> {
        let mut connection = self.control.connection.clone();
        match timeout(REPLY_WITHIN, connection.subscribe(channel)).await {
            Ok(reply) => reply.map_err(|error| Trouble::of_error(&error)),
            Err(elapsed) => Err(Trouble::new(Kind::Silent, elapsed)),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.ended.gate.is_closed()
    }

    /// Ends the link: the next call finds the engine down.
    pub(crate) fn end(&self, trouble: Trouble) {
        self.ended.end(trouble);
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Trouble {
        self.ended.wait().await;
        self.trouble().unwrap_or_else(|| Trouble::new(Kind::Away, "closed"))
    }

    /// Why the link has ended, if it has.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.ended.why.get().cloned()
    }

    /// Sends commands in one piece, and gives a reply to each. A script that the server does not
    /// know is loaded, and run once again.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the replies, the commands are executed or not.
    pub(crate) async fn ask(
        &self,
        wire: &Wire,
        commands: Pipeline,
    ) -> Result<Vec<Reply>, EngineError> {
        let mut replies = self.answered(wire, &commands).await?;
        let unknown: Vec<_> =
            (0..replies.len()).filter(|&index| is_unknown_script(&replies[index])).collect();
        if !unknown.is_empty() {
            let mut again = Pipeline::new();
            let load = scripts::load();
            let loaded = load.len();
            for command in load {
                again.add_command(command);
            }
            for (index, command) in commands.cmd_iter().enumerate() {
                if unknown.contains(&index) {
                    again.add_command(command.clone());
                }
            }
            let second = self.answered(wire, &again).await?;
            for (index, reply) in unknown.into_iter().zip(second.into_iter().skip(loaded)) {
                replies[index] = reply;
            }
        }
        replies.into_iter().map(|reply| self.judge(reply)).collect()
    }

    /// The replies, unless the link ends before, or time is up.
    async fn answered(&self, wire: &Wire, commands: &Pipeline) -> Result<Vec<Value>, EngineError> {
        let sent = wire.clock.now();
        let mut abandoned = Abandoned { link: self, armed: true };
        let replies = pin!(wire.send(commands));
        let replies = match future::select(replies, pin!(self.ended.wait())).await {
            Either::Left((replies, _)) => Some(replies),
            Either::Right(_) => None,
        };
        abandoned.armed = false;
        match replies {
            Some(Ok(replies)) => return Ok(replies),
            // Late, but the server is there: others were answered in the meantime.
            Some(Err(trouble)) if trouble.kind == Kind::Silent && wire.clock.heard_since(sent) => {
                self.supervisor.notify_one();
            }
            Some(Err(trouble)) => self.end(trouble),
            None => {}
        }
        Err(EngineError::Down)
    }

    /// Ends the link if the reply says that this server is of no use any more.
    fn judge(&self, reply: Value) -> Result<Reply, EngineError> {
        let Value::ServerError(error) = reply else {
            return Ok(Ok(reply));
        };
        match Trouble::of_reply(&error) {
            Some(trouble) => {
                self.end(trouble);
                Err(EngineError::Down)
            }
            None => Ok(Err(EngineError::Refused)),
        }
    }

    /// Asks for a sign of life on both connections, if an operation was dropped before its reply.
    pub(crate) async fn check_abandoned(&self) {
        if self.abandoned.swap(false, Relaxed) {
            // The link has ended if one fails.
            let _ = future::join(self.ping(&self.control), self.ping(&self.bulk)).await;
        }
    }

    pub(crate) async fn ping(&self, wire: &Wire) -> Result<(), EngineError> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("PING");
        self.ask(wire, pipeline).await?.remove(0).map(drop)
    }
}

impl Wire {
    async fn connect(
        client: &Client,
        connect_within: Duration,
        within: Duration,
        pushes: Option<&Pushes>,
        ended: &Arc<Ended>,
    ) -> Result<Self, Trouble> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_within))
            // There is one in `send`.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
            .set_push_sender(on_push(Arc::clone(ended), pushes.cloned()));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| Trouble::of_error(&error))?;
        Ok(Self {
            connection,
            within,
            clock: Clock { start: Instant::now(), heard: AtomicU64::new(0) },
        })
    }

    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Trouble> {
        let mut connection = self.connection.clone();
        let mut replies = pin!(connection.send_packed_commands(commands, 0, commands.len()));
        for _ in 0..PIECES {
            match timeout(self.within / PIECES, replies.as_mut()).await {
                Ok(Ok(replies)) => {
                    self.clock.hear();
                    return Ok(replies);
                }
                Ok(Err(error)) => return Err(Trouble::of_error(&error)),
                Err(_) => {}
            }
        }
        Err(Trouble::new(Kind::Silent, format_args!("no reply within {:?}", self.within)))
    }
}

/// Delivers what a connection gives beside replies. Runs in the connection's own task.
fn on_push(
    ended: Arc<Ended>,
    pushes: Option<Pushes>,
) -> impl Fn(PushInfo) -> Result<(), fmt::Error> + Send + Sync + 'static {
    move |PushInfo { kind, data }| {
        if kind == PushKind::Disconnection {
            ended.end(Trouble::new(Kind::Away, "the connection was closed"));
            return Ok(());
        }
        // A newer link may have subscribed: each push is delivered once.
        if kind == PushKind::Message && !ended.gate.is_closed() {
            if let (Some(pushes), Some(push)) = (&pushes, pushes::read(data)) {
                // A panic would end the connection's task, and with it the inbox, unnoticed.
                let _ = catch_unwind(AssertUnwindSafe(|| pushes(push)));
            }
        }
        Ok(())
    }
}

/// What `HELLO` tells of the server. Proxies may leave out all of it.
fn check_server(hello: Value) -> Result<(), Trouble> {
    let facts: HashMap<String, Value> = redis::from_redis_value(hello).unwrap_or_default();
    let is = |key: &str, wanted: &[&str]| match facts.get(key) {
        Some(Value::BulkString(fact)) => wanted.iter().any(|wanted| wanted.as_bytes() == fact),
        Some(Value::SimpleString(fact)) => wanted.contains(&fact.as_str()),
        _ => false,
    };
    if is("mode", &["cluster"]) {
        return Err(Trouble::new(Kind::Cluster, "cluster-enabled is on"));
    }
    if is("mode", &["sentinel"]) {
        return Err(Trouble::new(Kind::Sentinel, "its mode is sentinel"));
    }
    if is("role", &["replica", "slave"]) {
        return Err(Trouble::new(Kind::Replica, "its role is replica"));
    }
    Ok(())
}

fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// Wakes the supervisor if an operation is dropped before its reply.
struct Abandoned<'a> {
    link: &'a Link,
    armed: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.link.abandoned.store(true, Relaxed);
            self.link.supervisor.notify_one();
        }
    }
}

impl Ended {
    fn end(&self, trouble: Trouble) {
        let _ = self.why.set(trouble);
        self.gate.close();
    }

    async fn wait(&self) {
        // There is no permit, so this returns once the semaphore is closed.
        let _ = self.gate.acquire().await;
    }
}

impl Clock {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn hear(&self) {
        self.heard.store(self.now(), Relaxed);
    }

    fn heard_since(&self, time: u64) -> bool {
        self.heard.load(Relaxed) > time
    }
}
