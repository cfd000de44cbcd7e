//! A flight that is lost with its runtime.

use crate::support::*;
use tower_singleflight::{Role, VetoReason};

/// A leader and a follower whose flight was lost when the request had been sent.
fn lost() -> (Bench, [Call; 2]) {
    let mut bench = Bench::new();
    let calls = paused().block_on(async {
        let mut calls = [bench.get("/page"), bench.get("/page")];
        assert!(calls.iter_mut().all(Call::waits));
        settle().await;
        calls
    });
    assert!(bench.upstream.next().is_cancelled());
    (bench, calls)
}

#[test]
fn a_follower_leads_anew_and_the_leader_gets_what_it_was_given() {
    let (bench, [mut leader, mut follower]) = lost();
    paused().block_on(async {
        assert!(follower.waits());
        settle().await;
        bench.answer(ok("told")).await;
        let response = follower.response();
        assert_eq!(role(&response), Some(Role::Leader));
        assert_eq!(text(response), "told");
        let response = leader.response();
        assert_eq!(
            role(&response),
            Some(Role::Follower),
            "in the flight that gave it the response"
        );
        assert_eq!(text(response), "told");
    });
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_leader_whose_flight_was_lost_and_led_anew_panics_rather_than_get_what_is_not_for_it() {
    let (bench, [mut leader, mut follower]) = lost();
    paused().block_on(async {
        assert!(follower.waits());
        settle().await;
        bench.answer(reply(200, &[("set-cookie", "a=b")], "for the follower")).await;
        assert_eq!(follower.text(), "for the follower");
        let payload = panic_payload(|| leader.result());
        let text = payload.downcast_ref::<String>().expect("a text");
        assert!(
            text.contains("must not be shared with this one, which has no request left"),
            "{text}"
        );
    });
    let stats = bench.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.vetoed_by(VetoReason::SetCookie)), (0, 0, 0));
}
