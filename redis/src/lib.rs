//! Redis and Valkey as the engine of a fleet: N replicas of a program, one upstream call.
//!
//! ```
//! use tower_singleflight_redis::RedisEngine;
//!
//! let engine = RedisEngine::open("redis://redis:6379")?.prefix("shop");
//! # Ok::<(), tower_singleflight_redis::OpenError>(())
//! ```
//!
//! The engine needs one primary of Redis 6.2 or newer, or Valkey 7.2 or newer: on its own, behind
//! one address that follows the primary, or managed. It speaks RESP3. It does not support Redis
//! Cluster yet.
//!
//! # Connections
//!
//! A process has two connections: one for small commands and for all that Redis tells, and one for
//! large payloads. A task makes both. It starts when a `Fleet` is made with the engine inside a
//! tokio runtime. If the fleet is made outside of one, or that runtime is shut down, the next call
//! inside a runtime starts the task. Requests that come before the connection go alone.
//!
//! When Redis does not answer for 250 ms (on the second connection, for a second), closes a
//! connection, or turns out to be a read-only replica, the engine is down, and all operations fail
//! at once. It connects again after 100 ms, and then less and less often, down to once in five
//! seconds. While it is down, replicas work alone.
//!
//! With the feature `tracing`, it reports each cause once for which it is down, and once that it is
//! up again.
//!
//! # What Redis has to allow
//!
//! Keys and channels begin with `tsf1:`, or with the [prefix](RedisEngine::prefix) and `1:`. This
//! ACL is enough:
//!
//! ```text
//! ACL SETUSER fleet on >password resetchannels ~tsf1:* &tsf1:* +@connection +@pubsub +@scripting +get +set +mget +del +unlink +exists +rename +hset +hdel +hkeys +pexpire +pttl
//! ```
//!
//! Nothing has to be kept when Redis restarts, so persistence can be off. With `maxmemory` reached,
//! `noeviction` and any other policy will do: replicas then make more calls of their own.
//!
//! # TLS
//!
//! The feature `tls` takes `rediss://` URLs. It uses rustls, and leaves the choice of a [crypto
//! provider] to the program. For native TLS, depend on `redis` with its feature
//! `tokio-native-tls-comp` instead.
//!
//! [crypto provider]: https://docs.rs/rustls/latest/rustls/crypto/struct.CryptoProvider.html

#![cfg_attr(docsrs, feature(doc_cfg))]

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod engine;
mod keys;
mod link;
mod pushes;
mod report;
mod scripts;
mod supervisor;
mod trouble;
mod unanswered;

use keys::Keys;
use redis::{Client, IntoConnectionInfo, ProtocolVersion, RedisError, RedisResult};
use std::{error::Error, fmt, sync::Arc};
use supervisor::Shared;

/// Redis or Valkey as the engine of a fleet. See the [crate's documentation](crate).
#[must_use = "an engine does nothing until a fleet is given it"]
pub struct RedisEngine {
    shared: Arc<Shared>,
}

impl RedisEngine {
    /// An engine for the server at this address. It does not connect yet.
    ///
    /// ```
    /// use tower_singleflight_redis::RedisEngine;
    ///
    /// let engine = RedisEngine::open("redis://:secret@redis:6379")?;
    /// assert!(RedisEngine::open("http://redis:6379").is_err());
    /// # Ok::<(), tower_singleflight_redis::OpenError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the URL cannot be read. A server that is not there, or cannot be used, is no error:
    /// replicas work alone until it is there.
    pub fn open(server: impl IntoConnectionInfo) -> Result<Self, OpenError> {
        let client = open(server).map_err(OpenError)?;
        Ok(Self { shared: Arc::new(Shared::new(client, "tsf")) })
    }

    /// What all keys and channels begin with, before the version of the protocol: `tsf`, unless it
    /// is set. Replicas with different prefixes do not meet.
    ///
    /// ```
    /// use tower_singleflight_redis::RedisEngine;
    ///
    /// // Keys are named `shop1:…`.
    /// let engine = RedisEngine::open("redis://redis:6379")?.prefix("shop");
    /// # Ok::<(), tower_singleflight_redis::OpenError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the prefix contains a brace: braces mark the part of a key that chooses its slot in a
    /// cluster.
    pub fn prefix(self, prefix: &str) -> Self {
        assert!(
            !prefix.contains(['{', '}']),
            "the prefix of a RedisEngine contains a brace: {prefix:?}"
        );
        Self { shared: Arc::new(Shared::new(self.shared.client.clone(), prefix)) }
    }

    fn keys(&self) -> &Keys {
        &self.shared.keys
    }
}

fn open(server: impl IntoConnectionInfo) -> RedisResult<Client> {
    let server = server.into_connection_info()?;
    let settings = server.redis_settings().clone();
    let settings = settings
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    // A pipeline is not to wait for the acknowledgement of the one before.
    let tcp = server.tcp_settings().clone().set_nodelay(true);
    Client::open(server.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// Ends the task.
impl Drop for RedisEngine {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("server", &self.shared.client.get_connection_info().addr().to_string())
            .field("keys", &self.shared.keys)
            .field("up", &self.shared.is_up())
            .finish()
    }
}

/// The address of a server cannot be read.
#[derive(Debug)]
pub struct OpenError(RedisError);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address of Redis cannot be read")
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
