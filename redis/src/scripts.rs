//! The scripts: one for each operation that changes something, and runs in one step.

use redis::Cmd;
use std::sync::OnceLock;

/// A script that the server has loaded, as a rule.
pub(crate) struct Script {
    source: &'static str,
    hash: OnceLock<String>,
}

macro_rules! scripts {
    ($($name:ident: $file:literal),*) => {
        $(pub(crate) static $name: Script =
            Script::new(include_str!(concat!("lua/", $file, ".lua")));)*

        static ALL: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    ENTER: "enter", SHUT: "shut", CLOSE: "close", LAND: "land",
    RENEW: "renew", CHECK: "check", RELEASE: "release",
    DONE: "done", SEAL: "seal"
}

impl Script {
    const fn new(source: &'static str) -> Self {
        Self { source, hash: OnceLock::new() }
    }

    /// Runs the script on these keys. Arguments follow.
    pub(crate) fn on(&self, keys: &[String]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.hash()).arg(keys.len()).arg(keys);
        command
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

/// The commands that load all scripts.
pub(crate) fn load() -> impl ExactSizeIterator<Item = Cmd> {
    ALL.iter().map(|script| {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script.source);
        command
    })
}
