//! Bodies on their way through.

use super::hop;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::BoxError;
use tower_singleflight::SharedError;

/// What the upstream gets. The layer can look into a body of this type: so a `GET` that only seems
/// to have a body coalesces too.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, SharedError>;

/// Passes frames on as they come, and never takes a body that was cut short for a whole one.
pub(super) struct Passage {
    body: Incoming,
    /// Of an HTTP/2 stream, which tells its end for certain.
    is_stream: bool,
}

impl Passage {
    pub(super) fn of_request(body: Incoming, is_stream: bool) -> RequestBody {
        Self { body, is_stream }.map_err(SharedError::new).boxed_unsync()
    }

    pub(super) fn of_response(body: Incoming) -> Self {
        Self { body, is_stream: false }
    }

    /// hyper ends a stream that was reset with `NO_ERROR` as if it were whole.
    fn is_cut_short(&self) -> bool {
        self.is_stream && !self.body.is_end_stream()
    }
}

impl Body for Passage {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip_trailers(trailers);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None if self.is_cut_short() => Some(Err("the stream was reset".into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
