//! Parses the field syntax that several headers share (RFC 9110 §5.6).

use http::HeaderValue;

/// A field does not follow its grammar, so its message must not be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Malformed;

/// Splits one line of a comma list into its members, without empty ones (RFC 9110 §5.6.1.2).
///
/// A comma in a quoted string splits too. Use it only for lists of tokens, or where a false match
/// is harmless.
pub(in crate::http) fn members_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = line.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// Parses a run of digits. A larger number than `u64::MAX` counts as `u64::MAX` (RFC 9111 §1.2.2).
pub(in crate::http) fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(digits
        .iter()
        .fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The largest number in a field, over all lines and members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct LargestNumber(Option<u64>);

impl LargestNumber {
    pub(in crate::http) fn read(&mut self, line: &HeaderValue) -> Result<(), Malformed> {
        // Most fields have a single number.
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

/// True if the byte may be in a token (RFC 9110 §5.6.2).
pub(in crate::http) fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests;
