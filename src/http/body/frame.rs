//! A frame that many readers share.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// A frame whose clone copies nothing and runs no foreign code.
#[derive(Clone, Debug)]
pub(super) enum SharedFrame {
    Data(Bytes),
    Trailers(Arc<HeaderMap>),
}

impl SharedFrame {
    /// The number of bytes that it adds to the body. Trailers add none.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl From<SharedFrame> for Frame<Bytes> {
    fn from(frame: SharedFrame) -> Self {
        match frame {
            SharedFrame::Data(data) => Frame::data(data),
            SharedFrame::Trailers(trailers) => Frame::trailers(Arc::unwrap_or_clone(trailers)),
        }
    }
}
