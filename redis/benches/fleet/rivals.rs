//! Other ways to make one upstream call over N processes, as small as they can be. They show what a
//! hand-over costs, and do none of what makes one safe: a result is bound to no flight, a lock has
//! no owner, nobody takes over, and an error of Redis is a panic.

mod native;
mod poll;
mod stream;

use crate::upstream::Caller;
use bytes::Bytes;
use native::Native;
use poll::Poll;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo,
    aio::MultiplexedConnection,
};
use stream::Stream;

/// A way to share an upstream call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Fleet,
    Native,
    Stream,
    Poll,
    /// Each process for itself.
    Alone,
}

impl Contender {
    pub(crate) const ALL: [Self; 5] =
        [Self::Fleet, Self::Native, Self::Stream, Self::Poll, Self::Alone];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Native => "`SET NX GET`, push",
            Self::Stream => "`XREAD BLOCK`",
            Self::Poll => "lock, poll 50 ms",
            Self::Alone => "no fleet",
        }
    }

    /// The commands that its processes send. What a script runs in Redis is none of them.
    pub(crate) fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Fleet => &["evalsha"],
            Self::Native => &["set", "del", "publish"],
            Self::Stream => &["set", "xadd", "pexpire", "xread"],
            Self::Poll => &["set", "get", "del"],
            Self::Alone => &[],
        }
    }
}

/// The rivals in one process.
pub(crate) struct Rivals {
    upstream: Caller,
    native: Native,
    stream: Stream,
    poll: Poll,
}

impl Rivals {
    pub(crate) async fn connect(redis: &str, upstream: Caller) -> Self {
        Self {
            upstream,
            native: Native::connect(redis).await,
            stream: Stream::connect(redis).await,
            poll: Poll::connect(redis).await,
        }
    }

    /// The body for a path. The fleet works above: it calls for it here.
    pub(crate) async fn get(&self, contender: Contender, path: &str) -> Bytes {
        match contender {
            Contender::Fleet | Contender::Alone => self.upstream.get(path).await,
            Contender::Native => self.native.get(self.upstream, path).await,
            Contender::Stream => self.stream.get(self.upstream, path).await,
            Contender::Poll => self.poll.get(self.upstream, path).await,
        }
    }
}

/// A connection like one of the engine's.
async fn connect(
    redis: &str,
    on_push: impl Fn(PushInfo) -> Result<(), std::fmt::Error> + Send + Sync + 'static,
) -> MultiplexedConnection {
    let server = redis.into_connection_info().unwrap();
    let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = server.tcp_settings().clone().set_nodelay(true);
    let server = server.set_redis_settings(settings).set_tcp_settings(tcp);
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(on_push);
    let client = Client::open(server).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}
