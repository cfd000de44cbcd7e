//! The few bits of field syntax that several rules need (RFC 9110 §5.6).

use http::HeaderValue;

/// A field that does not follow its grammar: whoever sees it must not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Malformed;

/// The members of one line of a comma list.
///
/// Empty members are skipped (RFC 9110 §5.6.1.2). Quoted strings are not
/// understood: fit only for lists of tokens, or where one match too many
/// is harmless.
pub(in crate::http) fn members_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = line.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// A run of digits; a number too large for us is the largest we have
/// (RFC 9111 §1.2.2).
pub(in crate::http) fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(digits.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The largest number in a field, over all lines and members, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct LargestNumber(Option<u64>);

impl LargestNumber {
    pub(in crate::http) fn read(&mut self, line: &HeaderValue) -> Result<(), Malformed> {
        // As a rule it is the only one.
        if let Ok(only) = number(line.as_bytes()) {
            self.0 = self.0.max(Some(only));
            return Ok(());
        }
        for member in members_of(line) {
            self.0 = self.0.max(Some(number(member)?));
        }
        Ok(())
    }

    pub(in crate::http) fn largest(self) -> Option<u64> {
        self.0
    }
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(in crate::http) fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests;
