//! Finds out whether a request has a body.

use crate::error::{BoxError, SharedError};
use crate::http::body::longer;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use std::{
    any::Any,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Asks a body whether it has data. `None`: it does not say.
pub(in crate::http) fn has_data(body: &impl Body) -> Option<bool> {
    if body.is_end_stream() {
        return Some(false);
    }
    let hint = body.size_hint();
    match hint.exact() {
        Some(bytes) => Some(bytes > 0),
        None => (hint.lower() > 0).then_some(true),
    }
}

/// Whether a body has data, trailers or an error, and that body from its start.
type Peeked<B> = (bool, B);

pub(in crate::http) type BoxPeek<B> = Pin<Box<dyn Future<Output = Peeked<B>> + Send>>;

/// Reads a body up to its first data or its end. `Err`: the body is of a type that the crate does
/// not know.
///
/// The inner service must get a body of the same type, with its first frame. Only bodies of known
/// types can be rebuilt so: axum's, and http-body-util's boxed ones.
pub(in crate::http) fn peek<B: Body + Send + 'static>(body: B) -> Result<BoxPeek<B>, B> {
    let peeked = Err(body);
    #[cfg(feature = "axum")]
    let peeked = peeked
        .or_else(|body| peek_as(body, axum::body::Body::new::<PeekedBody<axum::body::Body>>))
        .or_else(peek_boxed::<B, axum::Error>);
    peeked
        .or_else(peek_boxed::<B, BoxError>)
        .or_else(peek_boxed::<B, Infallible>)
        .or_else(peek_boxed::<B, SharedError>)
}

/// Peeks into one of http-body-util's boxed bodies with this error.
fn peek_boxed<B, E>(body: B) -> Result<BoxPeek<B>, B>
where
    B: Body + Send + 'static,
    E: Send + Sync + 'static,
{
    peek_as(body, UnsyncBoxBody::<Bytes, E>::new::<PeekedBody<_>>)
        .or_else(|body| peek_as(body, BoxBody::<Bytes, E>::new::<PeekedBody<_>>))
}

/// Peeks into a body of type `T`. `rebuild` makes a `T` that starts with the frame that was read.
fn peek_as<B, T>(body: B, rebuild: fn(PeekedBody<T>) -> T) -> Result<BoxPeek<B>, B>
where
    B: Send + 'static,
    T: Body<Data = Bytes> + Send + Unpin + 'static,
    T::Error: Send,
{
    let body = cast::<B, T>(body)?;
    let peek = PeekFuture { body: Some(body), rebuild };
    Ok(Box::pin(async move {
        let (has_data, body) = peek.await;
        let body = cast::<T, B>(body).unwrap_or_else(|_| unreachable!("`B` and `T` are one type"));
        (has_data, body)
    }))
}

/// Returns the same value, if the two types are one.
fn cast<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut value = Some(value);
    let same = (&mut value as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take);
    same.ok_or_else(|| value.take().expect("a failed cast leaves the value"))
}

/// Reads a body up to its first data, and rebuilds it.
struct PeekFuture<T: Body> {
    body: Option<T>,
    rebuild: fn(PeekedBody<T>) -> T,
}

impl<T: Body> Unpin for PeekFuture<T> {}

impl<T: Body<Data = Bytes> + Unpin> Future for PeekFuture<T> {
    type Output = Peeked<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Peeked<T>> {
        let rebuild = self.rebuild;
        for _ in 0..FRAMES_AT_ONCE {
            let body = self.body.as_mut().expect("a future is not polled after it was ready");
            match ready!(Pin::new(body).poll_frame(cx)) {
                None => {
                    return Poll::Ready((false, rebuild(PeekedBody { first: None, rest: None })));
                }
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                first => {
                    return Poll::Ready((
                        true,
                        rebuild(PeekedBody { first, rest: self.body.take() }),
                    ));
                }
            }
        }
        // A body of empty frames must not block the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How many frames one poll reads.
const FRAMES_AT_ONCE: usize = 32;

/// A body whose first frame or error was read. It gives that again, and then the rest. Without
/// `first` and `rest` it is at its end.
struct PeekedBody<T: Body> {
    first: Option<Result<Frame<Bytes>, T::Error>>,
    rest: Option<T>,
}

impl<T: Body> Unpin for PeekedBody<T> {}

impl<T: Body<Data = Bytes> + Unpin> Body for PeekedBody<T> {
    type Data = Bytes;
    type Error = T::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, T::Error>>> {
        match (self.first.take(), &mut self.rest) {
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (first, _) => Poll::Ready(first),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref());
        longer(&rest, first.map_or(0, |data| data.len() as u64))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests;
