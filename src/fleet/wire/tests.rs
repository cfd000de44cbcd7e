use super::*;
use proptest::{collection::vec, option, prelude::*, sample::Index};

fn decode(plain: &[u8]) -> Option<WireResult> {
    WireResult::decode(Bytes::copy_from_slice(plain))
}

fn answer(landed: Option<WireResult>) -> Answer {
    match landed {
        Some(WireResult::Value(answer)) => *answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn again(sent: &Answer) -> Answer {
    answer(decode(&sent.encode()))
}

/// The lines of all fields, in order.
fn lines(fields: &HeaderMap) -> Vec<(&str, &[u8], bool)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes(), value.is_sensitive()))
        .collect()
}

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    fields
}

fn with_fields(headers: HeaderMap, trailers: Option<HeaderMap>) -> Answer {
    let mut head = Response::new(());
    *head.headers_mut() = headers;
    Answer { vary: Vec::new(), head, body: Bytes::new(), trailers }
}

fn assert_equal(one: &Answer, two: &Answer) {
    let vary = |answer: &Answer| format!("{:?}", answer.vary);
    assert_eq!(vary(one), vary(two));
    assert_eq!((one.head.status(), one.head.version()), (two.head.status(), two.head.version()));
    assert_eq!(lines(one.head.headers()), lines(two.head.headers()));
    assert_eq!(one.body, two.body);
    assert_eq!(one.trailers.as_ref().map(lines), two.trailers.as_ref().map(lines));
}

#[test]
fn fields_keep_their_order_and_their_lines() {
    let headers =
        fields(&[("b", "1"), ("set-cookie", "x"), ("a", "2"), ("set-cookie", "y"), ("b", "3")]);
    let sent = again(&with_fields(headers.clone(), None));
    assert_eq!(lines(sent.head.headers()), lines(&headers));
}

#[test]
fn a_sensitive_value_stays_sensitive() {
    let mut headers = fields(&[("a", "1"), ("b", "2")]);
    headers.get_mut("b").unwrap().set_sensitive(true);
    let sent = again(&with_fields(headers, None));
    assert_eq!(lines(sent.head.headers()), [("a", &b"1"[..], false), ("b", b"2", true)]);
}

#[test]
fn fields_for_one_connection_are_left_out() {
    let headers = fields(&[
        ("connection", "close, X-Own"),
        ("connection", "x-other"),
        ("x-own", "1"),
        ("x-other", "2"),
        ("keep-alive", "3"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("proxy-connection", "close"),
        ("x-kept", "4"),
        ("content-length", "0"),
    ]);
    let trailers = fields(&[("x-own", "1"), ("te", "trailers"), ("x-sum", "5")]);
    let sent = again(&with_fields(headers, Some(trailers)));
    assert_eq!(
        lines(sent.head.headers()),
        [("x-kept", &b"4"[..], false), ("content-length", b"0", false)]
    );
    assert_eq!(lines(&sent.trailers.unwrap()), [("x-sum", &b"5"[..], false)]);
}

#[test]
fn no_trailers_are_not_empty_trailers() {
    assert!(again(&with_fields(HeaderMap::new(), None)).trailers.is_none());
    assert!(again(&with_fields(HeaderMap::new(), Some(HeaderMap::new()))).trailers.is_some());
}

#[test]
fn every_version_and_every_status_comes_back() {
    for version in VERSIONS {
        for status in 100..=999 {
            let mut sent = with_fields(HeaderMap::new(), None);
            *sent.head.version_mut() = version;
            *sent.head.status_mut() = StatusCode::from_u16(status).unwrap();
            let got = again(&sent);
            assert_eq!((got.head.version(), got.head.status().as_u16()), (version, status));
        }
    }
}

#[test]
fn extensions_do_not_travel() {
    let mut sent = with_fields(HeaderMap::new(), None);
    sent.head.extensions_mut().insert("extension");
    assert!(again(&sent).head.extensions().is_empty());
}

#[test]
fn every_reason_to_go_comes_back() {
    for go in [Go::Veto(0), Go::Veto(5), Go::TooLarge, Go::TooSlow, Go::Failed, Go::Late] {
        let plain = WireResult::Go(go).encode();
        assert!(matches!(decode(&plain), Some(WireResult::Go(got)) if got == go), "{go:?}");
        assert!(decode(&[&plain[..], &[0]].concat()).is_none(), "{go:?} and more");
    }
}

/// These bytes must not change without a new version of the protocol.
#[test]
fn the_bytes_of_an_answer_are_known() {
    let mut sent = with_fields(fields(&[("a", "1")]), Some(fields(&[("t", "2")])));
    sent.vary.push((HeaderName::from_static("x"), vec![HeaderValue::from_static("3")]));
    sent.vary.push((HeaderName::from_static("y"), Vec::new()));
    sent.body = Bytes::from(vec![b'b'; 300]);
    let head = b"\x00\x02\x01x\x01\x00\x013\x01y\x00\x00\xc8\x02\x01\x01a\x00\x011\xac\x02";
    let tail = b"\x01\x01\x01t\x00\x012";
    assert_eq!(sent.encode(), [&head[..], &[b'b'; 300], tail].concat());
}

#[test]
fn a_header_does_not_keep_the_memory_of_the_body() {
    let plain = with_fields(fields(&[("a", "1")]), None).encode();
    let plain = Bytes::from(plain);
    let mut sent = answer(WireResult::decode(plain.clone()));
    let value = sent.head.headers_mut().remove("a").unwrap();
    let inside = plain.as_ptr_range().contains(&value.as_bytes().as_ptr());
    assert!(!inside);
}

#[test]
fn more_fields_than_a_map_takes_are_no_answer() {
    let mut plain = vec![VALUE, 0, 0, 200, 2];
    push_number(&mut plain, 40_000);
    for number in 0..40_000 {
        push_text(&mut plain, format!("x-{number}").as_bytes());
        push_value(&mut plain, &HeaderValue::from_static(""));
    }
    plain.extend_from_slice(&[0, 0]);
    assert!(decode(&plain).is_none());
}

#[test]
fn a_number_that_promises_more_than_there_is_is_no_answer() {
    let head = [VALUE, 0, 0, 200, 2, 0];
    for number in [1, 128, usize::MAX / 2, usize::MAX] {
        let mut plain = head.to_vec();
        push_number(&mut plain, number);
        plain.push(0);
        assert!(decode(&plain).is_none(), "a body of {number} bytes");
        let mut plain = vec![VALUE];
        push_number(&mut plain, number);
        assert!(decode(&plain).is_none(), "{number} names");
    }
    assert!(
        decode(&[&head[..], &[0xff; 9], &[0x7f, 0]].concat()).is_none(),
        "more bits than a number has"
    );
}

fn value() -> impl Strategy<Value = HeaderValue> {
    (vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8, Just(b'\t')], 0..8), any::<bool>()).prop_map(
        |(bytes, sensitive)| {
            let mut value = HeaderValue::from_bytes(&bytes).unwrap();
            value.set_sensitive(sensitive);
            value
        },
    )
}

fn name() -> impl Strategy<Value = HeaderName> {
    "[a-c]{1,2}|vary|content-type".prop_map(|name| name.parse().unwrap())
}

fn map() -> impl Strategy<Value = HeaderMap> {
    vec((name(), value()), 0..8).prop_map(|lines| {
        let mut map = HeaderMap::new();
        lines.into_iter().for_each(|(name, value)| _ = map.append(name, value));
        map
    })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let vary = vec((name(), vec(value(), 0..3)), 0..3);
    (vary, 100..1000_u16, 0..VERSIONS.len(), map(), vec(any::<u8>(), 0..400), option::of(map()))
        .prop_map(|(vary, status, version, headers, body, trailers)| {
            let mut answer = with_fields(headers, trailers);
            *answer.head.status_mut() = StatusCode::from_u16(status).unwrap();
            *answer.head.version_mut() = VERSIONS[version];
            Answer { vary, body: body.into(), ..answer }
        })
}

proptest! {
    #[test]
    fn any_answer_comes_back(sent in any_answer()) {
        let got = again(&sent);
        assert_equal(&sent, &got);
    }

    #[test]
    fn any_number_comes_back(number in any::<usize>(), few_bits in 0..usize::BITS) {
        for number in [number, number >> few_bits] {
            let mut plain = Vec::new();
            push_number(&mut plain, number);
            prop_assert_eq!(Unread(plain.into()).number(), Some(number));
        }
    }

    #[test]
    fn bytes_of_any_kind_are_an_answer_or_nothing(
        bytes in vec(any::<u8>(), 0..600),
        whole in 0..2_u8,
    ) {
        let after_head = [&[VALUE, 0, 0, 200, 2][..], &bytes].concat();
        assert_stable(if whole == 0 { &bytes } else { &after_head });
    }

    #[test]
    fn an_answer_with_changes_is_an_answer_or_nothing(
        sent in any_answer(),
        changes in vec((any::<Index>(), 0..4_usize, vec(small(), 0..4)), 1..6),
    ) {
        let mut plain = sent.encode();
        for (at, removed, added) in changes {
            let at = at.index(plain.len() + 1);
            plain.splice(at..plain.len().min(at + removed), added);
        }
        assert_stable(&plain);
    }

    #[test]
    fn an_answer_cut_short_is_nothing(sent in any_answer(), end in any::<Index>()) {
        let plain = sent.encode();
        prop_assert!(decode(&plain[..end.index(plain.len())]).is_none());
    }
}

/// Draws a part of a long input: bytes of any kind, an answer, one byte many times, a text with its
/// length, a number.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        any_answer().prop_map(|answer| answer.encode()),
        (small(), 0..60_000_usize).prop_map(|(byte, times)| vec![byte; times]),
        (vec(small(), 1..9), 0..6_000_usize).prop_map(|(bytes, times)| bytes.repeat(times)),
        (0..60_000_usize).prop_map(|length| {
            let mut text = Vec::new();
            push_text(&mut text, &vec![b'a'; length]);
            text
        }),
        any::<usize>().prop_map(|number| {
            let mut bytes = Vec::new();
            push_number(&mut bytes, number);
            bytes
        }),
    ]
}

/// Draws the start of an answer, up to where a long input costs most.
fn start() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop_oneof![Just(&[][..]), Just(NAMES), Just(LINES), Just(FIELDS), Just(BODY)]
            .prop_map(<[u8]>::to_vec),
        any_answer().prop_map(|answer| answer.encode()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn long_bytes_of_any_kind_are_an_answer_or_nothing(
        start in start(),
        parts in vec(part(), 1..8),
    ) {
        assert_stable(&[start, parts.concat()].concat());
    }
}

/// A field costs a map some 100 bytes, and a map that grows is there twice.
#[test]
#[cfg(not(tower_singleflight_loom))]
fn the_memory_that_decoding_takes_is_bounded_by_the_input() {
    let fields = (0..20_000).flat_map(|number| {
        [&b"\x04"[..], format!("{number:04x}").as_bytes(), b"\x00\x00"].concat()
    });
    let inputs = [
        [NAMES, &b"\x01x\x00".repeat(20_000)].concat(),
        [LINES, &b"\x00\x00".repeat(20_000)].concat(),
        [FIELDS, &b"\x01a\x00\x00".repeat(20_000)].concat(),
        [FIELDS, &fields.collect::<Vec<_>>()].concat(),
        [BODY, &b"\xff\xff\xff\x7f"[..]].concat(),
    ];
    for (number, plain) in inputs.into_iter().map(Bytes::from).enumerate() {
        let length = plain.len() as u64;
        let taken = allocation_counter::measure(|| assert!(WireResult::decode(plain).is_none()));
        assert!(
            taken.bytes_max <= 128 * length + 1024,
            "input {number}: {} bytes for {length}",
            taken.bytes_max
        );
    }
}

// The starts of answers, up to a number that promises much.

const NAMES: &[u8] = b"\x00\xff\xff\xff\x7f";
const LINES: &[u8] = b"\x00\x01\x01x\xff\xff\xff\x7f";
const FIELDS: &[u8] = b"\x00\x00\x00\xc8\x02\xff\xff\xff\x7f";
const BODY: &[u8] = b"\x00\x00\x00\xc8\x02\x00";

/// Draws bytes that mean something in lengths and flags.
fn small() -> impl Strategy<Value = u8> {
    prop_oneof![0..4_u8, 0x7e..0x82_u8, Just(0xff), any::<u8>()]
}

/// Asserts that bytes are no plain text, or one that stays the same when it is written and read
/// again.
fn assert_stable(plain: &[u8]) {
    if let Some(landed) = decode(plain) {
        let written = landed.encode();
        let again = decode(&written).expect("what is written can be read");
        assert_eq!(again.encode(), written);
    }
}
