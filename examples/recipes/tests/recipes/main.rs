//! Each recipe as it is run: started, driven by real clients over sockets, and stopped.
#![cfg(unix)]

mod cache;
mod client;
mod fleet;
mod forget;
mod graphql;
mod hold;
mod hyper_server;
mod json_rpc;
mod llm_gateway;
mod program;
mod repository;
mod sqlite;
mod stack;
mod told;
