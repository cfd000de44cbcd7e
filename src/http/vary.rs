//! `Vary`, read strictly (RFC 9110 §12.5.5).

use http::{HeaderMap, HeaderName, header::VARY};

use super::field::{Malformed, members};

/// What a response's selection depended on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Vary {
    /// `*`: on something no header tells.
    Anything,
    /// On these request headers, sorted, each once; none without `Vary`.
    Headers(Vec<HeaderName>),
}

impl Vary {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut names = Vec::new();
        for member in members(headers, &VARY) {
            if member == b"*" {
                return Ok(Self::Anything);
            }
            names.push(HeaderName::from_bytes(member).map_err(|_| Malformed)?);
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Ok(Self::Headers(names))
    }
}

#[cfg(test)]
mod tests;
