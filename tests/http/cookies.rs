//! Only some cookies part requests.

use crate::support::{Ask, Bench, by_uri, get, ok, reply, role, settle, share, text};
use http::header::COOKIE;
use tower_singleflight::{HttpPolicy, Role};

fn by_session() -> HttpPolicy {
    HttpPolicy::default().partition_cookies(["sid"])
}

/// With these lines of `Cookie`.
fn with(lines: &[&str]) -> Ask {
    get("/a", &lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>())
}

async fn joins(policy: HttpPolicy, one: &[&str], other: &[&str]) -> bool {
    share(&by_uri().policy(policy), with(one), with(other)).await
}

#[tokio::test]
async fn twenty_browsers_without_a_session_make_one_call() {
    let mut bench = Bench::with(by_session());
    let browsers: Vec<_> =
        (0..20).map(|n| bench.send(with(&[&format!("_ga=GA1.1.{n}; theme=dark")]))).collect();
    assert_eq!(bench.calls(), 1);
    settle().await;
    bench.answer(ok("for all")).await;
    for mut browser in browsers {
        assert_eq!(browser.text(), "for all");
    }
}

#[tokio::test]
async fn without_the_switch_the_whole_header_is_compared() {
    assert!(!joins(HttpPolicy::default(), &["_ga=1; sid=1"], &["_ga=2; sid=1"]).await);
    assert!(joins(by_session(), &["_ga=1; sid=1"], &["_ga=2; sid=1"]).await);
}

#[tokio::test]
async fn two_sessions_are_two_calls() {
    for (one, other) in [
        ("sid=1", "sid=2"),
        ("sid=1", ""),
        ("sid=", ""),
        ("sid=1", "sid=\"1\""),
        ("sid=a", "sid=A"),
        ("sid=1", "SID=1"),
        ("sid=1", "xsid=1"),
        ("sid=1", "x=sid=1"),
        ("sid=1; sid=2", "sid=1"),
        ("sid=1; sid=2", "sid=2; sid=1"),
        ("_ga=1; sid=1", "_ga=1; sid=2"),
    ] {
        assert!(!joins(by_session(), &[one], &[other]).await, "{one} and {other}");
    }
}

#[tokio::test]
async fn a_session_is_found_wherever_it_stands() {
    for lines in [
        &["sid=1; _ga=1"][..],
        &["_ga=1;sid=1"],
        &["_ga=1 ;\t sid=1 "],
        &[";;sid=1;"],
        &["sid=1", "_ga=1"],
        &["_ga=1", "sid=1"],
        &["_ga=sid=2; sid=1", "xsid=2"],
    ] {
        assert!(joins(by_session(), &["sid=1"], lines).await, "{lines:?}");
        assert!(!joins(by_session(), &["sid=2"], lines).await, "{lines:?}");
    }
    assert!(joins(by_session(), &["sid=1; a=1", "sid=2"], &["b=1; sid=1; sid=2"]).await);
}

#[tokio::test]
async fn a_cookie_header_that_cannot_be_read_is_compared_whole() {
    for odd in ["x", "=", "x=1, y=2", "x=\"1", "x= 1", "x=\u{e9}", "x=\\"] {
        let of = |session| format!("_ga=1; sid={session}; {odd}");
        assert!(joins(by_session(), &[&of(1)], &[&of(1)]).await, "{odd}");
        assert!(!joins(by_session(), &[&of(1)], &[&of(2)]).await, "{odd}");
        assert!(!joins(by_session(), &[&of(1)], &["_ga=1; sid=1"]).await, "{odd}");
        assert!(!joins(by_session(), &["_ga=1", odd], &["_ga=2", odd]).await, "{odd}");
    }
}

/// Both answers say `Vary: Cookie`.
async fn joins_under_vary(policy: HttpPolicy, one: &[&str], other: &[&str]) -> bool {
    let mut bench = Bench::with(policy);
    let (mut leader, mut follower) = (bench.send(with(one)), bench.send(with(other)));
    bench.answer(reply(200, &[("vary", "Cookie")], "the leader's")).await;
    assert_eq!(leader.text(), "the leader's");
    if follower.waits() {
        bench.answer(reply(200, &[("vary", "Cookie")], "its own")).await;
        assert_eq!(follower.text(), "its own");
        return false;
    }
    let response = follower.response();
    assert_eq!((role(&response), text(response).as_str()), (Some(Role::Follower), "the leader's"));
    true
}

#[tokio::test]
async fn under_vary_on_cookie_those_share_who_agree_in_the_named_ones() {
    assert!(joins_under_vary(by_session(), &["sid=1; _ga=1"], &["_ga=2", "sid=1"]).await);
    assert!(!joins_under_vary(by_session(), &["sid=1"], &["sid=2"]).await);
    assert!(
        joins_under_vary(HttpPolicy::default().partition_cookies([""; 0]), &["sid=1"], &["sid=2"])
            .await
    );
    let without = HttpPolicy::default().without_partition_header(COOKIE);
    assert!(!joins_under_vary(without, &["sid=1"], &["sid=2"]).await);
}

#[tokio::test]
async fn an_empty_list_compares_no_cookie() {
    let none = || HttpPolicy::default().partition_cookies(Vec::<String>::new());
    assert!(joins(none(), &["sid=1"], &["sid=2"]).await);
    assert!(joins(none(), &["sid=1"], &[]).await);
}

#[tokio::test]
async fn naming_cookies_again_adds_to_them() {
    let both = || by_session().partition_cookies(["lang", "sid"]).partition_cookies([""; 0]);
    assert!(joins(both(), &["sid=1; lang=de; _ga=1"], &["lang=de; sid=1"]).await);
    assert!(!joins(both(), &["sid=1; lang=de"], &["sid=2; lang=de"]).await);
    assert!(!joins(both(), &["sid=1; lang=de"], &["sid=1; lang=fr"]).await);
    assert!(!joins(both(), &["sid=1"], &["lang=1"]).await);
}

#[tokio::test]
async fn the_last_word_about_the_cookie_header_counts() {
    let whole = by_session().partition_header(COOKIE);
    assert!(!joins(whole.clone(), &["_ga=1"], &["_ga=2"]).await);
    assert!(joins(whole.partition_cookies(["lang"]), &["sid=1"], &["sid=2"]).await);
    let none = by_session().without_partition_header(COOKIE);
    assert!(joins(none.clone(), &["sid=1"], &["sid=2"]).await);
    assert!(!joins(none.partition_cookies(["sid"]), &["sid=1"], &["sid=2"]).await);
    let tightened = HttpPolicy::default().trust_key().partition_cookies(["sid"]);
    assert!(!joins(tightened.clone(), &["sid=1"], &["sid=2"]).await);
    assert!(joins(tightened.trust_key(), &["sid=1"], &["sid=2"]).await);
    let passing = by_session().pass_request_header(COOKIE).partition_cookies(["sid"]);
    assert!(!joins(passing, &["sid=1"], &["sid=1"]).await);
}

#[tokio::test]
async fn a_name_that_no_cookie_can_have_is_refused() {
    for name in ["", "sid=", "a b", "a;b", "s\u{ef}d"] {
        let refused = std::panic::catch_unwind(|| HttpPolicy::default().partition_cookies([name]))
            .unwrap_err();
        assert!(refused.downcast::<String>().unwrap().contains("no cookie can have the name"));
    }
}
