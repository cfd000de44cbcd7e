//! A lock, and a stream that followers block on: the shape of buildbuddy's `dsingleflight`.

use super::connect;
use crate::upstream::Caller;
use bytes::Bytes;
use redis::{aio::MultiplexedConnection, cmd, pipe};

/// The entries of a stream, by their ids, and the fields of each.
type Entries = Vec<(String, (String, Vec<u8>))>;

pub(crate) struct Stream {
    redis: MultiplexedConnection,
    /// `XREAD BLOCK` keeps a connection from all else. As if out of a pool that never runs dry.
    blocked: MultiplexedConnection,
}

impl Stream {
    pub(crate) async fn connect(redis: &str) -> Self {
        Self { redis: connect(redis, |_| Ok(())).await, blocked: connect(redis, |_| Ok(())).await }
    }

    pub(crate) async fn get(&self, upstream: Caller, path: &str) -> Bytes {
        let mut redis = self.redis.clone();
        let (lock, stream) = (format!("stream:lock:{path}"), format!("stream:{path}"));
        let mut take = cmd("SET");
        take.arg(&lock).arg("1").arg("NX").arg("PX").arg(30_000);
        let taken: Option<String> = take.query_async(&mut redis).await.unwrap();
        if taken.is_none() {
            let mut read = cmd("XREAD");
            read.arg("BLOCK").arg(0).arg("STREAMS").arg(&stream).arg("0");
            let mut streams: Vec<(String, Entries)> =
                read.query_async(&mut self.blocked.clone()).await.unwrap();
            let (_, mut entries) = streams.remove(0);
            let (_, (_, body)) = entries.remove(0);
            return body.into();
        }
        let body = upstream.get(path).await;
        let mut land = pipe();
        land.cmd("XADD").arg(&stream).arg("*").arg("body").arg(body.as_ref()).ignore();
        land.cmd("PEXPIRE").arg(&stream).arg(30_000).ignore();
        let _: () = land.query_async(&mut redis).await.unwrap();
        body
    }
}
