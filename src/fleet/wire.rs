//! The plain text of a payload: an answer, or why there is none.
//!
//! All numbers but the status are written seven bits a byte, the lowest first. Texts have their
//! length before them. Response extensions and hop-by-hop fields are not written.

use bytes::{Buf, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

/// How a flight landed.
#[derive(Debug)]
pub(crate) enum WireResult {
    /// The requests that wait take this answer.
    Value(Box<Answer>),
    /// The requests that wait make the call themselves.
    Go(Go),
}

/// Why there is no answer for the requests that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// The response is for its leader only. The number stands for the reason.
    Veto(u8),
    /// The body is larger than the fleet takes.
    TooLarge,
    /// The body takes longer than the fleet waits.
    TooSlow,
    /// The call or its body failed.
    Failed,
    /// The flight was closed too long after its head was known.
    Late,
}

/// A whole response, and the requests that it is for.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The headers outside the partition that the response varies by, each with the lines in the
    /// leader's request.
    pub(crate) vary: Vec<(HeaderName, Vec<HeaderValue>)>,
    pub(crate) head: Response<()>,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

// The verdicts.

const VALUE: u8 = 0;
const VETO: u8 = 1;
const TOO_LARGE: u8 = 2;
const TOO_SLOW: u8 = 3;
const FAILED: u8 = 4;
const LATE: u8 = 5;

const VERSIONS: [Version; 5] =
    [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];

/// Fields for one connection only. `Connection` names others (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl WireResult {
    /// Writes the plain text of a payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Value(answer) => answer.encode(),
            Self::Go(Go::Veto(reason)) => vec![VETO, *reason],
            Self::Go(Go::TooLarge) => vec![TOO_LARGE],
            Self::Go(Go::TooSlow) => vec![TOO_SLOW],
            Self::Go(Go::Failed) => vec![FAILED],
            Self::Go(Go::Late) => vec![LATE],
        }
    }

    /// Reads the plain text of a payload. `None` if it is not one. The body shares the memory of
    /// `plain`.
    pub(crate) fn decode(plain: Bytes) -> Option<Self> {
        let mut from = Unread(plain);
        let landed = match from.byte()? {
            VALUE => Self::Value(Box::new(Answer::decode(&mut from)?)),
            VETO => Self::Go(Go::Veto(from.byte()?)),
            TOO_LARGE => Self::Go(Go::TooLarge),
            TOO_SLOW => Self::Go(Go::TooSlow),
            FAILED => Self::Go(Go::Failed),
            LATE => Self::Go(Go::Late),
            _ => return None,
        };
        from.0.is_empty().then_some(landed)
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(1024 + self.body.len());
        to.push(VALUE);
        push_number(&mut to, self.vary.len());
        for (name, lines) in &self.vary {
            push_text(&mut to, name.as_str().as_bytes());
            push_number(&mut to, lines.len());
            lines.iter().for_each(|line| push_value(&mut to, line));
        }
        to.extend_from_slice(&self.head.status().as_u16().to_be_bytes());
        to.push(
            VERSIONS.iter().position(|version| *version == self.head.version()).unwrap_or_default()
                as u8,
        );
        let connection = self.head.headers();
        push_fields(&mut to, connection, connection);
        push_text(&mut to, &self.body);
        to.push(self.trailers.is_some().into());
        self.trailers.iter().for_each(|trailers| push_fields(&mut to, trailers, connection));
        to
    }

    fn decode(from: &mut Unread) -> Option<Self> {
        let vary = (0..from.number()?)
            .map(|_| Some((from.name()?, from.lines()?)))
            .collect::<Option<_>>()?;
        let mut head = Response::new(());
        *head.status_mut() =
            StatusCode::from_u16(u16::from_be_bytes([from.byte()?, from.byte()?])).ok()?;
        *head.version_mut() = *VERSIONS.get(usize::from(from.byte()?))?;
        *head.headers_mut() = from.fields()?;
        let body = from.text()?;
        let trailers = if from.flag()? { Some(from.fields()?) } else { None };
        Some(Self { vary, head, body, trailers })
    }
}

fn push_number(to: &mut Vec<u8>, mut number: usize) {
    while number >= MORE {
        to.push((number % MORE + MORE) as u8);
        number /= MORE;
    }
    to.push(number as u8);
}

/// Marks a byte that is not the last of its number.
const MORE: usize = 0x80;

fn push_text(to: &mut Vec<u8>, text: &[u8]) {
    push_number(to, text.len());
    to.extend_from_slice(text);
}

fn push_value(to: &mut Vec<u8>, value: &HeaderValue) {
    to.push(value.is_sensitive().into());
    push_text(to, value.as_bytes());
}

/// Writes the fields that are not for one connection only. `head` has the `Connection` header.
fn push_fields(to: &mut Vec<u8>, fields: &HeaderMap, head: &HeaderMap) {
    let lines = || fields.iter().filter(|(name, _)| !is_hop_by_hop(name, head));
    push_number(to, lines().count());
    for (name, value) in lines() {
        push_text(to, name.as_str().as_bytes());
        push_value(to, value);
    }
}

fn is_hop_by_hop(name: &HeaderName, head: &HeaderMap) -> bool {
    let connection = head.get_all(CONNECTION).into_iter();
    let mut named = connection
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    HOP_BY_HOP.contains(name)
        || named.any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// The rest of a plain text.
struct Unread(Bytes);

impl Unread {
    fn byte(&mut self) -> Option<u8> {
        (!self.0.is_empty()).then(|| self.0.get_u8())
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = usize::from(self.byte()?);
            let bits = byte % MORE;
            let shifted = bits << shift;
            // Bits that do not fit, or that the writer leaves out.
            if shifted >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            number |= shifted;
            if byte < MORE {
                return Some(number);
            }
        }
        None
    }

    /// Shares the memory of the plain text.
    fn text(&mut self) -> Option<Bytes> {
        let length = self.number()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn name(&mut self) -> Option<HeaderName> {
        HeaderName::from_bytes(&self.text()?).ok()
    }

    fn value(&mut self) -> Option<HeaderValue> {
        let is_sensitive = self.flag()?;
        // A copy, so that a header that is kept does not keep the body.
        let mut value = HeaderValue::from_bytes(&self.text()?).ok()?;
        value.set_sensitive(is_sensitive);
        Some(value)
    }

    fn lines(&mut self) -> Option<Vec<HeaderValue>> {
        (0..self.number()?).map(|_| self.value()).collect()
    }

    fn fields(&mut self) -> Option<HeaderMap> {
        let mut fields = HeaderMap::new();
        for _ in 0..self.number()? {
            // A map takes some 32,000 fields.
            fields.try_append(self.name()?, self.value()?).ok()?;
        }
        Some(fields)
    }
}

#[cfg(test)]
mod tests;
