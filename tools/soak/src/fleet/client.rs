//! What clients send, and whether they may have what they get.

use super::upstream::{Failure, Upstream};
use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use tower_singleflight::{BoxError, SharedBody};

pub(super) enum End {
    Answered,
    /// With the failure of the upstream.
    Failed,
    /// By the upstream.
    CutShort,
}

pub(super) fn request(method: Method, path: usize) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(format!("/{path}")).expect("a path is a URI");
    request
}

/// What a client got.
pub(super) struct Read {
    text: String,
    error: Option<BoxError>,
    has_head: bool,
}

pub(super) async fn read(
    answer: impl Future<Output = Result<Response<SharedBody>, Failure>>,
) -> Read {
    let mut body = match answer.await {
        Ok(response) => response.into_body(),
        Err(error) => {
            return Read { text: String::new(), error: Some(error.into()), has_head: false };
        }
    };
    let mut text = String::new();
    loop {
        match body.frame().await {
            None => return Read { text, error: None, has_head: true },
            Some(Ok(frame)) => {
                text += &String::from_utf8_lossy(&frame.into_data().unwrap_or_default())
            }
            Some(Err(error)) => return Read { text, error: Some(error.into()), has_head: true },
        }
    }
}

impl Read {
    /// How the call `name` ended, unless it got what it must not.
    pub(super) fn judge(self, name: &str, least: u64, upstream: &Upstream) -> Result<End, String> {
        let Self { text, error, has_head } = self;
        if !has_head {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            let is_mine = error == Failure(name.to_owned()).to_string();
            return if is_mine { Ok(End::Failed) } else { Err(format!("the error {error}")) };
        }
        let words: Vec<_> = text.splitn(6, ' ').collect();
        let [path, user, version, call, length, rest] = words[..] else {
            return Err(format!("the body {text:?} and the error {error:?}"));
        };
        let number = |word: &str| {
            word.parse::<u64>().map_err(|_| format!("{word:?} where a number should be"))
        };
        let (version, call, length) =
            (number(version)?, number(call)? as usize, number(length)? as usize);
        if format!("{path} {user}") != name {
            Err(format!("the answer of another: {path} {user}"))
        } else if version < least {
            Err(format!("version {version}, after a write of {least}"))
        } else if let Some(error) = error {
            if upstream.cut_short(call) {
                Ok(End::CutShort)
            } else {
                Err(format!("a body that broke off: {error}"))
            }
        } else if rest.len() != length || rest.bytes().any(|byte| byte != b'x') {
            Err(format!("{} bytes of {length}, and a clean end", rest.len()))
        } else {
            Ok(End::Answered)
        }
    }
}
