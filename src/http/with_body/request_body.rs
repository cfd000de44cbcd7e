//! Request bodies that can be read and handed on.

use crate::http::{
    body::{BodyConfig, SharedBody, longer},
    policy::HttpPolicy,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{
    Empty, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};
use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

/// A request body that a layer made with [`with_body`] can read and hand on.
///
/// The layer reads the start of a body and then hands on a body of the same type, with the same
/// bytes. The trait is implemented for `axum::body::Body` (feature `axum`), for http-body-util's
/// `Full`, `Empty`, `BoxBody` and `UnsyncBoxBody`, and for [`SharedBody`].
///
/// Implement it for a body of your own by putting the [`ReadBody`] inside, which is a body with the
/// same error:
///
/// ```
/// use bytes::Bytes;
/// use http_body::{Body, Frame, SizeHint};
/// use http_body_util::combinators::UnsyncBoxBody;
/// use std::{io, pin::Pin, task::{Context, Poll}};
/// use tower_singleflight::{ReadBody, RequestBody};
///
/// struct Upload(UnsyncBoxBody<Bytes, io::Error>);
///
/// impl RequestBody for Upload {
///     fn from_read(read: ReadBody<Self>) -> Self {
///         Self(UnsyncBoxBody::new(read))
///     }
/// }
///
/// impl Body for Upload {
///     type Data = Bytes;
///     type Error = io::Error;
///
///     fn poll_frame(
///         mut self: Pin<&mut Self>,
///         cx: &mut Context<'_>,
///     ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
///         Pin::new(&mut self.0).poll_frame(cx)
///     }
///
///     fn size_hint(&self) -> SizeHint {
///         self.0.size_hint()
///     }
///
///     fn is_end_stream(&self) -> bool {
///         self.0.is_end_stream()
///     }
/// }
/// ```
///
/// A foreign type that cannot be made of another body, such as hyper's `Incoming`, is boxed in
/// front of the layer:
/// `.map_request(|request: Request<Incoming>| request.map(BodyExt::boxed_unsync))`.
///
/// [`with_body`]: crate::SingleflightLayer::with_body
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` cannot be read and handed on",
    label = "this request body does not implement `RequestBody`",
    note = "box the body in front of the layer: `.map_request(|request: Request<_>| \
            request.map(http_body_util::BodyExt::boxed_unsync))`",
    note = "for `axum::body::Body`, turn on the feature `axum`",
    note = "or implement `tower_singleflight::RequestBody` for a body of your own"
)]
pub trait RequestBody: Body<Data = Bytes, Error: Send> + Unpin + Send + Sized + 'static {
    /// Makes a body of this type from one that was read. The result must give the same data,
    /// trailers and error.
    ///
    /// A panic in it reaches the caller of that request alone.
    fn from_read(read: ReadBody<Self>) -> Self;
}

/// A body whose start was read. It gives what was read again, and then the rest.
///
/// See [`RequestBody`].
pub struct ReadBody<B: Body> {
    /// The data that was read.
    start: Bytes,
    /// The frame or error after `start`.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    /// `None` if the body was read to its end.
    rest: Option<B>,
}

impl<B: Body> ReadBody<B> {
    /// A body that was read to its end.
    pub(super) fn whole(data: Bytes) -> Self {
        Self { start: data, next: None, rest: None }
    }

    /// A body that was read up to `next`.
    pub(super) fn part(start: Bytes, next: Result<Frame<Bytes>, B::Error>, rest: B) -> Self {
        Self { start, next: Some(next), rest: Some(rest) }
    }

    /// Returns the data of a body that was read to its end, without trailers. A clone copies
    /// nothing.
    pub(super) fn data(&self) -> Option<Bytes> {
        self.rest.is_none().then(|| self.start.clone())
    }

    /// Returns the data of a body that was read to its end. `Err`: it has more, or trailers, or an
    /// error.
    ///
    /// This helps for types that are made of bytes and not of another body.
    #[allow(clippy::result_large_err, reason = "it moves the body, as the caller would")]
    pub fn into_data(self) -> Result<Bytes, Self> {
        if self.rest.is_none() { Ok(self.start) } else { Err(self) }
    }
}

/// Nothing in it is pinned in place but the body, which is `Unpin` where it is polled.
impl<B: Body> Unpin for ReadBody<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for ReadBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.start.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.start)))));
        }
        match (self.next.take(), &mut self.rest) {
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (next, _) => Poll::Ready(next),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let next = self.next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref());
        longer(&rest, (self.start.len() + next.map_or(0, Bytes::len)) as u64)
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_empty()
            && self.next.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl<B: Body> fmt::Debug for ReadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBody").field("read", &self.start.len()).finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl RequestBody for axum::body::Body {
    fn from_read(read: ReadBody<Self>) -> Self {
        Self::new(read)
    }
}

impl<E: Send + 'static> RequestBody for UnsyncBoxBody<Bytes, E> {
    fn from_read(read: ReadBody<Self>) -> Self {
        Self::new(read)
    }
}

impl<E: Send + Sync + 'static> RequestBody for BoxBody<Bytes, E> {
    fn from_read(read: ReadBody<Self>) -> Self {
        Self::new(read)
    }
}

impl RequestBody for Full<Bytes> {
    /// A `Full` has one frame of a known length, so the layer reads all of it or nothing.
    fn from_read(read: ReadBody<Self>) -> Self {
        Self::new(read.into_data().expect("a `Full` is read whole"))
    }
}

impl RequestBody for Empty<Bytes> {
    fn from_read(_: ReadBody<Self>) -> Self {
        Self::new()
    }
}

impl RequestBody for SharedBody {
    fn from_read(read: ReadBody<Self>) -> Self {
        match read.into_data() {
            Ok(data) => data.into(),
            Err(read) => Self::new(read, BodyConfig::of(&HttpPolicy::default())),
        }
    }
}
