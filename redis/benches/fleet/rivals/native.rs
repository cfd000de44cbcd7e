//! The lower bound: one native command to lead or follow, and one push.

use super::connect;
use crate::upstream::Caller;
use bytes::Bytes;
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection, cmd, pipe};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::oneshot;

/// All results go through it, to every process.
const CHANNEL: &str = "native";

pub(crate) struct Native {
    redis: MultiplexedConnection,
    waiting: Arc<Waiting>,
}

/// Who waits for the body of each path.
type Waiting = Mutex<HashMap<String, oneshot::Sender<Bytes>>>;

impl Native {
    pub(crate) async fn connect(redis: &str) -> Self {
        let waiting = Arc::<Waiting>::default();
        let told = Arc::clone(&waiting);
        let mut redis = connect(redis, move |push| {
            if let Some((waiter, body)) = read(push, &told) {
                let _ = waiter.send(body);
            }
            Ok(())
        })
        .await;
        redis.subscribe(CHANNEL).await.unwrap();
        Self { redis, waiting }
    }

    pub(crate) async fn get(&self, upstream: Caller, path: &str) -> Bytes {
        let mut redis = self.redis.clone();
        let key = format!("native:{path}");
        // The push may come before the reply.
        let (waiter, pushed) = oneshot::channel();
        self.waiting.lock().unwrap().insert(path.to_owned(), waiter);
        let mut enter = cmd("SET");
        enter.arg(&key).arg(upstream.number).arg("NX").arg("GET").arg("PX").arg(3000);
        let leader: Option<usize> = enter.query_async(&mut redis).await.unwrap();
        if leader.is_some() {
            return pushed.await.unwrap();
        }
        let body = upstream.get(path).await;
        let message = [path.as_bytes(), b"\n", &body].concat();
        let mut land = pipe();
        land.cmd("DEL").arg(&key).cmd("PUBLISH").arg(CHANNEL).arg(message);
        let _: (usize, usize) = land.query_async(&mut redis).await.unwrap();
        body
    }
}

/// Who waits for this message, and the body in it.
fn read(push: PushInfo, waiting: &Waiting) -> Option<(oneshot::Sender<Bytes>, Bytes)> {
    let (PushKind::Message, Some(Value::BulkString(message))) = (push.kind, push.data.get(1))
    else {
        return None;
    };
    let end = message.iter().position(|&byte| byte == b'\n')?;
    let path = std::str::from_utf8(&message[..end]).ok()?;
    let waiter = waiting.lock().unwrap().remove(path)?;
    Some((waiter, Bytes::copy_from_slice(&message[end + 1..])))
}
