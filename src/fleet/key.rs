//! The bytes of a key, which all replicas agree on.

use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use std::{borrow::Cow, fmt, sync::Arc};

/// A key that the replicas of a fleet can compare.
///
/// It is implemented for strings, bytes, integers, `bool`, `char`, `Uri`, `Method`, `HeaderValue`,
/// and for tuples, options and lists of these. For a type of your own, write the fields one after
/// the other:
///
/// ```
/// use tower_singleflight::{FleetKey, KeyWriter};
///
/// #[derive(PartialEq, Eq, Hash)]
/// struct Report {
///     tenant: String,
///     id: Option<u64>,
/// }
///
/// impl FleetKey for Report {
///     fn write(&self, to: &mut KeyWriter) {
///         self.tenant.write(to);
///         self.id.write(to);
///     }
/// }
/// ```
///
/// An enum writes the number of its variant before the fields of the variant, as a `u8`.
///
/// An implementation must keep four rules:
///
/// - Keys that are not equal write different bytes. `Hash` has no such rule, so the fleet does not
///   use it.
/// - The bytes of one key are never the start of the bytes of another. This holds for a fixed
///   sequence of fields, as above. For a loop over items, write their number first, or use the
///   implementation for slices.
/// - Equal keys write the same bytes, in every process and every build. Leave out addresses, random
///   numbers and the iteration order of a `HashMap`.
/// - If the key can be borrowed as another type, as a `String` can be borrowed as a `str`, both
///   write the same bytes.
///
/// If you change how a type writes itself, change [`Fleet::version`](crate::fleet) as well.
/// Otherwise replicas of the old build and of the new build could take different keys for one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a fleet",
    label = "the replicas of a fleet cannot compare this key",
    note = "return a `String` from the closure, or a tuple of such: `(String, u64)`",
    note = "or implement `FleetKey` for `{Self}`: write its fields one after the other"
)]
pub trait FleetKey {
    /// Writes the key.
    ///
    /// # Panics
    ///
    /// If it panics as a flight is named, the flight goes alone: see
    /// [`FleetReason::Key`](crate::FleetReason::Key). Under a policy with `ignore_path`, no write
    /// through another replica reaches such a flight, and a write with such a key panics.
    fn write(&self, to: &mut KeyWriter);
}

/// Collects the bytes of a key. See [`FleetKey`].
pub struct KeyWriter(Vec<u8>);

impl KeyWriter {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Writes the length of these bytes, and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn length(&mut self, length: usize) {
        self.0.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Prints only the length, because a key may be a secret.
impl fmt::Debug for KeyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWriter").field("length", &self.0.len()).finish_non_exhaustive()
    }
}

impl FleetKey for str {
    fn write(&self, to: &mut KeyWriter) {
        to.bytes(self.as_bytes());
    }
}

impl FleetKey for String {
    fn write(&self, to: &mut KeyWriter) {
        self.as_str().write(to);
    }
}

/// Writes the number of items, and the items.
impl<T: FleetKey> FleetKey for [T] {
    fn write(&self, to: &mut KeyWriter) {
        to.length(self.len());
        self.iter().for_each(|item| item.write(to));
    }
}

impl<T: FleetKey> FleetKey for Vec<T> {
    fn write(&self, to: &mut KeyWriter) {
        self.as_slice().write(to);
    }
}

/// Writes the same as a slice.
impl<T: FleetKey, const N: usize> FleetKey for [T; N] {
    fn write(&self, to: &mut KeyWriter) {
        self.as_slice().write(to);
    }
}

impl FleetKey for Bytes {
    fn write(&self, to: &mut KeyWriter) {
        to.bytes(self);
    }
}

impl<T: FleetKey + ?Sized> FleetKey for &T {
    fn write(&self, to: &mut KeyWriter) {
        T::write(self, to);
    }
}

impl<T: FleetKey + ?Sized> FleetKey for Box<T> {
    fn write(&self, to: &mut KeyWriter) {
        T::write(self, to);
    }
}

impl<T: FleetKey + ?Sized> FleetKey for Arc<T> {
    fn write(&self, to: &mut KeyWriter) {
        T::write(self, to);
    }
}

impl<T: FleetKey + ToOwned + ?Sized> FleetKey for Cow<'_, T> {
    fn write(&self, to: &mut KeyWriter) {
        T::write(self, to);
    }
}

impl<T: FleetKey> FleetKey for Option<T> {
    fn write(&self, to: &mut KeyWriter) {
        self.is_some().write(to);
        self.iter().for_each(|some| some.write(to));
    }
}

impl FleetKey for bool {
    fn write(&self, to: &mut KeyWriter) {
        u8::from(*self).write(to);
    }
}

impl FleetKey for char {
    fn write(&self, to: &mut KeyWriter) {
        u32::from(*self).write(to);
    }
}

/// The highest byte comes first.
macro_rules! integers {
    ($($integer:ident),*) => {$(
        impl FleetKey for $integer {
            fn write(&self, to: &mut KeyWriter) {
                to.0.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

/// Writes the same on 32-bit and 64-bit machines.
impl FleetKey for usize {
    fn write(&self, to: &mut KeyWriter) {
        (*self as u64).write(to);
    }
}

/// Writes the same on 32-bit and 64-bit machines.
impl FleetKey for isize {
    fn write(&self, to: &mut KeyWriter) {
        (*self as i64).write(to);
    }
}

macro_rules! tuples {
    ($(($($part:ident $place:tt),*))*) => {$(
        impl<$($part: FleetKey),*> FleetKey for ($($part,)*) {
            fn write(&self, to: &mut KeyWriter) {
                $(self.$place.write(to);)*
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

impl FleetKey for Method {
    fn write(&self, to: &mut KeyWriter) {
        self.as_str().write(to);
    }
}

impl FleetKey for HeaderValue {
    fn write(&self, to: &mut KeyWriter) {
        to.bytes(self.as_bytes());
    }
}

/// Scheme and authority are equal whatever the case of their letters, so they are written in lower
/// case.
impl FleetKey for Uri {
    fn write(&self, to: &mut KeyWriter) {
        self.scheme_str().map(str::to_ascii_lowercase).write(to);
        self.authority().map(|authority| authority.as_str().to_ascii_lowercase()).write(to);
        self.path().write(to);
        self.query().write(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    fn bytes(key: &(impl FleetKey + ?Sized)) -> Vec<u8> {
        let mut to = KeyWriter::new();
        key.write(&mut to);
        to.into_bytes()
    }

    /// Asserts that two keys are equal exactly if their bytes are, and that the bytes of one do not
    /// begin those of another.
    fn assert_injective<K: FleetKey + PartialEq + fmt::Debug>(one: &K, two: &K) {
        assert_eq!(bytes(one) == bytes(two), one == two, "{one:?} {two:?}");
        assert_eq!(bytes(one).starts_with(&bytes(two)), one == two, "{one:?} {two:?}");
    }

    /// Few characters, which are also common in lengths and tags, so that a mix-up is likely.
    fn text() -> impl Strategy<Value = String> {
        vec(prop_oneof![Just('\0'), Just('\u{1}'), Just('\u{8}'), Just('a')], 0..12)
            .prop_map(String::from_iter)
    }

    fn uri() -> impl Strategy<Value = Uri> {
        let origin = prop_oneof![
            Just(""),
            Just("http://a"),
            Just("HTTP://A"),
            Just("https://a"),
            Just("http://a:1"),
            Just("x:1")
        ];
        let target = prop_oneof![
            Just(""),
            Just("/"),
            Just("/b"),
            Just("/b?"),
            Just("/b?c"),
            Just("/?b"),
            Just("*")
        ];
        (origin, target)
            .prop_filter_map("no URI", |(origin, target)| format!("{origin}{target}").parse().ok())
    }

    type Nested = (
        Option<(String, Vec<String>)>,
        (u8, Option<bool>),
        Vec<Option<u16>>,
        Option<Option<String>>,
    );

    fn nested() -> impl Strategy<Value = Nested> {
        (
            option::of((text(), vec(text(), 0..3))),
            (0..2_u8, option::of(any::<bool>())),
            vec(option::of(0..2_u16), 0..4),
            option::of(option::of(text())),
        )
    }

    proptest! {
        #[test]
        fn different_texts_have_different_bytes(one in text(), two in text()) {
            assert_injective(&one, &two);
        }

        #[test]
        fn the_border_between_two_texts_counts(one in (text(), text()), two in (text(), text())) {
            assert_injective(&one, &two);
            assert_injective(&vec![one.0, one.1], &vec![two.0, two.1]);
        }

        #[test]
        fn one_text_split_at_two_places_gives_two_keys(
            text in text(),
            one in 0..12_usize,
            two in 0..12_usize,
        ) {
            let split = |at: usize| text.split_at(at.min(text.len()));
            assert_injective(&split(one), &split(two));
        }

        #[test]
        fn nested_tuples_options_and_lists_have_different_bytes(one in nested(), two in nested()) {
            assert_injective(&one, &two);
        }

        #[test]
        fn different_numbers_have_different_bytes(
            one in any::<(u64, i64, char, u128)>(),
            two in any::<(u64, i64, char, u128)>(),
        ) {
            assert_injective(&one, &two);
            assert_injective(&(one.0 as usize, one.1 as isize), &(two.0 as usize, two.1 as isize));
            assert_injective(
                &(one.0 as u8, one.1 as i8, one.1 as i16),
                &(two.0 as u8, two.1 as i8, two.1 as i16),
            );
            assert_injective(
                &(one.0 as u16, one.0 as u32, one.1 as i32),
                &(two.0 as u16, two.0 as u32, two.1 as i32),
            );
        }

        #[test]
        fn uris_are_equal_exactly_if_their_bytes_are(one in uri(), two in uri()) {
            assert_injective(&one, &two);
        }

        #[test]
        fn lists_of_bytes_have_different_bytes(
            one in vec(0..9_u8, 0..12),
            two in vec(0..9_u8, 0..12),
        ) {
            assert_injective(&one, &two);
            assert_injective(&Bytes::from(one), &Bytes::from(two));
        }
    }

    #[test]
    fn a_pair_is_not_its_texts_joined() {
        assert_ne!(bytes(&("a", "b")), bytes(&("ab", "")));
        assert_ne!(bytes(&("", "ab")), bytes(&("a", "b")));
        assert_ne!(bytes(&None::<&str>), bytes(&Some("")));
    }

    #[test]
    fn every_form_of_a_text_has_the_same_bytes() {
        let text = bytes("text");
        assert_eq!(bytes(&"text".to_owned()), text);
        assert_eq!(bytes(&&&"text"), text);
        assert_eq!(bytes(&Arc::<str>::from("text")), text);
        assert_eq!(bytes(&Box::<str>::from("text")), text);
        assert_eq!(bytes(&Cow::Borrowed("text")), text);
        assert_eq!(bytes(&Cow::<str>::Owned("text".to_owned())), text);
    }

    #[test]
    fn every_form_of_a_list_has_the_same_bytes() {
        let list = bytes(&b"list"[..]);
        assert_eq!(bytes(b"list"), list);
        assert_eq!(bytes(&b"list".to_vec()), list);
        assert_eq!(bytes(&Bytes::from_static(b"list")), list);
    }

    /// These bytes must not change without a new version of the protocol.
    #[test]
    fn the_bytes_of_a_key_are_known() {
        let key = ("a", Some(7_u32), None::<String>, (true, 'b'));
        let text = [0, 0, 0, 0, 0, 0, 0, 1, b'a'];
        assert_eq!(bytes(&key), [&text[..], &[1, 0, 0, 0, 7], &[0], &[1, 0, 0, 0, b'b']].concat());
        assert_eq!(bytes(&Method::GET), bytes("GET"));
        assert_eq!(bytes(&HeaderValue::from_static("x")), bytes("x"));
        assert_eq!(
            bytes(&Uri::from_static("HTTP://Host/Path?q")),
            bytes(&(Some("http"), Some("host"), "/Path", Some("q")))
        );
        assert_eq!(
            bytes(&Uri::from_static("/Path")),
            bytes(&(None::<&str>, None::<&str>, "/Path", None::<&str>))
        );
    }

    #[test]
    fn a_key_writer_prints_no_key() {
        let mut to = KeyWriter::new();
        "secret".write(&mut to);
        assert_eq!(format!("{to:?}"), "KeyWriter { length: 14, .. }");
    }
}
