//! Keeps the work of a flight in the tracing span of its leader.

#[cfg(feature = "tracing")]
pub(crate) fn in_current_span<F: Future>(work: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::in_current_span(work)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn in_current_span<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work
}
