//! The operations, as commands.

use crate::{
    RedisEngine,
    keys::Keys,
    link::{Link, Reply},
    scripts,
};
use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use std::{sync::Arc, time::Duration};
use tower_singleflight::fleet::engine::{
    Checked, Closed, Engine, EngineError, EngineResult, Entry, Epoch, Landing, Name, Pushes,
    Replica, Tag, Token, Waiting,
};

/// Up to this length, a payload travels in the push. Above it, a second round trip costs Redis less
/// than the copies.
const INLINE: usize = 8 * 1024;

impl Engine for RedisEngine {
    fn listen(&self, replica: Replica, pushes: Pushes) {
        self.shared.listen(replica, pushes);
    }

    fn watch(&self, group: &str) {
        self.shared.watch(group);
    }

    fn is_up(&self) -> bool {
        self.shared.link().is_some()
    }

    fn logs_outages(&self) -> bool {
        cfg!(feature = "tracing")
    }

    fn enter<'a>(
        &'a self,
        name: &'a Name,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry> {
        Box::pin(async move {
            let _ = self.link()?;
            let unanswered = self.shared.unanswered(name, token);
            let entry = unanswered
                .unless_down(self.control(self.enter_command(name, token, lease)).await)?;
            read_entry(entry)
        })
    }

    fn shut_and_enter<'a>(
        &'a self,
        name: &'a Name,
        sealed: Token,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry> {
        Box::pin(async move {
            let mut shut = scripts::SHUT.on(&self.keys().of(name).flight(sealed));
            shut.arg(sealed.to_string());
            let _ = self.link()?;
            let unanswered = self.shared.unanswered(name, token);
            let replies = self.control_each([shut, self.enter_command(name, token, lease)]).await;
            let [shut, entry] = unanswered.unless_down(replies)?;
            shut?;
            read_entry(entry?)
        })
    }

    fn close<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        lease: Duration,
        tells: bool,
    ) -> EngineResult<'a, Closed> {
        Box::pin(async move {
            let mut close = scripts::CLOSE.on(&self.keys().of(name).flight(flight));
            close
                .arg(flight.to_string())
                .arg(millis(lease))
                .arg(self.keys().inboxes())
                .arg(u8::from(tells));
            let unanswered = self.shared.unanswered(name, flight);
            match unanswered.unless_down(self.control(close).await)? {
                Value::Nil => Ok(Closed::Lost),
                Value::Array(tokens) if tokens.is_empty() => Ok(Closed::Alone),
                Value::Array(tokens) => {
                    tokens.iter().map(read_token).collect::<Result<_, _>>().map(Closed::Followed)
                }
                _ => Err(EngineError::Garbled),
            }
        })
    }

    fn land<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        landing: Landing,
    ) -> EngineResult<'a, bool> {
        Box::pin(async move {
            let Landing { payload, keep, mark } = landing;
            let keys = self.keys().of(name);
            let key = keys.payload(flight);
            let inline = (1..=INLINE).contains(&payload.len());
            let mut commands = Pipeline::new();
            if !inline {
                commands.cmd("SET").arg(&key).arg(payload.as_ref()).arg("PX").arg(millis(keep));
            }
            let mut land = scripts::LAND.on(&[keys.closed(flight), key, keys.open()]);
            land.arg(if inline { payload.as_ref() } else { b"" })
                .arg(self.keys().inboxes())
                .arg(millis(keep));
            land.arg(mark.map_or(0, millis));
            commands.add_command(land);
            let link = self.link()?;
            let landed = link.ask(&link.bulk, commands).await?.pop();
            match read_number(&landed.ok_or(EngineError::Garbled)??)? {
                -1 => Ok(false),
                -2 => Err(EngineError::Refused),
                _ => Ok(true),
            }
        })
    }

    fn renew<'a>(
        &'a self,
        flights: &'a [(Name, Token)],
        lease: Duration,
    ) -> EngineResult<'a, Vec<bool>> {
        Box::pin(async move {
            let renew = |(name, flight): &(Name, Token)| {
                let mut renew = scripts::RENEW.on(&self.keys().of(name).flight(*flight));
                renew.arg(flight.to_string()).arg(millis(lease));
                renew
            };
            let replies = self.control_all(flights.iter().map(renew)).await?;
            replies.into_iter().map(|reply| Ok(read_number(&reply?)? != 0)).collect()
        })
    }

    fn check<'a>(&'a self, waiting: &'a [Waiting]) -> EngineResult<'a, Vec<Checked>> {
        Box::pin(async move {
            let check = |waiting: &Waiting| {
                let keys = self.keys().of(&waiting.name);
                let [open, waits, closed] = keys.flight(waiting.flight);
                let mut check =
                    scripts::CHECK.on(&[open, waits, closed, keys.payload(waiting.flight)]);
                check.arg(waiting.flight.to_string()).arg(waiting.token.to_string());
                check
            };
            let replies = self.control_all(waiting.iter().map(check)).await?;
            replies.into_iter().map(|reply| read_checked(&reply?)).collect()
        })
    }

    fn release<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, ()> {
        Box::pin(async move {
            let unanswered = self.shared.unanswered(name, flight);
            unanswered
                .unless_down(self.control(release_command(self.keys(), name, flight)).await)
                .map(drop)
        })
    }

    fn fetch<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, Option<Bytes>> {
        Box::pin(async move {
            let mut commands = Pipeline::new();
            commands.cmd("GET").arg(self.keys().of(name).payload(flight));
            let link = self.link()?;
            match link.ask(&link.bulk, commands).await?.pop().ok_or(EngineError::Garbled)?? {
                Value::Nil => Ok(None),
                Value::BulkString(payload) => Ok(Some(payload.into())),
                _ => Err(EngineError::Garbled),
            }
        })
    }

    fn done<'a>(&'a self, waiting: &'a Waiting) -> EngineResult<'a, ()> {
        Box::pin(async move {
            let keys = self.keys().of(&waiting.name);
            let mut done =
                scripts::DONE.on(&[keys.closed(waiting.flight), keys.payload(waiting.flight)]);
            done.arg(waiting.token.to_string());
            self.control(done).await.map(drop)
        })
    }

    fn seal<'a>(
        &'a self,
        tag: &'a Tag,
        group: &'a str,
        epoch: Epoch,
        life: Duration,
    ) -> EngineResult<'a, ()> {
        Box::pin(async move {
            let mut seal = scripts::SEAL.on(&[self.keys().epoch(tag)]);
            seal.arg(epoch.to_string())
                .arg(millis(life))
                .arg(self.keys().group(group))
                .arg(tag.to_string());
            self.control(seal).await.map(drop)
        })
    }

    fn ping(&self) -> EngineResult<'_, ()> {
        Box::pin(async move {
            let link = self.link()?;
            link.ping(&link.control).await
        })
    }
}

impl RedisEngine {
    fn link(&self) -> Result<Arc<Link>, EngineError> {
        self.shared.link().ok_or(EngineError::Down)
    }

    fn enter_command(&self, name: &Name, token: Token, lease: Duration) -> Cmd {
        let keys = self.keys().of(name);
        let mut enter = scripts::ENTER.on(&[keys.open(), keys.epoch(), keys.waiting()]);
        enter.arg(token.to_string()).arg(millis(lease)).arg(self.keys().inboxes());
        enter
    }

    /// Runs one command on the control connection.
    async fn control(&self, command: Cmd) -> Reply {
        let [reply] = self.control_each([command]).await?;
        reply
    }

    async fn control_each<const N: usize>(
        &self,
        commands: [Cmd; N],
    ) -> Result<[Reply; N], EngineError> {
        self.control_all(commands.into_iter()).await?.try_into().map_err(|_| EngineError::Garbled)
    }

    async fn control_all(
        &self,
        commands: impl Iterator<Item = Cmd>,
    ) -> Result<Vec<Reply>, EngineError> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let link = self.link()?;
        link.ask(&link.control, pipeline).await
    }
}

pub(crate) fn release_command(keys: &Keys, name: &Name, flight: Token) -> Cmd {
    let mut release = scripts::RELEASE.on(&keys.of(name).flight(flight));
    release.arg(flight.to_string()).arg(keys.inboxes());
    release
}

fn read_entry(reply: Value) -> Result<Entry, EngineError> {
    let Value::Array(reply) = reply else {
        return Err(EngineError::Garbled);
    };
    match &reply[..] {
        [Value::Int(1)] => Ok(Entry::Lead),
        [Value::Int(2), flight, left] => {
            Ok(Entry::Follow { flight: read_token(flight)?, left: read_millis(left)? })
        }
        [Value::Int(3), left] => Ok(Entry::Pass { left: read_millis(left)? }),
        [Value::Int(4), flight] => Ok(Entry::Sealed { flight: read_token(flight)? }),
        _ => Err(EngineError::Garbled),
    }
}

fn read_checked(reply: &Value) -> Result<Checked, EngineError> {
    let Value::Array(reply) = reply else {
        return Err(EngineError::Garbled);
    };
    match &reply[..] {
        [Value::Int(0)] => Ok(Checked::Gone),
        [Value::Int(1)] => Ok(Checked::Landed),
        [Value::Int(2), left] => Ok(Checked::Pending { left: read_millis(left)? }),
        _ => Err(EngineError::Garbled),
    }
}

fn read_token(value: &Value) -> Result<Token, EngineError> {
    match value {
        Value::BulkString(token) => {
            std::str::from_utf8(token).map_err(|_| EngineError::Garbled)?.parse()
        }
        _ => Err(EngineError::Garbled),
    }
}

/// Below zero, a key ended between two commands.
fn read_millis(value: &Value) -> Result<Duration, EngineError> {
    Ok(Duration::from_millis(read_number(value)?.try_into().unwrap_or(0)))
}

fn read_number(value: &Value) -> Result<i64, EngineError> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(EngineError::Garbled),
    }
}

/// Redis takes no life of 0 ms.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX))
}
