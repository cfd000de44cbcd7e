//! Transitions, one after the other, without threads or futures.
