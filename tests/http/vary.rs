//! `Vary` on what is outside the partition.

use crate::support::{Bench, Call, get, name, ok, reply, role, settle, text};
use tower_singleflight::{HttpPolicy, Role, VetoReason};

/// Calls with these values of `x-kind`; `None` is a request without it.
fn send(bench: &mut Bench, kinds: &[Option<&str>]) -> Vec<Call> {
    let headers = |kind| if let Some(kind) = kind { vec![("x-kind", kind)] } else { vec![] };
    kinds.iter().map(|kind| bench.send(get("/a", &headers(*kind)))).collect()
}

/// Answers all open calls, each with its own `x-kind`, and `Vary` as given.
async fn answer_all(bench: &Bench, vary: &str) {
    while let Some(open) = bench.upstream.try_next() {
        let kind = open.header("x-kind").unwrap_or("none").to_owned();
        open.answer(reply(200, &[("vary", vary)], kind));
    }
    settle().await;
}

#[tokio::test]
async fn followers_that_agree_with_the_leader_share() {
    let mut bench = Bench::new();
    let calls = send(&mut bench, &[Some("a"), Some("a"), Some("a")]);
    answer_all(&bench, "x-kind").await;
    for mut call in calls {
        assert_eq!(call.text(), "a");
    }
    assert_eq!((bench.calls(), bench.stats().vetoed), (1, 0));
}

#[tokio::test]
async fn the_others_coalesce_among_themselves_by_what_they_differ_in() {
    let mut bench = Bench::new();
    let kinds = [Some("a"), Some("b"), None, Some("b"), Some("a"), None, Some("c"), Some("b")];
    let mut calls = send(&mut bench, &kinds);
    answer_all(&bench, "x-kind").await;
    assert!(!calls[4].waits(), "it agrees with the leader");
    for i in [1, 2, 3, 5, 6, 7] {
        assert!(calls[i].waits());
    }
    assert_eq!(bench.upstream.open(), 3, "b, c and none, at once");
    answer_all(&bench, "x-kind").await;
    for (call, kind) in calls.iter_mut().zip(kinds) {
        assert_eq!(call.text(), kind.unwrap_or("none"));
    }
    assert_eq!((bench.calls(), bench.handle.in_flight()), (4, 0));
    assert_eq!((bench.stats().vetoed_by(VetoReason::Vary), bench.stats().passed), (6, 0));
}

#[tokio::test]
async fn who_leads_by_what_differs_is_a_leader() {
    let mut bench = Bench::new();
    let mut calls = send(&mut bench, &[Some("a"), Some("b"), Some("b")]);
    answer_all(&bench, "x-kind").await;
    assert!(calls[1].waits() && calls[2].waits());
    answer_all(&bench, "x-kind").await;
    let roles: Vec<_> = calls.iter_mut().map(|call| role(&call.response())).collect();
    assert_eq!(roles, [Some(Role::Leader), Some(Role::Leader), Some(Role::Follower)]);
}

#[tokio::test]
async fn an_absent_header_is_not_an_empty_one() {
    let mut bench = Bench::new();
    let mut calls = send(&mut bench, &[None, Some("")]);
    answer_all(&bench, "x-kind").await;
    assert_eq!(calls[0].text(), "none");
    assert!(calls[1].waits());
    answer_all(&bench, "x-kind").await;
    assert_eq!(calls[1].text(), "");
}

#[tokio::test]
async fn every_line_of_what_it_varies_by_counts() {
    let mut bench = Bench::new();
    let _leader = bench.send(get("/a", &[("x-kind", "a"), ("x-kind", "b")]));
    let mut follower = bench.send(get("/a", &[("x-kind", "a")]));
    answer_all(&bench, "x-kind").await;
    assert!(follower.waits());
}

#[tokio::test]
async fn vary_on_what_the_partition_has_parts_nobody() {
    let mut bench = Bench::new();
    let calls = send(&mut bench, &[Some("a"), Some("b")]);
    answer_all(&bench, "Accept-Encoding, host, COOKIE").await;
    for mut call in calls {
        assert_eq!(call.text(), "a");
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn vary_on_several_headers_needs_agreement_in_all() {
    let mut bench = Bench::new();
    let mut calls: Vec<_> = [("1", "1"), ("1", "2"), ("2", "1"), ("1", "1")]
        .iter()
        .map(|(x, y)| bench.send(get("/a", &[("x-one", x), ("x-two", y)])))
        .collect();
    bench.answer(reply(200, &[("vary", "x-one"), ("vary", "X-Two")], "1 1")).await;
    assert_eq!(calls.pop().unwrap().text(), "1 1");
    assert_eq!(calls.remove(0).text(), "1 1");
    assert!(calls.iter_mut().all(Call::waits));
    assert_eq!(bench.upstream.open(), 2);
}

#[tokio::test]
async fn followers_of_one_kind_meet_whatever_the_case_and_order_of_the_names() {
    let mut bench = Bench::new();
    let ask = |kind: &str| get("/a", &[("x-one", kind), ("x-two", "same")]);
    let mut first = [bench.send(ask("a")), bench.send(ask("b"))];
    bench.answer(reply(200, &[("vary", "x-one, x-two")], "")).await;
    assert!(!first[0].waits() && first[1].waits());
    // Another flight of the plain partition, whose follower is sent on by the same names, told
    // otherwise.
    let mut second = [bench.send(ask("c")), bench.send(ask("b"))];
    assert!(second[1].waits());
    assert_eq!(bench.upstream.open(), 2);
    let (b, c) = (bench.upstream.next(), bench.upstream.next());
    assert_eq!((b.header("x-one"), c.header("x-one")), (Some("b"), Some("c")));
    c.answer(reply(200, &[("vary", "X-TWO"), ("vary", "x-One,")], ""));
    settle().await;
    assert!(!second[0].waits() && second[1].waits());
    assert_eq!(bench.upstream.open(), 0, "it joined those of its kind");
    b.answer(reply(200, &[("vary", "x-one, x-two")], "b"));
    settle().await;
    assert_eq!((first[1].text(), second[1].text()), ("b".to_owned(), "b".to_owned()));
}

#[tokio::test]
async fn a_flight_by_vary_takes_nobody_who_comes_with_the_plain_partition() {
    let mut bench = Bench::new();
    let mut calls = send(&mut bench, &[Some("a"), Some("b")]);
    answer_all(&bench, "x-kind").await;
    assert!(calls[1].waits());
    // The same kind, but nobody told it that this matters.
    let _newcomer = send(&mut bench, &[Some("b")]);
    assert_eq!(bench.upstream.open(), 2);
}

#[tokio::test]
async fn one_more_header_in_the_second_answer_parts_further() {
    let mut bench = Bench::new();
    let ask = |one: &str, two: &str| get("/a", &[("x-one", one), ("x-two", two)]);
    let _leader = bench.send(ask("1", "1"));
    let mut followers =
        [bench.send(ask("2", "1")), bench.send(ask("2", "2")), bench.send(ask("2", "2"))];
    bench.answer(reply(200, &[("vary", "x-one")], "")).await;
    assert!(followers.iter_mut().all(Call::waits));
    assert_eq!(bench.upstream.open(), 1);
    settle().await;
    bench.answer(reply(200, &[("vary", "x-one, x-two")], "2 1")).await;
    assert_eq!(followers[0].text(), "2 1");
    assert!(followers[1].waits() && followers[2].waits());
    assert_eq!(bench.upstream.open(), 1, "they agree in both");
    bench.answer(reply(200, &[("vary", "x-two, x-one")], "2 2")).await;
    assert_eq!((followers[1].text(), followers[2].text()), ("2 2".to_owned(), "2 2".to_owned()));
}

#[tokio::test]
async fn a_veto_in_the_second_flight_is_a_veto() {
    let mut bench = Bench::new();
    let mut calls = send(&mut bench, &[Some("a"), Some("b"), Some("b")]);
    answer_all(&bench, "x-kind").await;
    assert!(calls[1].waits() && calls[2].waits());
    bench.answer(reply(200, &[("set-cookie", "b")], "one's own")).await;
    assert_eq!(calls[1].text(), "one's own");
    assert!(calls[2].waits());
    bench.answer(reply(200, &[], "another's own")).await;
    let response = calls[2].response();
    assert_eq!((role(&response), text(response).as_str()), (None, "another's own"));
}

/// Of each flight, the leader differs from all others in the one header that its answer names: so
/// all but one are sent on.
#[tokio::test]
async fn an_origin_that_names_a_new_header_each_time_keeps_nobody_for_ever() {
    let mut bench = Bench::new();
    let ask = |who: usize| {
        let of = |round: usize| if round == who { "mine" } else { "the others'" };
        let headers: Vec<_> = (0..30).map(|round| (format!("x-{round}"), of(round))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        get("/a", &headers)
    };
    let mut calls: Vec<_> = (0..30).map(|who| bench.send(ask(who))).collect();
    let mut rounds = 0;
    while !calls.is_empty() {
        while let Some(open) = bench.upstream.try_next() {
            open.answer(reply(200, &[("vary", &format!("x-{rounds}"))], ""));
        }
        settle().await;
        calls.retain_mut(Call::waits);
        rounds += 1;
        assert!(rounds <= 10, "{} still wait after as many answers", calls.len());
        settle().await;
    }
    assert!(rounds > 3, "some patience, for an origin that names two or three in turn");
    assert_eq!((bench.calls(), bench.handle.in_flight()), (30, 0));
}

#[tokio::test]
async fn those_alike_meet_in_whatever_order_they_learnt_what_matters() {
    let mut bench = Bench::new();
    let ask = |one: &str, two: &str| get("/a", &[("x-one", one), ("x-two", two)]);
    let vary = |names: &str| reply(200, &[("vary", names)], "");
    // First by one header, then by the other.
    let mut first =
        [bench.send(ask("a", "a")), bench.send(ask("b", "a")), bench.send(ask("b", "b"))];
    bench.answer(vary("x-one")).await;
    assert!(first[1].waits() && first[2].waits());
    settle().await;
    bench.answer(vary("x-one, x-two")).await;
    assert!(!first[1].waits() && first[2].waits());
    let together = bench.upstream.next();
    // And the other way round.
    let mut second =
        [bench.send(ask("a", "a")), bench.send(ask("a", "b")), bench.send(ask("b", "b"))];
    settle().await;
    bench.answer(vary("x-two")).await;
    assert!(second[1].waits() && second[2].waits());
    settle().await;
    bench.answer(vary("x-two, x-one")).await;
    assert!(!second[1].waits() && second[2].waits());
    assert_eq!(bench.upstream.open(), 0, "it joined the other");
    together.answer(ok("both b"));
    settle().await;
    assert_eq!((first[2].text(), second[2].text()), ("both b".to_owned(), "both b".to_owned()));
}

#[tokio::test]
async fn a_follower_that_loses_its_patience_meanwhile_leads_a_newer_flight() {
    tokio::time::pause();
    let layer = crate::support::by_uri().wait_at_most(std::time::Duration::from_secs(3));
    let mut bench = Bench::of(&layer);
    let mut calls = send(&mut bench, &[Some("a"), Some("b"), Some("b")]);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    answer_all(&bench, "x-kind").await;
    assert!(calls[1].waits() && calls[2].waits());
    assert_eq!(bench.upstream.open(), 1);
    tokio::time::advance(std::time::Duration::from_millis(1001)).await;
    assert!(calls[2].waits());
    assert_eq!(
        bench.upstream.open(),
        2,
        "three seconds after it came, and not after it was sent on"
    );
    assert_eq!((bench.stats().timed_out, bench.stats().passed), (1, 0));
}

#[tokio::test]
async fn vary_on_a_header_that_was_let_go_from_the_partition_counts_again() {
    let policy = HttpPolicy::default().without_partition_header(name("accept-language"));
    let mut bench = Bench::with(policy);
    let (mut german, mut french) = (
        bench.send(get("/a", &[("accept-language", "de")])),
        bench.send(get("/a", &[("accept-language", "fr")])),
    );
    assert_eq!(bench.calls(), 1);
    bench.answer(reply(200, &[("vary", "Accept-Language")], "Hallo")).await;
    assert_eq!(german.text(), "Hallo");
    assert!(french.waits());
    bench.answer(reply(200, &[("vary", "Accept-Language")], "Bonjour")).await;
    assert_eq!(french.text(), "Bonjour");
}
