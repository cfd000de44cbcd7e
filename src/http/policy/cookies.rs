//! The cookies that are compared, if the whole `Cookie` header is not.

use super::headers::{Line, Lines};
use crate::http::response::field::{Malformed, is_token_byte};

/// The cookies that are compared instead of the whole header.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    /// The place of the `Cookie` header among the compared headers.
    pub(super) header: usize,
    /// The names of the compared cookies. Each has a place of its own.
    pub(super) listed: Vec<(String, usize)>,
}

impl Cookies {
    pub(super) fn new(header: usize) -> Self {
        Self { header, listed: Vec::new() }
    }

    pub(super) fn list(&mut self, name: String, place: usize) {
        self.listed.push((name, place));
    }

    pub(super) fn lists(&self, name: &str) -> bool {
        self.place_of(name.as_bytes()).is_some()
    }

    pub(super) fn header(&self) -> usize {
        self.header
    }

    pub(super) fn has_place(&self, place: usize) -> bool {
        self.listed.iter().any(|(_, known)| *known == place)
    }

    fn place_of(&self, name: &[u8]) -> Option<usize> {
        self.listed.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, place)| *place)
    }

    /// Replaces the `Cookie` lines by one line for each listed cookie. If a `Cookie` line is
    /// malformed, all of them stay as they are, because servers disagree about the cookies in such
    /// a header.
    pub(super) fn pick(&self, parting: &mut Lines<'_, 8>) {
        let lines = parting.iter().filter(|line| line.place == self.header);
        if let Ok(found) = self.find(lines) {
            parting.retain(|line| line.place != self.header);
            parting.extend(found);
        }
    }

    fn find<'a: 'l, 'l>(
        &self,
        lines: impl Iterator<Item = &'l Line<'a>>,
    ) -> Result<Lines<'a, 8>, Malformed> {
        let mut found = Lines::new();
        for line in lines {
            for pair in pairs_of(line.value) {
                let (name, value) = pair?;
                found.extend(self.place_of(name).map(|place| Line { place, value, ..*line }));
            }
        }
        Ok(found)
    }
}

/// Returns whether a cookie can have this name (RFC 6265 §4.1.1).
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(is_token_byte)
}

/// Returns the names and values of the cookies in a line. It parses strictly (RFC 6265 §4.2.1),
/// except for the spaces between cookies.
fn pairs_of(line: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Malformed>> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty()).map(split_pair)
}

/// Splits a cookie into its name and its value, which keeps its quotes.
fn split_pair(pair: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let equals = pair.iter().position(|byte| *byte == b'=').ok_or(Malformed)?;
    let (name, value) = (&pair[..equals], &pair[equals + 1..]);
    if is_name(name) && is_value(value) { Ok((name, value)) } else { Err(Malformed) }
}

fn is_value(value: &[u8]) -> bool {
    let bare = if let [b'"', inner @ .., b'"'] = value { inner } else { value };
    bare.iter().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Option<Vec<(&str, &str)>> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        pairs_of(line.as_bytes())
            .map(|pair| pair.ok().map(|(name, value)| (text(name), text(value))))
            .collect()
    }

    #[test]
    fn cookies_are_found_with_any_spaces_between_them() {
        for line in ["a=1; b=2", "a=1;b=2", " a=1 ;\tb=2 ", ";a=1;; b=2;"] {
            assert_eq!(pairs(line), Some(vec![("a", "1"), ("b", "2")]), "{line:?}");
        }
        assert_eq!(pairs(""), Some(vec![]));
        assert_eq!(pairs("a="), Some(vec![("a", "")]));
        assert_eq!(
            pairs("a=b=c; a=\"d\"; A=\"\""),
            Some(vec![("a", "b=c"), ("a", "\"d\""), ("A", "\"\"")])
        );
    }

    #[test]
    fn a_line_with_anything_odd_in_it_cannot_be_read() {
        let odd = [
            "a",
            "=1",
            "a =1",
            "a= 1",
            "a b=1",
            "a=1 b=2",
            "a=1\tb=2",
            "a=1,b=2",
            "a,b=1",
            "a=\"",
            "a=\"1",
            "a=1\"",
            "a=\"1;2\"",
            "a=\"1\"2\"",
            "a=\\1",
            "(a)=1",
            "a=é",
            "é=1",
        ];
        for line in odd {
            assert_eq!(pairs(line), None, "{line:?}");
            assert_eq!(pairs(&format!("x=1; {line}; y=2")), None, "{line:?}");
        }
        let control = b"a=\x01";
        assert!(pairs_of(control).any(|pair| pair.is_err()));
    }
}
