//! Reads the start of a request's body.

use crate::http::{
    response::field::{LargestNumber, Malformed},
    with_body::{ReadBody, RequestBody},
};
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::{Body, Frame};
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The length of a body, as its size hint and `Content-Length` announce it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnnouncedLength {
    pub(super) at_least: u64,
    at_most: u64,
}

impl AnnouncedLength {
    pub(super) fn of(headers: &HeaderMap, body: &impl Body) -> Result<Self, Malformed> {
        let (hint, mut length) = (body.size_hint(), LargestNumber::default());
        headers.get_all(CONTENT_LENGTH).iter().try_for_each(|line| length.read(line))?;
        let (at_least, at_most) = (hint.lower(), hint.upper().unwrap_or(u64::MAX));
        let length = length.largest();
        Ok(Self {
            at_least: at_least.max(length.unwrap_or(0)),
            at_most: at_most.min(length.unwrap_or(u64::MAX)),
        })
    }

    /// True if `bytes` is the announced length. Otherwise the body was cut short, or the client
    /// lied.
    pub(super) fn admits(self, bytes: usize) -> bool {
        (self.at_least..=self.at_most).contains(&(bytes as u64))
    }
}

/// Reads a body up to its end, or until it is longer than `limit`, fails or has trailers.
///
/// It holds at most `limit` bytes, and the frame that exceeds them.
pub(super) struct ReadFuture<B> {
    body: Option<B>,
    data: JoinedData,
    limit: usize,
}

impl<B> ReadFuture<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { body: Some(body), data: JoinedData::default(), limit }
    }
}

impl<B: RequestBody> Future for ReadFuture<B> {
    type Output = ReadBody<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReadBody<B>> {
        let this = &mut *self;
        for _ in 0..FRAMES_AT_ONCE {
            let body = this.body.as_mut().expect("a future is not polled after it was ready");
            let next = match ready!(Pin::new(body).poll_frame(cx)) {
                None => {
                    this.body = None;
                    return Poll::Ready(ReadBody::whole(this.data.take()));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() <= this.limit - this.data.len() => {
                        this.data.push(data, this.limit);
                        continue;
                    }
                    Ok(data) => Ok(Frame::data(data)),
                    Err(trailers) => Ok(trailers),
                },
                Some(Err(error)) => Err(error),
            };
            let rest = this.body.take().expect("it was polled just now");
            return Poll::Ready(ReadBody::part(this.data.take(), next, rest));
        }
        // A body that is always ready must not block the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How many frames one poll reads.
const FRAMES_AT_ONCE: usize = 32;

/// Data in one piece. The only frame of a body is not copied. Several are copied together as they
/// come, because a small frame may keep a large buffer alive.
#[derive(Default)]
struct JoinedData {
    only: Bytes,
    joined: Vec<u8>,
}

impl JoinedData {
    fn len(&self) -> usize {
        self.only.len() + self.joined.len()
    }

    /// Adds a frame. `limit` is the length that is never exceeded.
    fn push(&mut self, data: Bytes, limit: usize) {
        if self.len() == 0 {
            self.only = data;
        } else if !data.is_empty() {
            let only = mem::take(&mut self.only);
            self.make_room(only.len() + data.len(), limit);
            self.joined.extend_from_slice(&only);
            self.joined.extend_from_slice(&data);
        }
    }

    /// Doubles the room, so that many small frames take linear time. It never exceeds `limit`.
    fn make_room(&mut self, bytes: usize, limit: usize) {
        let needed = self.joined.len() + bytes;
        if needed > self.joined.capacity() {
            let room = self.joined.capacity().saturating_mul(2).clamp(needed, limit.max(needed));
            self.joined.reserve_exact(room - self.joined.len());
        }
    }

    fn take(&mut self) -> Bytes {
        if self.joined.is_empty() {
            mem::take(&mut self.only)
        } else {
            mem::take(&mut self.joined).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_is_not_copied() {
        let (mut joined, data) = (JoinedData::default(), Bytes::from(vec![7; 9]));
        joined.push(Bytes::new(), 9);
        joined.push(data.clone(), 9);
        joined.push(Bytes::new(), 9);
        assert_eq!(joined.take().as_ptr(), data.as_ptr());
    }

    #[test]
    fn many_frames_are_joined_in_room_that_doubles_up_to_the_limit() {
        let (mut joined, mut rooms) = (JoinedData::default(), Vec::new());
        for byte in 0..1000 {
            joined.push(Bytes::from(vec![byte as u8]), 1000);
            rooms.push(joined.joined.capacity());
        }
        rooms.dedup();
        assert!(rooms.len() <= 12 && rooms.iter().all(|room| *room <= 1000), "{rooms:?}");
        let all: Vec<_> = (0..1000).map(|byte| byte as u8).collect();
        assert_eq!(joined.take(), all);
        assert_eq!(joined.len(), 0);
    }
}
