//! Texts of a request, copied one after the other.

use smallvec::SmallVec;
use std::iter;

/// Each text has a tag. Two records are equal exactly if they have the same texts with the same tags in the same
/// order. Few and short ones, as most requests have, are kept in place; nothing is kept alive that they were copied
/// from.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Record(SmallVec<[u8; 128]>);

impl Record {
    pub(super) fn push(&mut self, tag: u8, text: &[u8]) {
        self.0.push(tag);
        self.push_length(text.len());
        self.0.extend_from_slice(text);
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have the eighth.
    fn push_length(&mut self, mut length: usize) {
        while length > 0x7f {
            self.0.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.0.push(length as u8);
    }

    /// The texts and their tags, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = &self.0[..];
        iter::from_fn(move || {
            let (tag, tail) = rest.split_first()?;
            let (text, tail) = split_text(tail);
            rest = tail;
            Some((*tag, text))
        })
    }
}

fn split_text(record: &[u8]) -> (&[u8], &[u8]) {
    let bytes = 1 + record.iter().take_while(|byte| **byte > 0x7f).count();
    let (length, tail) = record.split_at(bytes);
    let length = length.iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    tail.split_at(length)
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
        fn a_text_of_any_length_is_given_back(length in 0..70_000_usize) {
            let texts = [(1, vec![0xff; length]), (2, vec![0; 3])];
            let record = record(&texts);
            prop_assert!(record.iter().eq(texts.iter().map(|(tag, text)| (*tag, &text[..]))));
        }

        #[test]
        fn a_record_gives_back_what_was_written(texts in texts()) {
            let record = record(&texts);
            let read: Vec<_> = record.iter().map(|(tag, text)| (tag, text.to_vec())).collect();
            prop_assert_eq!(read, texts);
        }
    }
}
