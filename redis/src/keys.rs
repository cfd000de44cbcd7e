//! The names of keys and channels.

use tower_singleflight::fleet::engine::{Name, Replica, Tag, Token};

/// The version of what is stored and told. Replicas with another never meet.
const PROTOCOL: u32 = 1;

/// The keys and channels of one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// With the version of the protocol, and a colon.
    prefix: String,
}

/// The keys of one name. A flight is part of some.
pub(crate) struct NameKeys {
    /// With the tag in braces: all keys of a tag are in one slot of a cluster.
    slot: String,
    part: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}{PROTOCOL}:") }
    }

    pub(crate) fn of(&self, name: &Name) -> NameKeys {
        NameKeys { slot: self.slot(name.tag()), part: name.part().to_string() }
    }

    /// E: the epoch of a tag.
    pub(crate) fn epoch(&self, tag: &Tag) -> String {
        self.slot(tag) + "e"
    }

    /// The channel of a replica.
    pub(crate) fn inbox(&self, replica: Replica) -> String {
        format!("{}{replica}", self.inboxes())
    }

    /// The channel of each replica, but for its number.
    pub(crate) fn inboxes(&self) -> String {
        format!("{}i:", self.prefix)
    }

    /// The channel of a group.
    pub(crate) fn group(&self, group: &str) -> String {
        format!("{}g:{group}", self.prefix)
    }

    fn slot(&self, tag: &Tag) -> String {
        format!("{}{{{tag}}}:", self.prefix)
    }
}

impl NameKeys {
    /// F: the open flight.
    pub(crate) fn open(&self) -> String {
        format!("{}f:{}", self.slot, self.part)
    }

    /// W: the tokens that wait for the open flight.
    pub(crate) fn waiting(&self) -> String {
        format!("{}w:{}", self.slot, self.part)
    }

    /// R: the tokens that wait for a closed flight.
    pub(crate) fn closed(&self, flight: Token) -> String {
        format!("{}r:{flight}", self.slot)
    }

    /// V: the payload of a flight that landed.
    pub(crate) fn payload(&self, flight: Token) -> String {
        format!("{}v:{flight}", self.slot)
    }

    /// E: the epoch.
    pub(crate) fn epoch(&self) -> String {
        format!("{}e", self.slot)
    }

    /// F, W and R: what a flight that is open or closed can be found by.
    pub(crate) fn flight(&self, flight: Token) -> [String; 3] {
        [self.open(), self.waiting(), self.closed(flight)]
    }
}
