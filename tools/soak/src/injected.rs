//! Panics on purpose, told from those that are not.

use std::{
    any::Any,
    panic::{self, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

const INJECTED: &str = "soak: injected";
/// What the crate says to a waiter whose flight went down with its runtime.
const LOST: &str = "tower-singleflight: the flight was lost";

/// What a caught panic says.
pub(crate) enum Panic {
    /// On purpose, and what follows.
    Injected(String),
    Lost,
    Other(String),
}

impl Panic {
    pub(crate) fn of(payload: &(dyn Any + Send)) -> Self {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "a payload that is no text",
        };
        match text.strip_prefix(INJECTED) {
            Some(rest) => Self::Injected(rest.trim_start().to_owned()),
            None if text.starts_with(LOST) => Self::Lost,
            None => Self::Other(text.to_owned()),
        }
    }
}

/// Half of them by way of the panic hook.
pub(crate) fn inject(through_hook: bool, what: &str) -> ! {
    let text = format!("{INJECTED} {what}");
    if through_hook {
        panic!("{text}")
    }
    resume_unwind(Box::new(text))
}

/// Keeps the terminal for the panics that nobody ordered, and hands these to `unexpected`.
pub(crate) fn hook(unexpected: impl Fn(String) + Send + Sync + 'static) {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Panic::Other(text) = Panic::of(info.payload()) {
            print(info);
            unexpected(format!(
                "{text}, at {}",
                info.location().map(ToString::to_string).unwrap_or_default()
            ));
        }
    }));
}

/// In a value of ours: a panic to come, once at most.
#[derive(Debug, Default)]
pub(crate) struct Trap(AtomicBool);

impl Trap {
    pub(crate) fn set(is_set: bool) -> Self {
        Self(AtomicBool::new(is_set))
    }

    /// Not while another panic is under way: two end the process, and the fault would be ours.
    pub(crate) fn spring(&self, what: &str) {
        if self.0.load(SeqCst) && !thread::panicking() && self.0.swap(false, SeqCst) {
            inject(false, what);
        }
    }
}
