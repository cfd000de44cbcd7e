//! Parses `Cache-Control` strictly (RFC 9111 §5.2).
//!
//! Other crates are too lenient, and private responses would be shared: `headers` compares
//! directive names case-sensitively and drops `private="x"` as unknown, `http-cache-semantics`
//! splits inside quoted strings and skips lines that it cannot read.

use crate::http::response::field::{Malformed, is_token_byte, number};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// The directives that decide about sharing. If two disagree, the stricter counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct CacheControl {
    pub(in crate::http) no_store: bool,
    pub(in crate::http) no_cache: bool,
    pub(in crate::http) private: bool,
    pub(in crate::http) public: bool,
    /// In seconds. An unreadable argument counts as 0, the strictest reading in requests and
    /// responses.
    pub(in crate::http) max_age: Option<u64>,
    pub(in crate::http) s_maxage: Option<u64>,
}

impl CacheControl {
    /// Reads all lines of a field with the syntax of `Cache-Control`, such as `Pragma`.
    pub(in crate::http) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Self, Malformed> {
        let mut found = Self::default();
        headers.get_all(name).iter().try_for_each(|line| found.read(line))?;
        Ok(found)
    }

    /// Reads one more line.
    pub(in crate::http) fn read(&mut self, line: &HeaderValue) -> Result<(), Malformed> {
        let mut rest = line.as_bytes();
        while let Some(directive) = next_directive(&mut rest)? {
            self.add(directive);
        }
        Ok(())
    }

    fn add(&mut self, directive: Directive<'_>) {
        let is = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("max-age") {
            shortest(&mut self.max_age, directive.argument);
        } else if is("s-maxage") {
            shortest(&mut self.s_maxage, directive.argument);
        }
    }

    /// True if a directive lets a shared cache store a response whose status does not (RFC 9111
    /// §3). Another directive may still forbid it.
    pub(in crate::http) fn allows_storing(&self) -> bool {
        self.public || self.lifetime().is_some_and(|seconds| seconds > 0)
    }

    /// Returns for how long from now the response is fresh (RFC 9111 §4.2): its lifetime minus its
    /// `Age`. `None`: it is not, or must not be reused.
    pub(in crate::http) fn fresh_for(&self, age: u64) -> Option<Duration> {
        if self.no_store || self.no_cache || self.private {
            return None;
        }
        let left = self.lifetime()?.checked_sub(age).filter(|left| *left > 0)?;
        Some(Duration::from_secs(left))
    }

    fn lifetime(&self) -> Option<u64> {
        self.s_maxage.or(self.max_age)
    }
}

fn shortest(kept: &mut Option<u64>, argument: Option<&[u8]>) {
    let seconds = argument.and_then(|digits| number(digits).ok()).unwrap_or(0);
    *kept = Some(kept.map_or(seconds, |known| known.min(seconds)));
}

/// `token [ "=" ( token / quoted-string ) ]`, without the quotes.
struct Directive<'a> {
    name: &'a [u8],
    argument: Option<&'a [u8]>,
}

/// Reads one directive and the comma after it. `None`: the line is at its end.
fn next_directive<'a>(rest: &mut &'a [u8]) -> Result<Option<Directive<'a>>, Malformed> {
    while let [b',' | b' ' | b'\t', tail @ ..] = *rest {
        *rest = tail;
    }
    if rest.is_empty() {
        return Ok(None);
    }
    let name = token(rest)?;
    let argument = argument(rest)?;
    *rest = rest.trim_ascii_start();
    match rest.first() {
        None | Some(b',') => Ok(Some(Directive { name, argument })),
        Some(_) => Err(Malformed),
    }
}

fn argument<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    match *rest {
        [b'=', b'"', tail @ ..] => {
            *rest = tail;
            quoted(rest).map(Some)
        }
        [b'=', tail @ ..] => {
            *rest = tail;
            token(rest).map(Some)
        }
        _ => Ok(None),
    }
}

fn token<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = rest.iter().take_while(|byte| is_token_byte(byte)).count();
    let (token, tail) = rest.split_at(length);
    *rest = tail;
    if token.is_empty() { Err(Malformed) } else { Ok(token) }
}

/// Reads a quoted string behind its opening quote. Escapes stay as they are: no argument that is
/// used has any.
fn quoted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let text = *rest;
    let mut at = 0;
    loop {
        match text.get(at) {
            Some(b'"') => break,
            Some(b'\\') => at += 2,
            Some(byte) if byte.is_ascii() => at += 1,
            _ => return Err(Malformed),
        }
    }
    *rest = &text[at + 1..];
    Ok(&text[..at])
}

#[cfg(test)]
mod tests;
