//! A body that keeps its response in the table of late streams until it is dropped.

use crate::http::late::{LateStream, LateTable};
use crate::{core::key::Address, core::reentry};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

pin_project! {
    /// Unlists its response when it is dropped, or begins to hold it.
    pub(in crate::http) struct ListedBody<B, K>
    where
        K: Send,
        K: Sync,
        K: 'static,
    {
        #[pin]
        body: B,
        listing: Arc<UnlistOnDrop<K>>,
    }
}

/// Takes a stream off its table when it is dropped, or begins to hold it. Does nothing until it is
/// armed.
pub(in crate::http) struct UnlistOnDrop<K: Send + Sync + 'static>(
    OnceLock<(Arc<LateTable<K>>, Address, Arc<LateStream>)>,
);

impl<B, K: Send + Sync + 'static> ListedBody<B, K> {
    /// The stream of a body exists only after the body does, so the caller arms the guard then.
    pub(in crate::http) fn new(body: B) -> (Self, Arc<UnlistOnDrop<K>>) {
        let listing = Arc::new(UnlistOnDrop::new());
        (Self { body, listing: listing.clone() }, listing)
    }
}

impl<K: Send + Sync + 'static> UnlistOnDrop<K> {
    pub(in crate::http) fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(super) fn arm(&self, late: &Arc<LateTable<K>>, address: Address, stream: Arc<LateStream>) {
        let armed = self.0.set((late.clone(), address, stream));
        debug_assert!(armed.is_ok(), "a body is listed once");
    }
}

impl<B: Body, K: Send + Sync + 'static> Body for ListedBody<B, K> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let _entering = this
            .listing
            .0
            .get()
            .map(|(_, _, stream)| reentry::enter(stream.number, &stream.ancestors));
        this.body.poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl<K: Send + Sync + 'static> Drop for UnlistOnDrop<K> {
    fn drop(&mut self) {
        if let Some((late, address, stream)) = self.0.get() {
            late.hold_or_unlist(*address, stream);
        }
    }
}
