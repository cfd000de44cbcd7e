//! A lock, a value, and a look every 50 ms: the shape of dogpile.cache, FusionCache and PostHog.

use super::connect;
use crate::upstream::Caller;
use bytes::Bytes;
use redis::{AsyncCommands, aio::MultiplexedConnection, cmd, pipe};
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Poll {
    redis: MultiplexedConnection,
}

impl Poll {
    pub(crate) async fn connect(redis: &str) -> Self {
        Self { redis: connect(redis, |_| Ok(())).await }
    }

    pub(crate) async fn get(&self, upstream: Caller, path: &str) -> Bytes {
        let mut redis = self.redis.clone();
        let (lock, value) = (format!("poll:lock:{path}"), format!("poll:value:{path}"));
        // With an upstream of as many milliseconds, a fixed first pause would make it a matter of
        // luck whether all find the value at once, or one pause too late.
        let part = RandomState::new().hash_one(path) as f64 / u64::MAX as f64;
        let mut pause = EVERY.mul_f64(part);
        loop {
            if let Some(body) = redis.get::<_, Option<Vec<u8>>>(&value).await.unwrap() {
                return body.into();
            }
            let mut take = cmd("SET");
            take.arg(&lock).arg(upstream.number).arg("NX").arg("PX").arg(3000);
            let taken: Option<String> = take.query_async(&mut redis).await.unwrap();
            if taken.is_some() {
                break;
            }
            sleep(pause).await;
            pause = EVERY;
        }
        // The lock may have become free because the value was written, after the look above.
        if let Some(body) = redis.get::<_, Option<Vec<u8>>>(&value).await.unwrap() {
            let _: usize = redis.del(&lock).await.unwrap();
            return body.into();
        }
        let body = upstream.get(path).await;
        let mut land = pipe();
        land.cmd("SET").arg(&value).arg(body.as_ref()).arg("PX").arg(5000).ignore();
        land.cmd("DEL").arg(&lock).ignore();
        let _: () = land.query_async(&mut redis).await.unwrap();
        body
    }
}
