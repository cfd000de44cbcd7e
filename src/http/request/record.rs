//! A list of tagged texts in one allocation.

use std::iter;

/// Copies of texts, each with a tag. Two records are equal exactly if they have the same texts with
/// the same tags in the same order.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in crate::http) struct Record(Vec<u8>);

impl Record {
    /// Makes room for about this many bytes of texts and tags.
    pub(in crate::http) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    #[inline]
    pub(in crate::http) fn push(&mut self, tag: usize, text: &[u8]) {
        self.push_head(tag, text.len());
        self.0.extend_from_slice(text);
    }

    /// Adds one text: a name, a colon and a value.
    #[inline]
    pub(in crate::http) fn push_named(&mut self, tag: usize, name: &[u8], value: &[u8]) {
        self.push_head(tag, name.len() + 1 + value.len());
        self.0.extend_from_slice(name);
        self.0.push(b':');
        self.0.extend_from_slice(value);
    }

    #[inline]
    fn push_head(&mut self, tag: usize, length: usize) {
        if tag < MORE && length < MORE {
            self.0.extend_from_slice(&[tag as u8, length as u8]);
        } else {
            self.push_long_head(tag, length);
        }
    }

    #[cold]
    fn push_long_head(&mut self, tag: usize, length: usize) {
        self.push_number(tag);
        self.push_number(length);
    }

    /// Writes seven bits a byte, the lowest first. All bytes but the last have the eighth bit set.
    fn push_number(&mut self, mut number: usize) {
        while number >= MORE {
            self.0.push((number | MORE) as u8);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Returns the encoded texts. A prefix that ends between two texts is a record too.
    pub(in crate::http) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Splits the record after `at` bytes, and returns the second part.
    pub(in crate::http) fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }

    pub(in crate::http) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

/// Marks a byte that is not the last of its number.
const MORE: usize = 0x80;

/// Iterates over the texts of an encoded record and their tags, in order.
pub(in crate::http) fn texts(mut record: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    iter::from_fn(move || {
        if record.is_empty() {
            return None;
        }
        let (tag, tail) = split_number(record);
        let (length, tail) = split_number(tail);
        let (text, tail) = tail.split_at(length);
        record = tail;
        Some((tag, text))
    })
}

fn split_number(record: &[u8]) -> (usize, &[u8]) {
    let bytes = 1 + record.iter().take_while(|byte| usize::from(**byte) >= MORE).count();
    let (number, tail) = record.split_at(bytes);
    let number =
        number.iter().rev().fold(0, |number, byte| number << 7 | usize::from(*byte) & (MORE - 1));
    (number, tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn record(texts: &[(usize, Vec<u8>)]) -> Record {
        let mut record = Record::default();
        texts.iter().for_each(|(tag, text)| record.push(*tag, text));
        record
    }

    /// Draws from few bytes, which are also common in lengths and tags, so that a mix-up is likely.
    fn some() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
        vec((prop_oneof![0..3_usize, 126..131_usize], vec(0..3_u8, 0..4)), 0..4)
    }

    proptest! {
        #[test]
        fn records_are_equal_exactly_if_their_texts_are(one in some(), two in some()) {
            prop_assert_eq!(record(&one) == record(&two), one == two);
        }

        #[test]
        fn a_text_of_any_length_and_tag_is_given_back(
            length in 0..70_000_usize,
            tag in 0..70_000_usize,
        ) {
            let written = [(tag, vec![0xff; length]), (2, vec![0; 3])];
            let record = record(&written);
            let expected = written.iter().map(|(tag, text)| (*tag, &text[..]));
            prop_assert!(texts(record.as_bytes()).eq(expected));
        }

        #[test]
        fn a_record_gives_back_what_was_written(written in some()) {
            let record = record(&written);
            let read = texts(record.as_bytes()).map(|(tag, text)| (tag, text.to_vec()));
            let read: Vec<_> = read.collect();
            prop_assert_eq!(read, written);
        }
    }
}
