//! Parses `Vary` strictly (RFC 9110 §12.5.5).

use crate::http::response::field::{Malformed, members_of};
use http::{HeaderName, HeaderValue};

/// The parts of a request on which the choice of a response depended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Vary {
    /// `*`: more than its headers.
    Anything,
    /// These headers, sorted and each once. Empty without `Vary`.
    Headers(Vec<HeaderName>),
}

impl Default for Vary {
    fn default() -> Self {
        Self::Headers(Vec::new())
    }
}

impl Vary {
    pub(in crate::http) fn read(&mut self, line: &HeaderValue) -> Result<(), Malformed> {
        let Self::Headers(names) = self else { return Ok(()) };
        for member in members_of(line) {
            if member == b"*" {
                *self = Self::Anything;
                return Ok(());
            }
            names.push(HeaderName::from_bytes(member).map_err(|_| Malformed)?);
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
