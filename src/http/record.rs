//! Texts of a request, copied one after the other.

use std::iter;

/// Each text has a tag. Two records are equal exactly if they have the same texts with the same tags in the same
/// order. It is one allocation, however many there are, and keeps nothing alive that it was copied from.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Record(Vec<u8>);

/// Room for what most requests have, so that a record seldom grows.
const ENOUGH: usize = 256;

impl Record {
    pub(super) fn push(&mut self, tag: u8, text: &[u8]) {
        if self.0.is_empty() {
            self.0.reserve(ENOUGH);
        }
        self.0.push(tag);
        self.0.extend_from_slice(&text.len().to_le_bytes());
        self.0.extend_from_slice(text);
    }

    /// The texts and their tags, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = &self.0[..];
        iter::from_fn(move || {
            let (tag, tail) = rest.split_first()?;
            let (length, tail) = tail.split_first_chunk()?;
            let (text, tail) = tail.split_at(usize::from_le_bytes(*length));
            rest = tail;
            Some((*tag, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn record(texts: &[(u8, Vec<u8>)]) -> Record {
        let mut record = Record::default();
        texts.iter().for_each(|(tag, text)| record.push(*tag, text));
        record
    }

    /// Few different bytes, among them those that a length is written with, so that a mix-up is likely.
    fn texts() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        vec((0..3_u8, vec(0..3_u8, 0..4)), 0..4)
    }

    proptest! {
        #[test]
        fn records_are_equal_exactly_if_their_texts_are(one in texts(), two in texts()) {
            prop_assert_eq!(record(&one) == record(&two), one == two);
        }

        #[test]
        fn a_record_gives_back_what_was_written(texts in texts()) {
            let record = record(&texts);
            let read: Vec<_> = record.iter().map(|(tag, text)| (tag, text.to_vec())).collect();
            prop_assert_eq!(read, texts);
        }
    }
}
