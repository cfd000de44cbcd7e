//! How a call ended, and whether it may have.

use crate::{
    facts::{Facts, Limits},
    injected::Panic,
    world::World,
};
use std::any::Any;

/// The names under which the ends of a part's calls are counted.
pub(crate) struct Events {
    pub(crate) part: &'static str,
    pub(crate) led: &'static str,
    pub(crate) followed: &'static str,
    pub(crate) panicked: &'static str,
    pub(crate) lost: &'static str,
    pub(crate) left: &'static str,
    pub(crate) forgot: &'static str,
}

impl Events {
    pub(crate) fn all(&self) -> [&'static str; 6] {
        [self.led, self.followed, self.panicked, self.lost, self.left, self.forgot]
    }

    /// `asked` got what the work of `from` brought.
    pub(crate) fn received(&self, world: &World, asked: &Facts, from: &Facts, limits: Limits) {
        world.report.count(if asked.id == from.id { self.led } else { self.followed });
        if let Err(wrong) = asked.accept(from, world.now(), limits) {
            world.report.fail(self.part, &wrong);
        }
    }

    /// `is_doomed`: it was made in a runtime that went down.
    pub(crate) fn caught(
        &self,
        world: &World,
        asked: &Facts,
        payload: &(dyn Any + Send),
        is_doomed: bool,
    ) {
        let wrong = match Panic::of(payload) {
            Panic::Injected(text)
                if !text.starts_with("by the work") || text.ends_with(&asked.name()) =>
            {
                world.report.count(self.panicked);
                return;
            }
            Panic::Lost if is_doomed => {
                world.report.count(self.lost);
                return;
            }
            Panic::Injected(text) => format!("a panic {text}"),
            Panic::Lost => "no answer: its flight was lost, though its own runtime is there".into(),
            Panic::Other(text) => format!("a panic: {text}"),
        };
        world.report.fail(self.part, &format!("{} got {wrong}", asked.tell()));
    }
}
