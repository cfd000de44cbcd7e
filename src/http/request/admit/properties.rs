//! Compares `admit` with a slow restatement of its rules on plain text.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderValue, Request};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::http::policy::HttpPolicy;

/// A request head as text, before any of `http`'s types.
#[derive(Clone, Debug)]
struct Head {
    method: String,
    origin: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: bool,
}

impl Head {
    fn build(&self) -> Request<()> {
        let uri = format!("{}{}{}", self.origin, self.path, self.query);
        let mut request = Request::builder().method(&*self.method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, HeaderValue::from_bytes(value).unwrap());
        }
        request.body(()).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| &**value).collect()
    }

    fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// The authority, if all parts of the request agree in it. Otherwise each authority and the
    /// part that names it.
    fn hosts(&self) -> (Option<&[u8]>, Vec<&[u8]>) {
        let authority = self.origin.split_once("://").map(|(_, authority)| authority.as_bytes());
        match (authority, &self.lines("host")[..]) {
            (None, [host]) => (Some(host), Vec::new()),
            (Some(authority), [host]) if authority == *host => (Some(host), Vec::new()),
            (authority, hosts) => (authority, hosts.to_vec()),
        }
    }
}

const PARTITION: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "origin",
    "authorization",
    "proxy-authorization",
    "cookie",
    "if-none-match",
    "if-modified-since",
];

const PASS: [&str; 6] =
    ["range", "if-range", "if-match", "if-unmodified-since", "upgrade", "expect"];

fn may_share_at_all(head: &Head) -> bool {
    let method = head.method == "GET" || head.method == "HEAD";
    let passes = PASS.iter().any(|name| !head.lines(name).is_empty());
    method && !head.body && !passes && !asks_to_switch(head) && !forbids_storing(head)
}

fn asks_to_switch(head: &Head) -> bool {
    let lines = head.lines("connection").join(&b',');
    let text = String::from_utf8_lossy(&lines).to_lowercase();
    text.split(',').any(|option| option.trim() == "upgrade")
}

/// No value the test makes has `no-store` inside a quoted string.
fn forbids_storing(head: &Head) -> bool {
    head.lines("cache-control").iter().any(|line| {
        let text = String::from_utf8_lossy(line).to_lowercase();
        text.contains("no-store") || !line.is_ascii() || text.matches('"').count() % 2 == 1
    })
}

fn may_share(a: &Head, b: &Head) -> bool {
    may_share_at_all(a)
        && may_share_at_all(b)
        && (&a.method, &a.path, &a.query) == (&b.method, &b.path, &b.query)
        && (a.is_https(), a.hosts()) == (b.is_https(), b.hosts())
        && PARTITION.iter().all(|name| a.lines(name) == b.lines(name))
}

fn name() -> impl Strategy<Value = String> {
    let others = ["User-Agent", "x-api-key", "pragma"];
    prop_oneof![
        4 => Just("host"),
        12 => select(PARTITION.to_vec()),
        1 => select(PASS.to_vec()),
        4 => select(others.to_vec()),
        2 => select(vec!["Accept", "COOKIE", "Authorization", "Cache-Control", "connection"]),
    ]
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let plain = ["", "a", "A", "b", "a, b", "a; b", "gzip", "\"tag\""];
    let told = ["no-cache", "NO-store", "max-age=0", "keep-alive, Upgrade", "x=\"", "\t"];
    let any_byte = any::<u8>().prop_filter("is legal", |b| (*b >= 32 && *b != 127) || *b == 9);
    prop_oneof![
        12 => select(plain.to_vec()).prop_map(|v| v.as_bytes().to_vec()),
        4 => select(told.to_vec()).prop_map(|v| v.as_bytes().to_vec()),
        1 => vec(any_byte, 0..8),
        1 => (select(vec![b'a', b'b']), 60_000usize..60_002).prop_map(|(b, n)| vec![b; n]),
    ]
}

/// Random bytes are only for headers in which every byte has one meaning.
fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
    (name(), value()).prop_filter("is one the restatement reads", |(name, value)| {
        let read = name.eq_ignore_ascii_case("cache-control");
        !read
            || [&b""[..], b"a", b"a, b", b"no-cache", b"NO-store", b"max-age=0", b"x=\""]
                .contains(&&**value)
    })
}

fn head() -> impl Strategy<Value = Head> {
    let method = prop_oneof![8 => Just("GET"), 2 => Just("HEAD"), 1 => select(vec!["POST", "get"])];
    let origin = select(vec!["", "", "http://a", "https://a", "http://b:1"]);
    let parts = (method, origin, select(vec!["/", "/x"]), select(vec!["", "", "?", "?q"]));
    let headers = vec(header(), 0..5);
    (parts, headers, prop::bool::weighted(0.05)).prop_map(|(parts, headers, body)| Head {
        method: parts.0.to_owned(),
        origin: parts.1.to_owned(),
        path: parts.2.to_owned(),
        query: parts.3.to_owned(),
        headers,
        body,
    })
}

/// A second request that differs little from the first.
fn pair() -> impl Strategy<Value = (Head, Head)> {
    (head(), head(), header(), 0usize..10, any::<prop::sample::Index>()).prop_map(
        |(a, other, header, change, at)| {
            let mut b = a.clone();
            let place = at.index(a.headers.len().max(1));
            match change {
                0 => b = other,
                1 => b.headers.push(header),
                2 => b.headers.insert(place.min(b.headers.len()), header),
                3 if !b.headers.is_empty() => b.headers[place] = header,
                4 if !b.headers.is_empty() => drop(b.headers.remove(place)),
                5 if !b.headers.is_empty() => b.headers.push(b.headers[place].clone()),
                6 => b.headers.reverse(),
                7 => b.origin = other.origin,
                // The same request in another version.
                8 if b.origin == "http://a" => {
                    b.origin.clear();
                    b.headers.push(("Host".to_owned(), b"a".to_vec()));
                }
                _ => b.query = other.query,
            }
            (a, b)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn two_requests_share_exactly_if_the_contract_says_so((a, b) in pair()) {
        let policy = HttpPolicy::default();
        let admit = |head: &Head| policy.admit(&head.build(), head.body).ok();
        let (left, right) = (admit(&a), admit(&b));
        prop_assert_eq!(left.is_some(), may_share_at_all(&a));
        prop_assert_eq!(left.is_some() && left == right, may_share(&a, &b));
        let hasher = RandomState::new();
        prop_assert!(left != right || hasher.hash_one(&left) == hasher.hash_one(&right));
    }
}
