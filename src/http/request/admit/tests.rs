use http::{
    Method, Request,
    header::{COOKIE, EXPECT, RANGE, UPGRADE, USER_AGENT},
};

use super::PassReason;
use crate::http::policy::HttpPolicy;

fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
    let start = Request::builder().method(method).uri("/x");
    let request = headers.iter().fold(start, |r, (n, v)| r.header(*n, *v));
    request.body(()).unwrap()
}

fn get(headers: &[(&str, &str)]) -> Request<()> {
    request("GET", headers)
}

fn pass(policy: &HttpPolicy, head: &Request<()>) -> Option<PassReason> {
    policy.admit(head, false).err()
}

fn default() -> HttpPolicy {
    HttpPolicy::default()
}

fn share(policy: &HttpPolicy, a: &Request<()>, b: &Request<()>) -> bool {
    policy.admit(a, false).unwrap() == policy.admit(b, false).unwrap()
}

#[test]
fn get_and_head_may_share() {
    assert_eq!(pass(&default(), &request("GET", &[])), None);
    assert_eq!(pass(&default(), &request("HEAD", &[])), None);
}

#[test]
fn other_methods_pass() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "get"] {
        let why = pass(&default(), &request(method, &[]));
        assert_eq!(why, Some(PassReason::Method), "{method}");
    }
}

#[test]
fn the_user_names_the_methods() {
    let policy = default().methods([Method::POST]);
    assert_eq!(pass(&policy, &request("POST", &[])), None);
    assert_eq!(pass(&policy, &request("GET", &[])), Some(PassReason::Method));
}

#[test]
fn connect_passes_even_if_named() {
    let policy = default().methods([Method::CONNECT]).trust_key();
    assert_eq!(pass(&policy, &request("CONNECT", &[])), Some(PassReason::Upgrade));
}

#[test]
fn a_request_with_a_body_passes() {
    assert_eq!(default().admit(&get(&[]), true).err(), Some(PassReason::Body));
}

#[test]
fn bodies_can_be_ignored() {
    let policy = default().ignore_request_body(true);
    assert!(policy.admit(&get(&[]), true).is_ok());
    assert!(policy.ignore_request_body(false).admit(&get(&[]), true).is_err());
}

#[test]
fn headers_that_make_the_answer_ones_own_pass() {
    for name in ["range", "if-range", "if-match", "if-unmodified-since", "expect"] {
        for value in ["", "x"] {
            let why = pass(&default(), &get(&[(name, value)]));
            assert_eq!(why, Some(PassReason::Header), "{name}: {value}");
        }
    }
}

#[test]
fn the_other_conditionals_may_share() {
    let head = get(&[("if-none-match", "\"a\""), ("if-modified-since", "x")]);
    assert_eq!(pass(&default(), &head), None);
}

#[test]
fn upgrades_pass() {
    let asking = [
        &[("upgrade", "websocket")][..],
        &[("connection", "Upgrade")],
        &[("connection", "keep-alive, UPGRADE")],
        &[("connection", "close"), ("connection", "upgrade")],
    ];
    for headers in asking {
        assert_eq!(pass(&default(), &get(headers)), Some(PassReason::Upgrade), "{headers:?}");
    }
}

#[test]
fn an_ordinary_connection_header_does_not_pass() {
    let head =
        get(&[("connection", "keep-alive, upgrade-later"), ("upgrade-insecure-requests", "1")]);
    assert_eq!(pass(&default(), &head), None);
}

#[test]
fn upgrades_can_be_allowed() {
    let policy = default().allow_request_header(UPGRADE);
    let head = get(&[("upgrade", "h2c"), ("connection", "upgrade")]);
    assert_eq!(pass(&policy, &head), None);
}

#[test]
fn a_header_can_be_made_to_pass() {
    let policy = default().pass_request_header(USER_AGENT);
    assert_eq!(pass(&policy, &get(&[("user-agent", "x")])), Some(PassReason::Header));
    assert_eq!(pass(&policy, &get(&[])), None);
}

#[test]
fn an_allowed_header_shares_with_its_equals_only() {
    let policy = default().allow_request_header(RANGE);
    let (one, two) = (get(&[("range", "bytes=0-1")]), get(&[("range", "bytes=2-3")]));
    assert!(share(&policy, &one, &one));
    assert!(!share(&policy, &one, &two));
    assert!(!share(&policy, &one, &get(&[])));
    assert_eq!(pass(&policy, &get(&[("expect", "x")])), Some(PassReason::Header));
}

#[test]
fn a_request_with_no_store_passes() {
    for value in ["no-store", "max-age=5, No-Store"] {
        let why = pass(&default(), &get(&[("cache-control", value)]));
        assert_eq!(why, Some(PassReason::NoStore), "{value}");
    }
}

#[test]
fn a_request_whose_cache_control_cannot_be_read_passes() {
    let head = get(&[("cache-control", "max-age=\"5")]);
    assert_eq!(pass(&default(), &head), Some(PassReason::Malformed));
}

#[test]
fn other_cache_control_does_not_pass_and_does_not_part() {
    let head = get(&[("cache-control", "no-cache, max-age=0, max-stale, x=\"no-store\"")]);
    assert!(share(&default(), &head, &get(&[])));
}

#[test]
fn a_requests_no_store_can_be_ignored() {
    let policy = default().ignore_request_no_store(true);
    for value in ["no-store", "\"", "max-age=5"] {
        assert_eq!(pass(&policy, &get(&[("cache-control", value)])), None, "{value}");
    }
}

#[test]
fn a_header_of_ones_own_can_part() {
    let key = http::HeaderName::from_static("x-api-key");
    let (one, two) = (get(&[("x-api-key", "1")]), get(&[("x-api-key", "2")]));
    assert!(share(&default(), &one, &two));
    let policy = default().partition_header(key.clone()).partition_header(key);
    assert!(!share(&policy, &one, &two));
    assert!(share(&policy, &one, &one));
}

#[test]
fn a_listed_header_can_be_left_out() {
    let policy = default().without_partition_header(COOKIE);
    let (one, two) = (get(&[("cookie", "1")]), get(&[("cookie", "2")]));
    assert!(share(&policy, &one, &two));
    assert!(!share(&policy, &one, &get(&[("accept", "x")])));
}

#[test]
fn the_authority_can_be_ignored() {
    let policy = default().ignore_authority(true);
    let (one, two) = (get(&[("host", "a"), ("host", "b")]), get(&[("host", "c")]));
    assert!(share(&policy, &one, &two));
    let absolute = Request::get("https://d/x").body(()).unwrap();
    assert!(share(&policy, &one, &absolute));
    assert!(!share(&policy, &one, &Request::get("/y").body(()).unwrap()));
}

#[test]
fn the_path_can_be_ignored() {
    let policy = default().ignore_path(true);
    let other = Request::get("/y").body(()).unwrap();
    assert!(share(&policy, &get(&[]), &other));
    assert!(!share(&policy, &get(&[("host", "a")]), &other));
    assert!(!share(&policy, &get(&[]), &Request::get("/y?q").body(()).unwrap()));
}

#[test]
fn the_query_can_be_ignored() {
    let policy = default().ignore_query(true);
    let with = |uri| Request::get(uri).body(()).unwrap();
    assert!(share(&policy, &with("/x?a"), &with("/x?b")));
    assert!(share(&policy, &with("/x?a"), &with("/x")));
    assert!(!share(&policy, &with("/x?a"), &with("/y?a")));
    let neither = policy.clone().ignore_path(true);
    assert!(share(&neither, &with("/x?a"), &with("/y")));
    assert!(!share(&neither.ignore_query(false), &with("/x?a"), &with("/x")));
}

#[test]
fn with_the_key_trusted_only_the_method_parts() {
    let policy = default().trust_key();
    let one = Request::get("https://a/1").header("cookie", "1");
    let one = one.header("range", "bytes=0-1").header("cache-control", "no-store, \"");
    let one = one.body(()).unwrap();
    assert!(share(&policy, &one, &get(&[("expect", "x"), ("authorization", "y")])));
    assert!(share(&policy, &one, &Request::get("/2?q").body(()).unwrap()));
    assert!(!share(&policy, &one, &request("HEAD", &[])));
}

#[test]
fn with_the_key_trusted_upgrades_bodies_and_other_methods_still_pass() {
    let policy = default().trust_key();
    let upgrade = get(&[("connection", "upgrade"), ("upgrade", "websocket")]);
    assert_eq!(pass(&policy, &upgrade), Some(PassReason::Upgrade));
    assert_eq!(policy.admit(&get(&[]), true).err(), Some(PassReason::Body));
    assert_eq!(pass(&policy, &request("POST", &[])), Some(PassReason::Method));
}

#[test]
fn after_trusting_the_key_one_can_tighten_again() {
    let policy = default().trust_key().partition_header(COOKIE).pass_request_header(EXPECT);
    assert!(!share(&policy, &get(&[("cookie", "1")]), &get(&[("cookie", "2")])));
    assert_eq!(pass(&policy, &get(&[("expect", "x")])), Some(PassReason::Header));
}

#[test]
fn only_unsafe_methods_write() {
    for method in
        ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"]
    {
        assert!(!default().is_write(&method.parse().unwrap()), "{method}");
    }
    for method in
        ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "PURGE", "PROPPATCH", "MKCOL", "get", "query"]
    {
        assert!(default().is_write(&method.parse().unwrap()), "{method}");
    }
}

#[test]
fn a_method_that_shares_does_not_write() {
    let policy = default().methods([Method::GET, Method::POST]);
    assert!(!policy.is_write(&Method::POST));
    assert!(policy.is_write(&Method::PUT));
}

#[test]
fn sealing_by_writes_can_be_turned_off() {
    assert!(!default().seal_on_write(false).is_write(&Method::PUT));
}

#[test]
fn a_reload_wants_it_fresh() {
    let reloads = [
        &[("cache-control", "no-cache")][..],
        &[("cache-control", "Max-Age=0")],
        &[("cache-control", "max-age=60"), ("cache-control", "max-age=00")],
        &[("cache-control", "max-age=soon")],
        &[("cache-control", "max-age=\"5")],
        &[("pragma", "No-Cache")],
        &[("pragma", "x, no-cache")],
        &[("pragma", "\"")],
    ];
    for headers in reloads {
        assert!(default().wants_fresh(&get(headers)), "{headers:?}");
    }
}

#[test]
fn others_take_what_is_there() {
    let others = [
        &[][..],
        &[("cache-control", "")],
        &[("cache-control", "max-age=1, max-stale=0, x=no-cache")],
        &[("cache-control", "max-age=1"), ("pragma", "no-cache")],
        &[("pragma", "max-age=0")],
    ];
    for headers in others {
        assert!(!default().wants_fresh(&get(headers)), "{headers:?}");
    }
}

#[test]
fn reloads_can_be_ignored() {
    let policy = default().ignore_request_no_cache(true);
    for value in ["no-cache", "max-age=0", "\""] {
        assert!(!policy.wants_fresh(&get(&[("cache-control", value)])), "{value}");
    }
}

#[test]
fn trusting_the_key_leaves_what_is_about_time() {
    let policy = default().trust_key();
    assert!(policy.wants_fresh(&get(&[("cache-control", "no-cache")])));
    assert!(policy.is_write(&Method::PUT));
}

#[test]
fn reasons_have_names_of_their_own() {
    use PassReason::{Body, Header, Malformed, Method, NoStore, Upgrade};
    let names: std::collections::HashSet<_> =
        [Body, Header, Malformed, Method, NoStore, Upgrade].map(PassReason::as_str).into();
    assert_eq!(names.len(), 6);
}
