//! Seals the result of a flight for the tokens that wait for it.
//!
//! A payload is `P`, the format, the number of tokens (4 bytes), the tokens, a nonce (24 bytes),
//! and the plain text under XChaCha20-Poly1305. The record of the flight, its id, the tokens and
//! the format are authenticated as well. So a payload opens only for an equal record, for the
//! flight that the receiver waits for, and for the tokens that waited when the flight closed. An
//! engine cannot give it to another request, and cannot give it a second time.

use crate::fleet::{
    engine::Token,
    name::{Secret, Subject},
    random::random,
};
use bytes::Bytes;
use chacha20poly1305::{AeadInPlace, Tag, XNonce};

/// The first byte of every payload.
const MARK: u8 = b'P';
/// The format of the plain text. It changes with the codec.
const FORMAT: u8 = 1;
const TOKEN: usize = 16;
const NONCE: usize = 24;
const CHECK: usize = 16;

/// Why a payload does not open. For the receiver it is as if no payload had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It is no payload of this format.
    Garbled,
    /// It does not name the receiver's token.
    NotNamed,
    /// It is for another record, of another flight or under another secret, or somebody changed it.
    Forged,
}

impl Secret {
    /// Seals the result of a flight for these tokens. `None` if it cannot be sealed: there are no
    /// random bytes, or it is larger than the cipher allows (256 GiB).
    pub(crate) fn seal(
        &self,
        subject: &Subject,
        flight: Token,
        tokens: &[Token],
        plain: &[u8],
    ) -> Option<Bytes> {
        self.seal_with(random()?, subject, flight, tokens, plain)
    }

    fn seal_with(
        &self,
        nonce: [u8; NONCE],
        subject: &Subject,
        flight: Token,
        tokens: &[Token],
        plain: &[u8],
    ) -> Option<Bytes> {
        let tokens: Vec<u8> = tokens.iter().flat_map(Token::as_bytes).copied().collect();
        let count = u32::try_from(tokens.len() / TOKEN).ok()?;
        let mut payload = Vec::with_capacity(6 + tokens.len() + NONCE + plain.len() + CHECK);
        payload.extend_from_slice(&[MARK, FORMAT]);
        payload.extend_from_slice(&count.to_be_bytes());
        payload.extend_from_slice(&tokens);
        payload.extend_from_slice(&nonce);
        let start = payload.len();
        payload.extend_from_slice(plain);
        let associated = associated(subject, flight, &tokens);
        let nonce = XNonce::from_slice(&nonce);
        let check =
            self.seal.encrypt_in_place_detached(nonce, &associated, &mut payload[start..]).ok()?;
        payload.extend_from_slice(&check);
        Some(payload.into())
    }

    /// Opens the result of a flight that `token` waits for.
    pub(crate) fn open(
        &self,
        subject: &Subject,
        flight: Token,
        token: Token,
        payload: &[u8],
    ) -> Result<Bytes, Unopened> {
        let Frame { tokens, nonce, sealed, check } =
            Frame::read(payload).ok_or(Unopened::Garbled)?;
        if !tokens.chunks_exact(TOKEN).any(|named| named == token.as_bytes()) {
            return Err(Unopened::NotNamed);
        }
        let (associated, mut plain) = (associated(subject, flight, tokens), sealed.to_vec());
        let (nonce, check) = (XNonce::from_slice(nonce), Tag::from_slice(check));
        let opened = self.seal.decrypt_in_place_detached(nonce, &associated, &mut plain, check);
        opened.map_err(|_| Unopened::Forged)?;
        Ok(plain.into())
    }
}

/// The parts of a payload.
struct Frame<'a> {
    tokens: &'a [u8],
    nonce: &'a [u8],
    sealed: &'a [u8],
    check: &'a [u8],
}

impl<'a> Frame<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let rest = payload.strip_prefix(&[MARK, FORMAT])?;
        let (count, rest) = rest.split_first_chunk()?;
        let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
        let (tokens, rest) = rest.split_at_checked(count.checked_mul(TOKEN)?)?;
        let (nonce, rest) = rest.split_at_checked(NONCE)?;
        let (sealed, check) = rest.split_at_checked(rest.len().checked_sub(CHECK)?)?;
        Some(Self { tokens, nonce, sealed, check })
    }
}

/// Returns the bytes that are authenticated beside the plain text. A record shows where it ends.
fn associated(subject: &Subject, flight: Token, tokens: &[u8]) -> Vec<u8> {
    [subject.record(), flight.as_bytes(), tokens, &[FORMAT]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::engine::Replica;
    use proptest::{collection::vec, prelude::*, sample::Index};

    const PLAIN: &[u8] = b"the plain text";

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef")
    }

    fn subject(key: &[u8]) -> Subject {
        let names = secret().names("reports", "1.2.3", &[7; 32]);
        names.subject(names.tag(b"/path"), key, b"partition")
    }

    fn token(number: u64) -> Token {
        Token::new(Replica::new(*b"replica!"), number)
    }

    /// A payload of flight 1, for the tokens 2 and 3.
    fn payload(plain: &[u8]) -> Bytes {
        secret().seal(&subject(b"key"), token(1), &[token(2), token(3)], plain).unwrap()
    }

    #[test]
    fn a_payload_opens_for_each_token_that_it_names() {
        for named in [2, 3] {
            let opened = secret().open(&subject(b"key"), token(1), token(named), &payload(PLAIN));
            assert_eq!(opened.as_deref(), Ok(PLAIN));
        }
    }

    #[test]
    fn a_token_that_the_payload_does_not_name_gets_nothing() {
        for other in [1, 4] {
            let opened = secret().open(&subject(b"key"), token(1), token(other), &payload(PLAIN));
            assert_eq!(opened, Err(Unopened::NotNamed));
        }
    }

    #[test]
    fn a_payload_of_another_flight_of_the_same_name_does_not_open() {
        let opened = secret().open(&subject(b"key"), token(9), token(2), &payload(PLAIN));
        assert_eq!(opened, Err(Unopened::Forged));
    }

    #[test]
    fn a_payload_for_another_key_does_not_open() {
        let opened = secret().open(&subject(b"other"), token(1), token(2), &payload(PLAIN));
        assert_eq!(opened, Err(Unopened::Forged));
    }

    #[test]
    fn a_payload_under_another_secret_does_not_open() {
        let opened = Secret::new(b"another secret!!").open(
            &subject(b"key"),
            token(1),
            token(2),
            &payload(PLAIN),
        );
        assert_eq!(opened, Err(Unopened::Forged));
    }

    #[test]
    fn a_token_that_somebody_adds_to_a_payload_gets_nothing() {
        let mut added = payload(PLAIN).to_vec();
        added[5] += 1;
        added.splice(6..6, *token(4).as_bytes());
        assert_eq!(
            secret().open(&subject(b"key"), token(1), token(4), &added),
            Err(Unopened::Forged)
        );
    }

    #[test]
    fn a_payload_that_promises_more_tokens_than_it_has_is_garbled() {
        let mut promising = payload(PLAIN).to_vec();
        promising[2..6].fill(0xff);
        assert_eq!(
            secret().open(&subject(b"key"), token(1), token(2), &promising),
            Err(Unopened::Garbled)
        );
    }

    #[test]
    fn two_payloads_of_one_text_have_nothing_in_common_behind_their_tokens() {
        let (one, two) = (payload(PLAIN), payload(PLAIN));
        let head = 6 + 2 * TOKEN;
        assert_eq!(one[..head], two[..head]);
        assert_ne!(one[head..head + NONCE], two[head..head + NONCE]);
        assert_ne!(one[head + NONCE..], two[head + NONCE..]);
    }

    /// From another implementation of XChaCha20-Poly1305. It must not change without a new version
    /// of the protocol.
    #[test]
    fn the_bytes_of_a_payload_are_known() {
        let nonce = std::array::from_fn(|at| at as u8);
        let sealed = secret()
            .seal_with(nonce, &subject(b"key"), token(1), &[token(2), token(3)], PLAIN)
            .unwrap();
        let text: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "5001000000027265706c6963612100000000000000027265706c696361210000000000000003000102030405060708090a0b0c0d0e0f10111213141516175a7dd9e972aaccec9cc74500a713c0101c5797f9926966315a386bed1ae8"
        );
    }

    proptest! {
        #[test]
        fn any_plain_text_comes_back(plain in vec(any::<u8>(), 0..300)) {
            let opened = secret().open(&subject(b"key"), token(1), token(3), &payload(&plain));
            prop_assert_eq!(opened.as_deref(), Ok(&plain[..]));
        }

        #[test]
        fn a_payload_with_one_bit_changed_does_not_open(at in any::<Index>(), bit in 0..8_u8) {
            let mut changed = payload(PLAIN).to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(secret().open(&subject(b"key"), token(1), token(2), &changed).is_err());
        }

        #[test]
        fn a_payload_cut_short_does_not_open(end in any::<Index>()) {
            let whole = payload(PLAIN);
            let cut = &whole[..end.index(whole.len())];
            prop_assert!(secret().open(&subject(b"key"), token(1), token(2), cut).is_err());
        }

        #[test]
        fn bytes_of_any_kind_do_not_open(bytes in vec(any::<u8>(), 0..200), count in 0..5_u8) {
            let head = [MARK, FORMAT, 0, 0, 0, count];
            let framed = [&head[..], token(2).as_bytes(), &bytes[..]].concat();
            for bytes in [bytes, framed] {
                prop_assert!(secret().open(&subject(b"key"), token(1), token(2), &bytes).is_err());
            }
        }
    }
}
