//! The bodies of requests.

use super::policy::LIMIT;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use std::{error::Error, fmt, time::Duration};
use tokio::{task::yield_now, time::sleep};

pub(super) type UploadBody = UnsyncBoxBody<Bytes, Broken>;

/// The client broke off.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client broke off")
    }
}

impl Error for Broken {}

/// In the trailers: how many bytes came before.
pub(super) const TRAILER: HeaderName = HeaderName::from_static("x-bytes");

/// A body begins with one of these if its key is no plain one.
pub(super) const PANICS: u8 = b'P';
pub(super) const WRITES: u8 = b'W';
const READS: u8 = b'R';

#[derive(Clone)]
pub(super) struct Upload {
    pub(super) data: Bytes,
    pub(super) has_trailers: bool,
    /// After so many bytes.
    pub(super) breaks: Option<usize>,
    /// In frames of so many bytes.
    frame: usize,
    is_slow: bool,
}

impl Upload {
    pub(super) fn any(rng: &mut Rng) -> Self {
        let kind = match rng.u8(..40) {
            0 => PANICS,
            1..4 => WRITES,
            _ => READS,
        };
        let length = match rng.u8(..16) {
            0 => 0,
            1 => LIMIT,
            2 => LIMIT + 1,
            3 => LIMIT * 3,
            n => usize::from(n % 2) * 30 + 3,
        };
        let mut data = vec![rng.u8(b'a'..=b'b'); length];
        if let Some(first) = data.first_mut() {
            *first = kind;
        }
        let breaks = (rng.u8(..24) == 0).then(|| rng.usize(..=length));
        let frame = [1, 7, length.max(1), length.max(1)][rng.usize(..4)];
        Self {
            data: data.into(),
            has_trailers: rng.u8(..16) == 0,
            breaks,
            frame,
            is_slow: rng.u8(..8) == 0,
        }
    }

    pub(super) fn is(&self, kind: u8) -> bool {
        self.data.first() == Some(&kind)
    }

    pub(super) fn body(&self) -> UploadBody {
        let end = self.breaks.unwrap_or(self.data.len());
        let mut frames: Vec<_> = self.data[..end]
            .chunks(self.frame)
            .map(|data| Ok(Frame::data(Bytes::copy_from_slice(data))))
            .collect();
        if self.breaks.is_some() {
            frames.push(Err(Broken));
        } else if self.has_trailers {
            let trailers = HeaderMap::from_iter([(TRAILER, HeaderValue::from(self.data.len()))]);
            frames.push(Ok(Frame::trailers(trailers)));
        }
        let is_slow = self.is_slow;
        let frames =
            stream::iter(frames.into_iter().enumerate()).then(move |(nth, frame)| async move {
                if is_slow && nth % 16 == 1 {
                    sleep(Duration::from_millis(1)).await;
                } else if nth % 8 == 1 {
                    yield_now().await;
                }
                frame
            });
        BodyExt::boxed_unsync(StreamBody::new(frames))
    }
}

/// All that an answer depends on.
pub(super) fn identity(method: &str, user: &str, data: &[u8], has_trailers: bool) -> String {
    // FNV-1a: the same in each run.
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{method} {user} {} {hash:x} {has_trailers}", data.len())
}
