//! The few bits of field syntax that several rules need (RFC 9110 §5.6).

use http::{HeaderMap, HeaderName, HeaderValue};

/// A field that does not follow its grammar: whoever sees it must not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The members of a comma list, over all lines of the field.
///
/// Empty members are skipped (RFC 9110 §5.6.1.2). Quoted strings are not
/// understood: fit only for lists of tokens, or where one match too many
/// is harmless.
pub(super) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().flat_map(members_of)
}

/// The members of one line.
pub(super) fn members_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = line.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// A run of digits; a number too large for us is the largest we have
/// (RFC 9111 §1.2.2).
pub(super) fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(digits.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The largest number in the field, over all lines and members.
pub(super) fn largest_number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Malformed> {
    members(headers, name).try_fold(None, |max, member| {
        let n = number(member)?;
        Ok(Some(max.map_or(n, |m: u64| m.max(n))))
    })
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests;
