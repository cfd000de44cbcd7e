//! What Redis tells by its channels.

use bytes::Bytes;
use redis::Value;
use tower_singleflight::fleet::engine::Push;

/// The hexadecimal digits of a token, and of a tag.
const DIGITS: usize = 32;

/// Reads a message from an inbox or the channel of a group. `None`: it makes no sense.
pub(crate) fn read(data: Vec<Value>) -> Option<Push> {
    // The channel, and the message.
    let [_, Value::BulkString(mut message)] = <[Value; 2]>::try_from(data).ok()? else {
        return None;
    };
    let digits = std::str::from_utf8(message.get(1..=DIGITS)?).ok()?;
    let token = digits.parse();
    match *message.first()? {
        b'J' => Some(Push::Joined { flight: token.ok()? }),
        b'C' => Some(Push::Closed { token: token.ok()? }),
        b'A' => Some(Push::Again { token: token.ok()? }),
        b'S' => Some(Push::Sealed { tag: digits.parse().ok()? }),
        b'L' => {
            let token = token.ok()?;
            let payload = Bytes::from(message.split_off(1 + DIGITS));
            Some(Push::Landed {
                token,
                payload: Some(payload).filter(|payload| !payload.is_empty()),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use bytes::Bytes;
    use redis::Value;
    use tower_singleflight::fleet::engine::{Push, Replica, Tag, Token};

    fn read_message(message: &[u8]) -> Option<Push> {
        read(vec![Value::BulkString(b"tsf1:i:00".to_vec()), Value::BulkString(message.to_vec())])
    }

    #[test]
    fn reads_each_kind_of_message() {
        let token = Token::new(Replica::new([1; 8]), 2);
        let message = |kind: char| format!("{kind}{token}").into_bytes();

        assert_eq!(read_message(&message('J')), Some(Push::Joined { flight: token }));
        assert_eq!(read_message(&message('C')), Some(Push::Closed { token }));
        assert_eq!(read_message(&message('A')), Some(Push::Again { token }));
        assert_eq!(read_message(&message('L')), Some(Push::Landed { token, payload: None }));
        let with_payload = [message('L'), vec![0, 255]].concat();
        let payload = Some(Bytes::from_static(&[0, 255]));
        assert_eq!(read_message(&with_payload), Some(Push::Landed { token, payload }));
        let tag = Tag::new([7; 16]);
        assert_eq!(read_message(format!("S{tag}").as_bytes()), Some(Push::Sealed { tag }));
    }

    #[test]
    fn passes_over_what_makes_no_sense() {
        for message in [
            "",
            "J",
            "Jxyz",
            "X0000000000000000000000000000000a",
            "J0000000000000000000000000000000ä",
        ] {
            assert_eq!(read_message(message.as_bytes()), None, "{message}");
        }
        assert_eq!(read(vec![]), None);
        assert_eq!(read(vec![Value::Nil, Value::Nil]), None);
    }
}
