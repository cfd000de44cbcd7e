//! Compares `partition_cookies` with slow restatements of its rule, and with how servers parse a
//! `Cookie` header.

use crate::http::{policy::HttpPolicy, request::partition::Partition};
use http::{HeaderValue, Request, header::COOKIE};
use proptest::{collection::vec, prelude::*, sample::select};
use std::collections::BTreeMap;

type CookieLines = Vec<Vec<u8>>;

const LISTED: [&str; 2] = ["sid", "lang"];

fn partition(policy: &HttpPolicy, lines: &CookieLines) -> Partition {
    let mut head = Request::new(());
    for line in lines {
        head.headers_mut().append(COOKIE, HeaderValue::from_bytes(line).unwrap());
    }
    policy.admit(&head, false).unwrap()
}

fn same(one: &CookieLines, other: &CookieLines) -> bool {
    let policy = HttpPolicy::default().partition_cookies(LISTED);
    partition(&policy, one) == partition(&policy, other)
}

// The rule.

#[derive(Debug, PartialEq)]
enum Compared {
    Listed(BTreeMap<Vec<u8>, Vec<Vec<u8>>>),
    Whole(CookieLines),
}

fn compared(lines: &CookieLines) -> Compared {
    let mut listed = BTreeMap::<_, Vec<_>>::new();
    for pair in lines
        .join(&b';')
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
    {
        let Some((name, value)) = clean(pair) else { return Compared::Whole(lines.clone()) };
        if LISTED.iter().any(|listed| listed.as_bytes() == name) {
            listed.entry(name).or_default().push(value);
        }
    }
    Compared::Listed(listed)
}

/// As RFC 6265 §4.1.1 has it, byte by byte.
fn clean(pair: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&pair[..at], &pair[at + 1..]);
    let is_quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
    let octets = if is_quoted { &value[1..value.len() - 1] } else { value };
    let is_octet =
        |b: &u8| matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let is_token = |b: &u8| matches!(b, 0x21..=0x7e) && !b"()<>@,;:\\\"/[]?={}".contains(b);
    let is_clean = !name.is_empty() && name.iter().all(is_token) && octets.iter().all(is_octet);
    is_clean.then(|| (name.to_vec(), value.to_vec()))
}

// Servers, which differ in how they find the values of `sid`.

fn sid_in(
    lines: &CookieLines,
    is_separator: impl Fn(u8) -> bool,
    knows_quotes: bool,
) -> Vec<Vec<u8>> {
    let (mut parts, mut quoted, mut escaped) = (vec![Vec::new()], false, false);
    for byte in lines.join(&b"; "[..]) {
        if knows_quotes && byte == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = knows_quotes && byte == b'\\' && !escaped;
        if is_separator(byte) && !quoted {
            parts.push(Vec::new());
        } else {
            parts.last_mut().unwrap().push(byte);
        }
    }
    let named = parts.iter().filter_map(|part| {
        let at = part.iter().position(|byte| *byte == b'=')?;
        (part[..at].trim_ascii() == b"sid").then(|| part[at + 1..].trim_ascii().to_vec())
    });
    named.collect()
}

fn sids(lines: &CookieLines) -> Vec<Vec<Vec<u8>>> {
    let separators: [fn(u8) -> bool; 3] = [
        |byte| byte == b';',
        |byte| byte == b';' || byte == b',',
        |byte| byte == b';' || byte == b',' || byte.is_ascii_whitespace(),
    ];
    separators.iter().flat_map(|is| [false, true].map(|quotes| sid_in(lines, is, quotes))).collect()
}

/// Draws mostly from a few cookies, so that many lines are equal, and from text that may mislead a
/// parser.
fn lines() -> impl Strategy<Value = CookieLines> {
    let cookies = [
        "sid=1",
        "sid=1",
        "sid=2",
        "sid=",
        "sid=\"1\"",
        "SID=1",
        "xsid=1",
        "_ga=1",
        "_ga=2",
        "x=sid=1",
        "lang=1",
    ];
    let odd = [
        "sid", "=1", "sid =1", "sid= 1", "=", "\"", "\\", "\u{e9}", "x", "sid=\"1", "2\"",
        "sid=1 ", "x=1\t",
    ];
    let cookie = prop_oneof![12 => select(cookies.to_vec()), 1 => select(odd.to_vec())];
    let usual = select(vec!["; ", ";", " ;\t", ";;", "\n"]);
    let next = prop_oneof![12 => usual, 1 => select(vec![",", " ", "\t", ""])];
    vec((cookie, next), 0..5).prop_map(|parts| {
        let text: String = parts.into_iter().flat_map(|(cookie, next)| [cookie, next]).collect();
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn requests_share_exactly_if_they_agree_in_the_listed_cookies(
        one in lines(),
        other in lines(),
    ) {
        prop_assert_eq!(same(&one, &other), compared(&one) == compared(&other));
    }

    #[test]
    fn no_server_finds_another_session_in_requests_that_share(one in lines(), other in lines()) {
        if same(&one, &other) {
            prop_assert_eq!(sids(&one), sids(&other));
        }
    }
}

/// Around two sessions, in all places, any byte that a header may have.
#[test]
fn no_odd_byte_hides_another_session() {
    for byte in (0..=255).filter(|byte| HeaderValue::from_bytes(&[*byte]).is_ok()) {
        for [before, after] in
            [["", ""], ["x=1; ", ""], ["x=1", ""], ["x=\"", ";y=\""], ["sid=\"3; x=", "; y=\""]]
        {
            let with = |session: &str| {
                vec![
                    [before.as_bytes(), &[byte], b"sid=", session.as_bytes(), after.as_bytes()]
                        .concat(),
                ]
            };
            if same(&with("1"), &with("2")) {
                assert_eq!(
                    sids(&with("1")),
                    sids(&with("2")),
                    "{before}{}{after}",
                    byte.escape_ascii()
                );
            }
        }
    }
}
