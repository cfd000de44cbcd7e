//! Whether a request has a body.

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

/// What a body says of itself: `None` if it does not know.
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

/// Whether a body has anything, and that body, from its start.
type Peeked<B> = (bool, B);

pub(in crate::http) type BoxPeek<B> = Pin<Box<dyn Future<Output = Peeked<B>> + Send>>;

/// Looks into a body up to its first data or its end. `Err`: what was taken out could not be put back into a body of this
/// type.
///
/// A body of a type that the crate knows can be put behind its first frame, and be of the same type again.
pub(in crate::http) fn peek<B: Body + Send + 'static>(body: B) -> Result<BoxPeek<B>, B> {
    let peeked = Err(body);
    #[cfg(feature = "axum")]
    let peeked = peeked
        .or_else(|body| peek_as(body, axum::body::Body::new::<PeekedBody<axum::body::Body>>))
        .or_else(peek_boxed::<B, axum::Error>);
    peeked.or_else(peek_boxed::<B, BoxError>).or_else(peek_boxed::<B, Infallible>).or_else(peek_boxed::<B, SharedError>)
}

/// If it is one of http-body-util's boxed bodies, with this error.
fn peek_boxed<B, E>(body: B) -> Result<BoxPeek<B>, B>
where
    B: Body + Send + 'static,
    E: Send + Sync + 'static,
{
    peek_as(body, UnsyncBoxBody::<Bytes, E>::new::<PeekedBody<_>>)
        .or_else(|body| peek_as(body, BoxBody::<Bytes, E>::new::<PeekedBody<_>>))
}

fn peek_as<B, T>(body: B, put_back: fn(PeekedBody<T>) -> T) -> Result<BoxPeek<B>, B>
where
    B: Send + 'static,
    T: Body<Data = Bytes> + Send + Unpin + 'static,
    T::Error: Send,
{
    let known = cast::<B, T>(body)?;
    let peek = PeekFuture { body: Some(known), put_back };
    Ok(Box::pin(async move {
        let (has_data, known) = peek.await;
        let body = cast::<T, B>(known).unwrap_or_else(|_| unreachable!("it was one"));
        (has_data, body)
    }))
}

/// The same value, if the two types are one.
fn cast<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut value = Some(value);
    let same = (&mut value as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take);
    same.ok_or_else(|| value.take().expect("it was not taken"))
}

struct PeekFuture<T: Body> {
    body: Option<T>,
    put_back: fn(PeekedBody<T>) -> T,
}

impl<T: Body> Unpin for PeekFuture<T> {}

impl<T: Body<Data = Bytes> + Unpin> Future for PeekFuture<T> {
    type Output = Peeked<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Peeked<T>> {
        let put_back = self.put_back;
        for _ in 0..FRAMES_AT_ONCE {
            let body = self.body.as_mut().expect("it is polled until it is ready");
            match ready!(Pin::new(body).poll_frame(cx)) {
                None => return Poll::Ready((false, put_back(PeekedBody { first: None, rest: None }))),
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                first => return Poll::Ready((true, put_back(PeekedBody { first, rest: self.body.take() }))),
            }
        }
        // A body of nothing but empty frames must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

const FRAMES_AT_ONCE: usize = 32;

/// A body and what was taken out of it: data, trailers or an error. Without either it is at its end.
struct PeekedBody<T: Body> {
    first: Option<Result<Frame<Bytes>, T::Error>>,
    rest: Option<T>,
}

impl<T: Body> Unpin for PeekedBody<T> {}

impl<T: Body<Data = Bytes> + Unpin> Body for PeekedBody<T> {
    type Data = Bytes;
    type Error = T::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, T::Error>>> {
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
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt, Empty, Full, StreamBody};

    type Item = Result<Frame<Bytes>, BoxError>;

    fn data(text: &'static str) -> Item {
        Ok(Frame::data(Bytes::from(text)))
    }

    fn boxed(items: Vec<Item>) -> UnsyncBoxBody<Bytes, BoxError> {
        // It panics when it is polled after its end.
        StreamBody::new(stream::iter(items).chain(stream::poll_fn(ended()))).boxed_unsync()
    }

    fn ended() -> impl FnMut(&mut Context<'_>) -> Poll<Option<Item>> {
        let mut ended = false;
        move |_| {
            assert!(!std::mem::replace(&mut ended, true), "polled after its end");
            Poll::Ready(None)
        }
    }

    async fn found(items: Vec<Item>) -> (bool, UnsyncBoxBody<Bytes, BoxError>) {
        let body = boxed(items);
        assert_eq!(has_data(&body), None);
        peek(body).unwrap_or_else(|_| panic!("it is of a type that is known")).await
    }

    #[test]
    fn a_body_that_says_what_it_has_is_believed() {
        assert_eq!(has_data(&Empty::<Bytes>::new()), Some(false));
        assert_eq!(has_data(&Full::new(Bytes::new())), Some(false));
        assert_eq!(has_data(&Full::new(Bytes::from("x"))), Some(true));
    }

    #[tokio::test]
    async fn a_body_without_data_is_none_and_is_at_its_end() {
        for items in [vec![], vec![data("")], (0..100).map(|_| data("")).collect()] {
            let (has_data, mut body) = found(items).await;
            assert!(!has_data && body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some(0));
            for _ in 0..2 {
                assert!(body.frame().await.is_none());
            }
        }
    }

    #[tokio::test]
    async fn a_body_with_data_is_given_back_whole() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let items = vec![data(""), data("one"), data("two"), Ok(Frame::trailers(trailers.clone()))];
        let (has_data, body) = found(items).await;
        assert!(has_data && !body.is_end_stream());
        assert_eq!(body.size_hint().lower(), 3);
        let whole = body.collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers));
        assert_eq!(whole.to_bytes(), "onetwo");
    }

    #[tokio::test]
    async fn an_error_and_trailers_are_put_back_too() {
        let (has_data, body) = found(vec![Err("broken".into())]).await;
        assert!(has_data);
        assert_eq!(body.collect().await.unwrap_err().to_string(), "broken");
        let (has_data, body) = found(vec![Ok(Frame::trailers(HeaderMap::new()))]).await;
        assert!(has_data && body.collect().await.unwrap().trailers().is_some());
    }

    #[tokio::test]
    async fn bodies_of_known_types_can_be_looked_into_and_others_are_left_alone() {
        let stream = || StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("x")))]));
        assert!(peek(stream().boxed_unsync()).is_ok());
        assert!(peek(BodyExt::boxed(stream())).is_ok());
        assert!(peek(stream().map_err(crate::SharedError::new).boxed_unsync()).is_ok());
        #[cfg(feature = "axum")]
        {
            let (has_data, body) = peek(axum::body::Body::new(stream())).unwrap_or_else(|_| panic!()).await;
            assert!(has_data);
            assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
        }
        let Err(body) = peek(stream()) else { panic!("nothing could be put back into it") };
        assert_eq!(BodyExt::collect(body).await.unwrap().to_bytes(), "x");
    }
}
