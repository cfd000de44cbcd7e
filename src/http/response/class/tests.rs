use http::{
    HeaderName, Response, StatusCode,
    header::{ACCEPT, COOKIE},
};
use http_body::SizeHint;

use super::{ResponseClass, ResponseFacts, VetoReason};
use crate::http::policy::{HttpPolicy, StatusRange};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

const MIB: u64 = 1 << 20;

fn response(status: u16, headers: &[(&str, &str)]) -> Response<()> {
    let start = Response::builder().status(status);
    let response = headers.iter().fold(start, |r, (n, v)| r.header(*n, *v));
    response.body(()).unwrap()
}

fn ok(headers: &[(&str, &str)]) -> Response<()> {
    response(200, headers)
}

fn judge(
    policy: &HttpPolicy,
    method: &str,
    response: &Response<()>,
    body: &SizeHint,
) -> Option<VetoReason> {
    match policy.classify(&facts(policy, response), response, body, method == "HEAD") {
        ResponseClass::Shared => None,
        ResponseClass::Vetoed(reason) => Some(reason),
        ResponseClass::Refused | ResponseClass::RefusedToAll | ResponseClass::HeadRefusedToAll => {
            panic!("a refusal")
        }
    }
}

fn facts(policy: &HttpPolicy, response: &Response<()>) -> ResponseFacts {
    ResponseFacts::in_headers(policy, response.headers())
}

fn class(policy: &HttpPolicy, response: &Response<()>) -> ResponseClass {
    policy.classify(&facts(policy, response), response, &SizeHint::default(), false)
}

fn is_refusal(policy: &HttpPolicy, response: &Response<()>) -> bool {
    class(policy, response).is_refusal()
}

fn veto(policy: &HttpPolicy, response: &Response<()>) -> Option<VetoReason> {
    judge(policy, "GET", response, &SizeHint::default())
}

fn foreign_vary(policy: &HttpPolicy, response: &Response<()>) -> Vec<HeaderName> {
    policy.foreign_vary(&facts(policy, response))
}

fn default() -> HttpPolicy {
    HttpPolicy::default()
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

#[test]
fn an_ordinary_response_is_shared() {
    let headers = [
        ("cache-control", "public, max-age=60"),
        ("vary", "accept-encoding"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "5"),
    ];
    assert_eq!(veto(&default(), &ok(&headers)), None);
    assert_eq!(veto(&default(), &ok(&[])), None);
}

#[test]
fn each_status_is_shared_or_vetoed_or_a_refusal() {
    let of_the_resource = [404, 410, 451];
    let storable = [200, 203, 204, 300, 301, 304, 308];
    for code in 100..=999 {
        let expected = match code {
            429 => ResponseClass::RefusedToAll,
            511 => ResponseClass::Refused,
            400..=499 if !of_the_resource.contains(&code) => ResponseClass::Refused,
            100..=399 if !storable.contains(&code) => ResponseClass::Vetoed(VetoReason::Status),
            _ => ResponseClass::Shared,
        };
        assert_eq!(class(&default(), &response(code, &[])), expected, "{code}");
    }
}

#[test]
fn what_no_status_lets_a_cache_store_is_shared_if_its_headers_do() {
    let codes =
        || (200..400).filter(|code| ![200, 203, 204, 206, 300, 301, 304, 308].contains(code));
    for code in codes() {
        for said in ["public", "max-age=1", "s-maxage=1", "max-age=0, s-maxage=1"] {
            assert_eq!(
                class(&default(), &response(code, &[("cache-control", said)])),
                ResponseClass::Shared,
                "{code} {said}"
            );
        }
        for said in [
            "",
            "max-age=0",
            "max-age=1, s-maxage=0",
            "must-revalidate",
            "x=\"public\"",
            "not-public",
        ] {
            let found = class(&default(), &response(code, &[("cache-control", said)]));
            assert_eq!(found, ResponseClass::Vetoed(VetoReason::Status), "{code} {said}");
        }
        let relaxed = default().share_status(status(code));
        assert_eq!(class(&relaxed, &response(code, &[])), ResponseClass::Shared, "{code}");
    }
    let partial = response(206, &[("cache-control", "public, max-age=1")]);
    assert_eq!(class(&default(), &partial), ResponseClass::Vetoed(VetoReason::Status));
}

#[test]
fn freshness_does_not_share_what_another_rule_keeps() {
    let redirect = |header| {
        class(&default(), &response(302, &[("cache-control", "public, max-age=60"), header]))
    };
    assert_eq!(
        redirect(("cache-control", "private")),
        ResponseClass::Vetoed(VetoReason::CacheControl)
    );
    assert_eq!(redirect(("set-cookie", "x")), ResponseClass::Vetoed(VetoReason::SetCookie));
    assert_eq!(redirect(("cache-control", "a b")), ResponseClass::Vetoed(VetoReason::Status));
}

#[test]
fn a_refusal_is_one_whatever_its_headers_say() {
    let headers = [
        ("set-cookie", "x"),
        ("cache-control", "no-store"),
        ("cache-control", "a b"),
        ("vary", "*"),
        ("x", "y"),
    ];
    for header in headers {
        for code in [400, 401, 403, 422, 511] {
            assert_eq!(
                class(&default(), &response(code, &[header])),
                ResponseClass::Refused,
                "{code} {header:?}"
            );
        }
        assert_eq!(
            class(&default(), &response(429, &[header])),
            ResponseClass::RefusedToAll,
            "{header:?}"
        );
    }
}

#[test]
fn of_a_429_whose_body_must_not_have_several_readers_followers_get_the_head() {
    for header in [("content-type", "text/event-stream"), ("content-length", "99999999")] {
        assert_eq!(
            class(&default(), &response(429, &[header])),
            ResponseClass::HeadRefusedToAll,
            "{header:?}"
        );
    }
}

#[test]
fn a_status_can_be_shared() {
    let policy = default().share_status(status(403));
    assert_eq!(veto(&policy, &response(403, &[])), None);
    assert!(is_refusal(&policy, &response(401, &[])));
    assert_eq!(
        veto(&policy, &response(403, &[("set-cookie", "x")])),
        Some(VetoReason::SetCookie),
        "no more than that"
    );
}

#[test]
fn a_status_can_be_made_a_refusal() {
    let policy = default().veto_status(status(500)).veto_status(status(206));
    assert!(is_refusal(&policy, &response(500, &[])) && is_refusal(&policy, &response(206, &[])));
    assert!(!is_refusal(&policy, &response(502, &[])));
    assert_eq!(veto(&policy.share_status(status(500)), &response(500, &[])), None);
}

#[test]
fn a_range_names_each_of_its_statuses_and_no_other() {
    let named = |range: StatusRange| {
        let policy = default().veto_status(range);
        let is_named = |code: &u16| is_refusal(&policy, &response(*code, &[]));
        (500..=599).filter(|code| *code != 511).filter(is_named).collect::<Vec<_>>()
    };
    assert_eq!(named((500..503).into()), [500, 501, 502]);
    assert_eq!(named((500..=503).into()), [500, 501, 502, 503]);
    assert_eq!(named(StatusCode::BAD_GATEWAY.into()), [502]);
    assert_eq!(named((599..=u16::MAX).into()), [599]);
    let (none, backwards) = (503..503, std::ops::Range { start: 510, end: 500 });
    assert!(named(none.into()).is_empty() && named(backwards.into()).is_empty());
}

#[test]
fn the_last_call_that_names_a_status_counts() {
    let policy =
        default().share_status(400..=499).veto_status(StatusCode::FORBIDDEN).veto_status(500..600);
    assert_eq!(class(&policy, &response(400, &[])), ResponseClass::Shared);
    assert_eq!(class(&policy, &response(429, &[])), ResponseClass::Shared);
    assert_eq!(class(&policy, &response(403, &[])), ResponseClass::Refused);
    assert_eq!(class(&policy, &response(599, &[])), ResponseClass::Refused);
    let policy = policy.share_status(0..1000);
    assert_eq!(class(&policy, &response(403, &[])), ResponseClass::Shared);
}

#[test]
fn no_switch_shares_a_connection_or_makes_it_a_refusal() {
    let never = |_: &Response<()>| -> bool { panic!("it is not asked about an interim response") };
    let policy = default().trust_key().share_status(status(101)).share_if(never);
    assert_eq!(veto(&policy, &response(101, &[])), Some(VetoReason::Status));
    assert_eq!(veto(&policy.veto_status(100..200), &response(101, &[])), Some(VetoReason::Status));
}

#[test]
fn a_closure_of_the_user_makes_refusals() {
    let policy = default().share_if(|head| !head.headers().contains_key("x-user"));
    assert_eq!(class(&policy, &ok(&[])), ResponseClass::Shared);
    for header in [("x-user", "1"), ("x-user", "2")] {
        assert_eq!(class(&policy, &ok(&[header, ("set-cookie", "x")])), ResponseClass::Refused);
    }
    assert_eq!(class(&policy, &response(429, &[("x-user", "1")])), ResponseClass::RefusedToAll);
    assert_eq!(
        veto(&policy, &ok(&[("set-cookie", "x")])),
        Some(VetoReason::SetCookie),
        "it shares nothing more"
    );
}

#[test]
fn all_closures_have_to_agree_and_each_is_asked_once_at_most() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    let policy = default()
        .share_if(move |_| {
            counts.fetch_add(1, SeqCst);
            true
        })
        .share_if(|head| head.status() != StatusCode::NOT_FOUND);
    assert_eq!(class(&policy, &ok(&[])), ResponseClass::Shared);
    assert_eq!(class(&policy, &response(404, &[])), ResponseClass::Refused);
    assert_eq!(asked.load(SeqCst), 2);
    assert_eq!(class(&policy, &response(403, &[])), ResponseClass::Refused);
    assert_eq!(asked.load(SeqCst), 2, "a status that is a refusal needs no closure");
    let policy = policy.clone().trust_key();
    assert_eq!(
        class(&policy, &response(404, &[])),
        ResponseClass::Refused,
        "trusting the key keeps them"
    );
    assert!(format!("{policy:?}").contains("share_if: [Predicate, Predicate]"));
}

#[test]
fn two_refusals_in_a_row_are_the_default() {
    assert_eq!(default().response.refusals, 2);
    assert_eq!(default().refusals(5).trust_key().response.refusals, 5);
}

#[test]
fn a_response_that_sets_a_cookie_is_kept_unless_shared() {
    let response = ok(&[("set-cookie", "")]);
    assert_eq!(veto(&default(), &response), Some(VetoReason::SetCookie));
    assert_eq!(veto(&default().share_set_cookie(true), &response), None);
}

#[test]
fn private_no_store_and_no_cache_each_have_their_own_switch() {
    let said = ["private=\"x\"", "no-store", "no-cache"];
    let switches: [fn(HttpPolicy, bool) -> HttpPolicy; 3] =
        [HttpPolicy::share_private, HttpPolicy::share_no_store, HttpPolicy::share_no_cache];
    for (i, said) in said.iter().enumerate() {
        let response = ok(&[("cache-control", "max-age=5"), ("cache-control", said)]);
        assert_eq!(veto(&default(), &response), Some(VetoReason::CacheControl), "{said}");
        for (j, switch) in switches.iter().enumerate() {
            let shared = veto(&switch(default(), true), &response).is_none();
            assert_eq!(shared, i == j, "{said}");
        }
    }
}

#[test]
fn a_cache_control_that_cannot_be_read_is_a_veto_until_nothing_in_it_matters() {
    let response = ok(&[("cache-control", "max-age=5; public")]);
    let two = default().share_private(true).share_no_store(true);
    assert_eq!(veto(&default(), &response), Some(VetoReason::CacheControl));
    assert_eq!(veto(&two, &response), Some(VetoReason::CacheControl));
    assert_eq!(veto(&two.share_no_cache(true), &response), None);
}

#[test]
fn a_vary_that_cannot_be_followed_is_a_veto_unless_ignored() {
    for value in ["*", "accept, *", "a b"] {
        let response = ok(&[("vary", value)]);
        assert_eq!(veto(&default(), &response), Some(VetoReason::Vary), "{value}");
        assert_eq!(veto(&default().ignore_vary(true), &response), None, "{value}");
    }
}

#[test]
fn vary_by_host_is_a_veto_where_hosts_are_not_compared() {
    let response = ok(&[("vary", "accept, host")]);
    assert_eq!(veto(&default(), &response), None);
    assert_eq!(veto(&default().ignore_authority(true), &response), Some(VetoReason::Vary));
}

#[test]
fn endless_content_types_are_kept_in_any_writing() {
    let endless = [
        "text/event-stream",
        "Text/Event-Stream;charset=utf-8",
        "multipart/x-mixed-replace ; boundary=x",
        "text/plain, text/event-stream",
    ];
    for value in endless {
        let response = ok(&[("content-type", "text/plain"), ("content-type", value)]);
        assert_eq!(veto(&default(), &response), Some(VetoReason::ContentType), "{value}");
    }
    for value in ["text/event-streams", "text/plain; x=text/event-stream", "", ";"] {
        assert_eq!(veto(&default(), &ok(&[("content-type", value)])), None, "{value}");
    }
}

#[test]
fn a_content_type_can_be_shared() {
    let policy = default().share_content_type("text/Event-Stream");
    assert_eq!(veto(&policy, &ok(&[("content-type", "text/event-stream")])), None);
    let other = ok(&[("content-type", "multipart/x-mixed-replace")]);
    assert_eq!(veto(&policy, &other), Some(VetoReason::ContentType));
}

#[test]
fn a_content_type_can_be_kept_to_the_leader() {
    let policy = default().veto_content_type("Application/GRPC");
    let response = ok(&[("content-type", "application/grpc")]);
    assert_eq!(veto(&policy, &response), Some(VetoReason::ContentType));
    assert_eq!(veto(&policy.share_content_type("application/grpc"), &response), None);
}

#[test]
fn a_body_is_kept_when_its_size_hint_is_over_the_limit() {
    let judge = |hint: &SizeHint| judge(&default(), "GET", &ok(&[]), hint);
    assert_eq!(judge(&SizeHint::with_exact(16 * MIB)), None);
    assert_eq!(judge(&SizeHint::with_exact(16 * MIB + 1)), Some(VetoReason::BodyTooLarge));
    let mut at_least = SizeHint::new();
    at_least.set_lower(16 * MIB + 1);
    assert_eq!(judge(&at_least), Some(VetoReason::BodyTooLarge));
    let mut at_most = SizeHint::new();
    at_most.set_upper(99 * MIB);
    assert_eq!(judge(&at_most), None);
}

#[test]
fn a_body_is_kept_when_its_content_length_is_over_the_limit_or_unreadable() {
    assert_eq!(veto(&default(), &ok(&[("content-length", "16777216")])), None);
    for length in ["16777217", "5, 16777217", "99999999999999999999999", "-1", "5 5", "x"] {
        let found = veto(&default(), &ok(&[("content-length", length)]));
        assert_eq!(found, Some(VetoReason::BodyTooLarge), "{length}");
    }
}

#[test]
fn the_content_length_of_a_head_or_a_304_is_of_another_body() {
    let headers = [("content-length", "99999999")];
    let none = SizeHint::with_exact(0);
    assert_eq!(judge(&default(), "HEAD", &ok(&headers), &none), None);
    assert_eq!(judge(&default(), "GET", &response(304, &headers), &none), None);
}

#[test]
fn the_limit_can_be_moved() {
    let policy = default().body_limit(4);
    assert_eq!(veto(&policy, &ok(&[("content-length", "4")])), None);
    let found = veto(&policy, &ok(&[("content-length", "5")]));
    assert_eq!(found, Some(VetoReason::BodyTooLarge));
}

#[test]
fn large_bodies_can_be_shared() {
    let policy = default().share_large_bodies(true);
    let found =
        judge(&policy, "GET", &ok(&[("content-length", "x")]), &SizeHint::with_exact(u64::MAX));
    assert_eq!(found, None);
}

#[test]
fn with_the_key_trusted_all_but_connections_and_large_bodies_are_shared() {
    let policy = default().trust_key();
    let headers = [
        ("set-cookie", "x"),
        ("cache-control", "private, no-store, no-cache, \""),
        ("vary", "*"),
        ("content-type", "text/event-stream"),
    ];
    for code in 200..=999 {
        assert_eq!(veto(&policy, &response(code, &headers)), None, "{code}");
    }
    let large = ok(&[("content-length", "99999999")]);
    assert_eq!(veto(&policy, &large), Some(VetoReason::BodyTooLarge));
    let policy = default().share_large_bodies(true).trust_key();
    assert_eq!(veto(&policy, &large), None);
}

#[test]
fn after_trusting_the_key_one_can_veto_again() {
    let policy = default().trust_key().share_set_cookie(false);
    let found = veto(&policy, &ok(&[("set-cookie", "x")]));
    assert_eq!(found, Some(VetoReason::SetCookie));
}

#[test]
fn vary_is_foreign_where_the_partition_does_not_compare_it() {
    let response = ok(&[("vary", "X-B, accept, host, cookie"), ("vary", "x-a, x-b")]);
    let (a, b) = (HeaderName::from_static("x-a"), HeaderName::from_static("x-b"));
    assert_eq!(foreign_vary(&default(), &response), [a.clone(), b]);
    let policy = default().partition_header(HeaderName::from_static("x-b"));
    assert_eq!(foreign_vary(&policy, &response), [a]);
}

#[test]
fn what_the_user_took_out_of_the_partition_is_foreign() {
    let response = ok(&[("vary", "accept, cookie, host")]);
    let policy = default().without_partition_header(ACCEPT).ignore_authority(true);
    assert_eq!(foreign_vary(&policy, &response), [ACCEPT, http::header::HOST]);
    let policy = policy.without_partition_header(COOKIE);
    assert_eq!(foreign_vary(&policy, &response).len(), 3);
}

#[test]
fn nothing_is_foreign_without_vary_or_when_it_is_ignored() {
    assert!(foreign_vary(&default(), &ok(&[])).is_empty());
    let response = ok(&[("vary", "x-a")]);
    assert!(foreign_vary(&default().ignore_vary(true), &response).is_empty());
    assert!(foreign_vary(&default().trust_key(), &response).is_empty());
}

fn fresh(headers: &[(&str, &str)]) -> bool {
    facts(&default(), &ok(headers)).fresh_for().is_some()
}

#[test]
fn a_lifetime_makes_a_response_fresh() {
    assert!(fresh(&[("cache-control", "max-age=1")]));
    assert!(fresh(&[("cache-control", "s-maxage=1")]));
}

#[test]
fn without_a_lifetime_nothing_is_fresh() {
    for said in ["", "public", "immutable", "max-age=0", "max-age", "max-age=x", "max-age=1;"] {
        assert!(!fresh(&[("cache-control", said)]), "{said}");
    }
    assert!(!fresh(&[("expires", "Thu, 01 Dec 2094 16:00:00 GMT")]));
}

#[test]
fn s_maxage_wins_over_max_age() {
    assert!(!fresh(&[("cache-control", "max-age=60, s-maxage=0")]));
    assert!(!fresh(&[("cache-control", "max-age=60, s-maxage=x")]));
    assert!(fresh(&[("cache-control", "max-age=0, s-maxage=60")]));
}

#[test]
fn age_is_taken_off_the_lifetime() {
    let aged = |age| fresh(&[("cache-control", "max-age=60"), ("age", age)]);
    assert!(aged("0") && aged("59"));
    assert!(!aged("60") && !aged("99999999999999999999999") && !aged("1, 60"));
    assert!(!aged("-1") && !aged("soon"));
}

#[test]
fn a_contradicted_lifetime_is_none() {
    for said in ["no-store", "no-cache", "private"] {
        assert!(!fresh(&[("cache-control", "max-age=60"), ("cache-control", said)]), "{said}");
    }
}

#[test]
fn reasons_have_names_in_kebab_case() {
    assert_eq!(VetoReason::BodyTooLarge.as_str(), "body-too-large");
    assert_eq!(VetoReason::SetCookie.as_str(), "set-cookie");
}
