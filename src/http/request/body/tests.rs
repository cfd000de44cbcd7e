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
    let trailers =
        HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
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
    let stream =
        || StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("x")))]));
    assert!(peek(stream().boxed_unsync()).is_ok());
    assert!(peek(BodyExt::boxed(stream())).is_ok());
    assert!(peek(stream().map_err(crate::SharedError::new).boxed_unsync()).is_ok());
    #[cfg(feature = "axum")]
    {
        let (has_data, body) =
            peek(axum::body::Body::new(stream())).unwrap_or_else(|_| panic!()).await;
        assert!(has_data);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
    }
    let Err(body) = peek(stream()) else { panic!("nothing could be put back into it") };
    assert_eq!(BodyExt::collect(body).await.unwrap().to_bytes(), "x");
}
