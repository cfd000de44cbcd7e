//! What does not compile: see `main.rs`. A target of its own, in which there is nothing unless that
//! asks for it.

#![cfg(compile_fail_cases)]
#![allow(dead_code)]

#[path = "cases/argument.rs"]
mod argument;
#[path = "cases/error.rs"]
mod error;
#[path = "cases/fleet_key.rs"]
mod fleet_key;
#[path = "cases/group.rs"]
mod group;
#[path = "cases/group_borrow.rs"]
mod group_borrow;
#[path = "cases/hyper_server.rs"]
mod hyper_server;
#[path = "cases/key.rs"]
mod key;
#[path = "cases/method.rs"]
mod method;
#[path = "cases/mode.rs"]
mod mode;
#[path = "cases/request_body.rs"]
mod request_body;
#[path = "cases/response.rs"]
mod response;
#[path = "cases/send.rs"]
mod send;
#[path = "cases/service.rs"]
mod service;
#[path = "cases/stacks.rs"]
mod stacks;
#[path = "cases/untyped.rs"]
mod untyped;
