use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use http::{
    HeaderName, Request,
    header::{ACCEPT, COOKIE, HOST},
};

use super::Partition;
use crate::http::policy::HttpPolicy;

const X: HeaderName = HeaderName::from_static("x");
const Y: HeaderName = HeaderName::from_static("y");

fn get(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let start = Request::get(uri);
    let request = headers.iter().fold(start, |r, (n, v)| r.header(*n, *v));
    request.body(()).unwrap()
}

fn of(head: &Request<()>) -> Partition {
    HttpPolicy::default().admit(head, false).unwrap()
}

fn same(a: &[(&str, &str)], b: &[(&str, &str)]) -> bool {
    let (a, b) = (of(&get("/", a)), of(&get("/", b)));
    let hasher = RandomState::new();
    assert!(a != b || hasher.hash_one(&a) == hasher.hash_one(&b));
    a == b
}

#[test]
fn equal_heads_have_equal_partitions() {
    let headers = [("host", "h"), ("accept", "a"), ("cookie", "c"), ("user-agent", "u")];
    assert!(same(&headers, &headers));
}

#[test]
fn every_listed_header_parts_by_value() {
    let listed = [
        "accept",
        "accept-encoding",
        "accept-language",
        "origin",
        "authorization",
        "proxy-authorization",
        "cookie",
        "if-none-match",
        "if-modified-since",
        "host",
    ];
    for name in listed {
        assert!(same(&[(name, "a")], &[(name, "a")]), "{name}");
        assert!(!same(&[(name, "a")], &[(name, "b")]), "{name}");
        assert!(!same(&[(name, "a")], &[(name, "A")]), "{name}");
        assert!(!same(&[(name, "a")], &[]), "{name}");
    }
}

#[test]
fn a_header_that_is_not_listed_does_not_part() {
    assert!(same(&[("user-agent", "a")], &[("user-agent", "b")]));
}

#[test]
fn a_value_counts_only_under_its_own_name() {
    assert!(!same(&[("authorization", "x")], &[("cookie", "x")]));
    assert!(!same(&[("authorization", "x")], &[("proxy-authorization", "x")]));
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    assert!(!same(&[("cookie", "")], &[]));
    assert!(!same(&[("host", "")], &[]));
}

#[test]
fn repeated_lines_count_in_order() {
    let (ab, ba) = ([("cookie", "a"), ("cookie", "b")], [("cookie", "b"), ("cookie", "a")]);
    assert!(same(&ab, &ab));
    assert!(!same(&ab, &ba));
    assert!(!same(&ab, &ab[..1]));
    assert!(!same(&ab, &[("cookie", "a; b")]));
    assert!(!same(&ab, &[("cookie", "a, b")]));
}

#[test]
fn the_order_of_different_headers_does_not_count() {
    let (accept, cookie) = (("accept", "a"), ("cookie", "c"));
    assert!(same(&[accept, cookie], &[cookie, accept]));
}

#[test]
fn a_second_host_line_counts() {
    assert!(!same(&[("host", "a"), ("host", "b")], &[("host", "a")]));
    assert!(!same(&[("host", "a"), ("host", "b")], &[("host", "a"), ("host", "c")]));
}

#[test]
fn scheme_and_authority_of_the_uri_count() {
    let plain = of(&get("http://a/x", &[]));
    assert_eq!(plain, of(&get("http://a/x", &[])));
    for other in ["https://a/x", "http://b/x", "http://a:80/x", "/x"] {
        assert_ne!(plain, of(&get(other, &[])), "{other}");
    }
}

#[test]
fn a_password_in_the_authority_is_compared_in_its_case() {
    assert_ne!(of(&get("http://u:P@a/", &[])), of(&get("http://u:p@a/", &[])));
}

/// All forms in which a request can name its host. Forms in one row are equal, forms in two rows
/// differ.
#[test]
fn the_origin_is_one_however_a_version_writes_it() {
    type Written = (&'static str, &'static [(&'static str, &'static str)]);
    let origins: [&[Written]; 14] = [
        &[("/", &[])],
        &[("/", &[("host", "")])],
        &[
            ("/", &[("host", "a")]),
            ("http://a/", &[]),
            ("http://a/", &[("host", "a")]),
            ("HTTP://a/", &[]),
        ],
        &[("/", &[("host", "A")]), ("http://A/", &[])],
        &[("/", &[("host", "a:80")]), ("http://a:80/", &[])],
        &[("/", &[("host", "b")]), ("http://b/", &[("host", "b")])],
        &[("https://a/", &[]), ("https://a/", &[("host", "a")])],
        &[("http://a/", &[("host", "b")])],
        &[("http://b/", &[("host", "a")])],
        &[("https://a/", &[("host", "b")])],
        &[("/", &[("host", "a"), ("host", "a")])],
        &[("/", &[("host", "a"), ("host", "b")])],
        &[("http://a/", &[("host", "a"), ("host", "b")])],
        &[("http://a/", &[("host", "b"), ("host", "a")])],
    ];
    let all = || {
        origins
            .iter()
            .enumerate()
            .flat_map(|(row, origin)| origin.iter().map(move |written| (row, written)))
    };
    for (row, one) in all() {
        for (other_row, other) in all() {
            let equal = of(&get(one.0, one.1)) == of(&get(other.0, other.1));
            assert_eq!(equal, row == other_row, "{one:?} and {other:?}");
        }
    }
}

#[test]
fn path_and_query_count_byte_by_byte() {
    let uris = [
        "/a", "/b", "/a/", "/A", "/a?", "/a?x", "/a?y", "/a?X", "/a?x=", "/a?x&y", "/a?y&x",
        "/a/?x", "/ax",
    ];
    for one in uris {
        for other in uris {
            assert_eq!(
                of(&get(one, &[])) == of(&get(other, &[])),
                one == other,
                "{one} and {other}"
            );
        }
    }
}

#[test]
fn a_query_cannot_pass_for_a_path_or_a_header() {
    let policy = HttpPolicy::default().ignore_path(true);
    let of = |uri, headers: &[_]| policy.admit(&get(uri, headers), false).unwrap();
    assert_ne!(of("/?x", &[]), of("/", &[("accept", "x")]));
    assert_ne!(of("/x", &[]), of("/?x", &[]));
    assert_eq!(of("/x?q", &[]), of("/y?q", &[]));
}

#[test]
fn methods_are_apart() {
    let head = Request::head("/").body(()).unwrap();
    assert_ne!(of(&get("/", &[])), of(&head));
}

#[test]
fn debug_shows_no_headers() {
    let headers = [
        ("authorization", "Basic s3cret"),
        ("cookie", "s3cret"),
        ("host", "s3cret"),
        ("x", "s3cret"),
    ];
    let head = get("http://u:s3cret@h/path?s3cret", &headers);
    let partition = of(&head).with_vary(&[X]);
    let shown = format!("{partition:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("GET") && shown.contains("/path"), "{shown}");
}

#[test]
fn it_is_send_sync_and_fit_for_a_table() {
    fn fits<T: Send + Sync + Clone + Eq + std::hash::Hash + 'static>() {}
    fits::<Partition>();
    let table: HashSet<_> = [of(&get("/", &[])), of(&get("/", &[]))].into();
    assert_eq!(table.len(), 1);
}

#[test]
fn vary_splits_by_the_value_of_the_named_header() {
    let (one, two) = (get("/", &[("x", "1")]), get("/", &[("x", "2")]));
    assert_eq!(of(&one), of(&two));
    assert_eq!(of(&one).with_vary(&[X]), of(&get("/", &[("x", "1"), ("y", "3")])).with_vary(&[X]));
    assert_ne!(of(&one).with_vary(&[X]), of(&two).with_vary(&[X]));
}

#[test]
fn a_partition_split_by_vary_never_equals_the_one_it_came_from() {
    for headers in [&[][..], &[("x", "")], &[("x", "1"), ("x", "2")]] {
        let head = get("/", headers);
        assert_ne!(of(&head).with_vary(&[X]), of(&head));
    }
}

#[test]
fn vary_on_an_absent_header_is_not_vary_on_an_empty_one() {
    let (absent, empty) = (get("/", &[]), get("/", &[("x", "")]));
    assert_ne!(of(&absent).with_vary(&[X]), of(&empty).with_vary(&[X]));
}

#[test]
fn vary_in_another_order_or_twice_gives_the_same_partition() {
    let head = get("/", &[("y", "2"), ("x", "1"), ("x", "0"), ("cookie", "c")]);
    let at_once = of(&head).with_vary(&[X, Y]);
    assert_eq!(at_once, of(&head).with_vary(&[Y, X]));
    let twice = of(&head).with_vary(&[Y, X, Y]);
    assert_eq!(at_once, twice);
}

#[test]
fn vary_keeps_what_was_apart_apart() {
    let (a, b) = (get("/", &[("cookie", "a")]), get("/", &[("cookie", "b")]));
    assert_ne!(of(&a).with_vary(&[X]), of(&b).with_vary(&[X]));
}

#[test]
fn what_is_compared_is_not_kept_a_second_time() {
    let head = get("/", &[("accept", "a"), ("host", "h"), ("x", "1"), ("cookie", "c"), ("x", "2")]);
    let others = of(&head).uncompared_headers();
    assert_eq!(others.lines(&X).collect::<Vec<_>>(), [b"1", b"2"]);
    for compared in [ACCEPT, HOST, COOKIE] {
        assert_eq!(others.lines(&compared).count(), 0, "{compared}");
    }
    let ignoring =
        HttpPolicy::default().ignore_vary(true).admit(&head, false).unwrap().uncompared_headers();
    assert_eq!(ignoring.lines(&X).count(), 0);
}

#[test]
fn what_is_not_compared_outlives_a_split_by_vary() {
    let others = of(&get("/", &[("y", "2"), ("x", "1")])).with_vary(&[X]).uncompared_headers();
    assert_eq!(others.lines(&Y).collect::<Vec<_>>(), [b"2"]);
}

/// The name of the first difference, which is the same from both sides.
fn difference(policy: &HttpPolicy, one: &Partition, other: &Partition) -> Option<String> {
    let name = |tag| policy.name_of(tag).to_owned();
    let found = one.differs_from(other).map(name);
    assert_eq!(found, other.differs_from(one).map(name));
    assert_eq!(found.is_none(), one == other);
    found
}

#[test]
fn the_first_difference_has_a_name() {
    let policy = HttpPolicy::default().partition_header(Y).partition_cookies(["sid", "lang"]);
    let of = |uri: &str, headers: &[_]| policy.admit(&get(uri, headers), false).unwrap();
    let plain = [("host", "h"), ("accept", "a"), ("cookie", "sid=1; lang=de")];
    let head = Request::head("/a").header("host", "h").body(()).unwrap();
    let cases = [
        (of("http://h/a", &plain), None),
        (policy.admit(&head, false).unwrap(), Some("method")),
        (of("https://h/a", &plain), Some("scheme")),
        (of("/a", &[("host", "i"), plain[1], plain[2]]), Some("authority")),
        (of("/a", &[("host", "h"), ("host", "h"), plain[1], plain[2]]), Some("authority")),
        (of("/a", &plain[1..]), Some("authority")),
        (of("http://i/a", &plain), Some("authority")),
        (of("/b?q", &plain), Some("path")),
        (of("/a?q", &plain[..1]), Some("query")),
        (of("/a", &[plain[0], plain[2]]), Some("accept")),
        (of("/a", &[plain[0], ("accept", "b"), plain[2]]), Some("accept")),
        (of("/a", &[plain[0], plain[1], ("cookie", "lang=de")]), Some("cookie")),
        (of("/a", &[plain[0], plain[1], ("cookie", "sid=1; lang=fr")]), Some("cookie")),
        (of("/a", &[plain[0], plain[1], ("cookie", "odd")]), Some("cookie")),
        (of("/a", &[plain[0], plain[1], plain[2], ("y", "")]), Some("y")),
        (of("/a", &plain).with_vary(&[X]), Some("vary")),
    ];
    for (other, expected) in cases {
        assert_eq!(difference(&policy, &of("/a", &plain), &other).as_deref(), expected);
    }
    let varied = of("/a", &plain).with_vary(&[X]);
    let more = of("/a", &[plain[0], plain[1], plain[2], ("y", "")]);
    assert_eq!(difference(&policy, &varied, &more).as_deref(), Some("y"));
    assert_eq!(
        difference(
            &policy,
            &varied,
            &of("/a", &[&plain[..], &[("x", "1")]].concat()).with_vary(&[X])
        )
        .as_deref(),
        Some("vary")
    );
}

#[test]
fn every_header_that_parts_has_its_name_as_that_of_the_difference() {
    let policy = HttpPolicy::default();
    for name in [
        "accept",
        "accept-encoding",
        "accept-language",
        "origin",
        "authorization",
        "proxy-authorization",
    ] {
        let difference = difference(&policy, &of(&get("/", &[])), &of(&get("/", &[(name, "x")])));
        assert_eq!(difference.as_deref(), Some(name));
    }
}

#[cfg(feature = "axum")]
mod axum {
    use ::axum::extract::OriginalUri;

    use super::{HttpPolicy, difference, get, of};

    #[test]
    fn a_difference_in_the_original_path_has_a_name() {
        let policy = HttpPolicy::default();
        let (one, other) = (nested("/1", "/users/1"), nested("/1", "/orders/1"));
        assert_eq!(difference(&policy, &one, &other).as_deref(), Some("original-path"));
        assert_eq!(difference(&policy, &one, &nested("/2", "/orders/1")).as_deref(), Some("path"));
    }

    fn nested(path: &str, original: &str) -> super::Partition {
        let mut head = get(path, &[]);
        let uri = OriginalUri(original.parse().unwrap());
        head.extensions_mut().insert(uri);
        of(&head)
    }

    #[test]
    fn routes_that_nesting_stripped_to_one_path_are_apart() {
        assert_ne!(nested("/1", "/users/1"), nested("/1", "/orders/1"));
        assert_eq!(nested("/1", "/users/1?a"), nested("/1", "/users/1?b"));
    }

    #[test]
    fn a_path_rewritten_inside_counts_as_well() {
        assert_ne!(nested("/1", "/users/1"), nested("/2", "/users/1"));
    }
}
