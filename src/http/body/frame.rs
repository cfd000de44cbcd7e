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
    pub(super) fn of(frame: &Frame<Bytes>) -> Self {
        match frame.data_ref() {
            Some(data) => Self::Data(data.clone()),
            None => Self::Trailers(Arc::new(frame.trailers_ref().cloned().unwrap_or_default())),
        }
    }

    /// The number of bytes that it adds to the body. Trailers add none.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl From<SharedFrame> for Frame<Bytes> {
    #[inline]
    fn from(frame: SharedFrame) -> Self {
        match frame {
            SharedFrame::Data(data) => Frame::data(data),
            SharedFrame::Trailers(trailers) => Frame::trailers(Arc::unwrap_or_clone(trailers)),
        }
    }
}

/// The number of bytes that a frame adds to the body.
#[inline]
pub(super) fn len_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
