//! What some code allocates.

/// What some code allocated, on its thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// How often.
    pub allocations: u64,
    /// How much.
    pub bytes: u64,
    /// How much of it is not freed.
    pub live: i64,
}

/// Counts what the closure allocates.
pub type Meter = fn(&mut dyn FnMut()) -> Counts;
