//! Replicas in processes of their own, one upstream, and all that may happen to Redis between them.

mod calls;
mod faults;
mod hostile;
mod replica;
#[allow(dead_code)]
#[path = "../it/server.rs"]
mod server;
mod upstream;
