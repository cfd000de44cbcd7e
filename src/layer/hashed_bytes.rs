//! The bytes that a key gives to a hasher: what names a key for the other replicas of a fleet when
//! it is forgotten.

use std::hash::{Hash, Hasher};

/// Returns the bytes that a key gives to a hasher.
///
/// `Handle::forget` takes whatever the key can be borrowed as, so `Hash` is all that it knows of
/// the key: `FleetKey` writes the key itself only. No hash function is involved, because that of
/// `std` may change between two builds.
///
/// Two replicas may still have other bytes for one key. `std` does not promise what its types give
/// to a hasher. A slice of integers gives the bytes as the machine has them. A pointer differs
/// between two processes of one build. Then the other replica does not forget the key.
///
/// Keys that give the same bytes are forgotten together, which costs a flight. Nothing is shared by
/// these bytes.
pub(crate) fn hashed_bytes<Q: Hash + ?Sized>(key: &Q) -> Vec<u8> {
    let mut bytes = HashedBytes(Vec::new());
    key.hash(&mut bytes);
    bytes.0
}

/// A hasher that keeps all that it is given.
struct HashedBytes(Vec<u8>);

/// A single number is the same bytes on every machine. Of a slice of numbers, `std` gives the bytes
/// at once, so that nothing can be done here.
macro_rules! numbers {
    ($($write:ident: $number:ty as $written:ty),*) => {$(
        fn $write(&mut self, number: $number) {
            self.0.extend_from_slice(&(number as $written).to_be_bytes());
        }
    )*};
}

impl Hasher for HashedBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Nobody asks for the hash.
    fn finish(&self) -> u64 {
        0
    }

    numbers! {
        write_u16: u16 as u16, write_u32: u32 as u32, write_u64: u64 as u64,
        write_u128: u128 as u128, write_usize: usize as u64, write_i16: i16 as i16,
        write_i32: i32 as i32, write_i64: i64 as i64, write_i128: i128 as i128,
        write_isize: isize as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_the_bytes_of_what_it_can_be_borrowed_as() {
        assert_eq!(hashed_bytes("key"), hashed_bytes(&"key".to_owned()));
        assert_eq!(hashed_bytes(&[1_u16, 2][..]), hashed_bytes(&vec![1_u16, 2]));
    }

    #[test]
    fn keys_that_differ_give_other_bytes() {
        assert_ne!(hashed_bytes("one"), hashed_bytes("two"));
        assert_ne!(hashed_bytes(&("a", "bc")), hashed_bytes(&("ab", "c")));
        assert_ne!(hashed_bytes(&Some(0_u8)), hashed_bytes(&None::<u8>));
    }

    /// Replicas of two builds agree about keys of the usual kinds, until `std` changes them.
    #[test]
    fn the_bytes_of_a_key_are_known() {
        assert_eq!(hashed_bytes("key"), b"key\xff");
        assert_eq!(hashed_bytes(&(1_u32, -1_isize)), b"\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(hashed_bytes(&7_usize), b"\0\0\0\0\0\0\0\x07");
    }
}
