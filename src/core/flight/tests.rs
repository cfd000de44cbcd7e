//! Transitions, one after the other, without threads or futures.

use super::{After, Flight, Joining, Landed, Left, NextStep};
use crate::{
    core::{
        reentry::{Ancestors, FlightNumber},
        rules::{Rounds, Rules, Setback},
        seats::Seat,
    },
    observe::{Caller, FlightEnd, Work},
    panics::Message,
    stats::NearMiss,
};
use std::task::Waker;

type Value = Result<&'static str, ()>;

const RULES: Rules = Rules {
    join_within: None,
    max_waiters: usize::MAX,
    run_to_completion: false,
    moves_to_task: false,
    hold_for: None,
    rounds: Rounds { after_errors: 1, after_refusals: 0 },
};

fn work() -> Work<Value> {
    Work::new(Box::pin(std::future::pending()), Caller::here())
}

fn flight() -> Flight<Value> {
    Flight::new(FlightNumber::new(), work(), &RULES, Ancestors::default(), None)
}

fn join(flight: &mut Flight<Value>) -> Seat {
    match flight.join(&RULES, &Ancestors::default(), &mut Caller::here()) {
        Joining::Joined(joined, ..) | Joining::LeadAgain(joined) => joined.seat,
        Joining::Held(_) | Joining::Inside | Joining::Closed(_) => panic!("it takes joiners"),
    }
}

fn look(flight: &mut Flight<Value>, seat: Seat, has_own_work: bool) -> NextStep<Value> {
    flight.look(seat, has_own_work, Waker::noop(), &mut Some(Waker::noop().clone()))
}

/// The waiter in this seat takes the work to poll it.
fn drive(flight: &mut Flight<Value>, seat: Seat) -> Work<Value> {
    match look(flight, seat, false) {
        NextStep::Poll(work, _) => work,
        _ => panic!("it may drive"),
    }
}

/// How the flight ended, and for how many waiters.
fn told(after: &After<Value>) -> Option<(FlightEnd, usize)> {
    let ending = match after {
        After::Tell(ending) | After::Wake(Some(ending), _) => ending,
        After::End(after) => &after.ending,
        After::Nothing | After::Wake(None, _) => return None,
    };
    Some((ending.outcome?, ending.released))
}

#[test]
fn a_lone_flight_lands_in_the_hands_of_its_leader_and_frees_its_slot() {
    let mut flight = flight();
    drop(drive(&mut flight, Seat::OPENER));
    let (landed, after) = flight.land(Ok("landed"), Some(Seat::OPENER), None);
    assert!(matches!(landed, Landed::Own { value: Ok("landed"), was_joined: false, .. }));
    assert_eq!(told(&after), Some((FlightEnd::Landed, 1)));
    assert!(flight.frees_slot());
}

#[test]
fn a_lone_leader_that_leaves_takes_the_work_along() {
    let mut flight = flight();
    let (_, left, after) = flight.leave(Seat::OPENER, false);
    assert!(matches!(left, Left::Work(_)));
    assert_eq!(told(&after), Some((FlightEnd::Cancelled, 0)));
    assert!(flight.frees_slot());
}

#[test]
fn a_flight_keeps_its_slot_until_its_opener_has_heard_how_it_ended() {
    let mut flight = flight();
    join(&mut flight);
    drop(flight.take_work(&mut None));
    let (landed, after) = flight.land(Ok("landed"), None, None);
    assert!(matches!(landed, Landed::ForOthers));
    assert_eq!(told(&after), Some((FlightEnd::Landed, 2)));
    assert!(flight.has_ended() && !flight.frees_slot());
    assert!(matches!(look(&mut flight, Seat::OPENER, false), NextStep::Ended(_)));
    flight.vacate(Seat::OPENER);
    assert!(flight.frees_slot());
}

#[test]
fn without_a_runtime_the_work_goes_from_a_waiter_that_leaves_to_the_next_that_looks() {
    let mut flight = flight();
    let follower = join(&mut flight);
    let work = drive(&mut flight, Seat::OPENER);
    assert!(matches!(look(&mut flight, follower, true), NextStep::Wait(None)));
    let (_, runtime) = flight.park(Seat::OPENER, work, Waker::noop().clone());
    assert!(runtime.is_none());
    let (_, left, after) = flight.leave(Seat::OPENER, false);
    assert!(matches!((left, after), (Left::Nothing, After::Wake(None, _))));
    drop(drive(&mut flight, follower));
    assert_eq!(flight.waiters(), 1);
}

#[test]
fn a_lost_flight_is_led_again_by_the_first_with_work_of_its_own() {
    let mut flight = flight();
    let (one, two) = (join(&mut flight), join(&mut flight));
    let (work, after) = flight.lose();
    assert!(work.is_some());
    assert_eq!(told(&after), Some((FlightEnd::Lost, 0)));
    assert!(matches!(look(&mut flight, Seat::OPENER, false), NextStep::Wait(None)));
    assert!(matches!(look(&mut flight, two, true), NextStep::LeadAgain));
    assert!(matches!(look(&mut flight, one, true), NextStep::Wait(None)));
    assert!(flight.bring_work(self::work(), &Ancestors::default()).1.is_none());
    drop(drive(&mut flight, two));
    let (landed, mut after) = flight.land(Ok("again"), Some(two), None);
    let Landed::Shared(end) = landed else { panic!("others wait") };
    assert_eq!(end.value(), None, "nothing is published before all is counted");
    after.publish();
    assert_eq!(end.value(), Some(&Ok("again")));
}

#[test]
fn a_lost_flight_without_work_ends_for_all() {
    let mut flight = flight();
    let follower = join(&mut flight);
    drop(flight.leave(follower, true));
    let (_, after) = flight.lose();
    assert_eq!(told(&after), Some((FlightEnd::Lost, 1)));
    assert!(flight.has_ended());
}

#[test]
fn a_panic_ends_the_flight_for_all() {
    let mut flight = flight();
    join(&mut flight);
    drop(drive(&mut flight, Seat::OPENER));
    let after = flight.panicked(Message::Literal("work"), Some(Seat::OPENER));
    assert_eq!(told(&after), Some((FlightEnd::Panicked, 2)));
    assert!(flight.frees_slot());
}

#[test]
fn an_error_stays_with_its_leader_while_its_followers_go_on_once() {
    let mut flight = flight();
    let follower = join(&mut flight);
    drop(flight.take_work(&mut None));
    let (landed, after) = flight.land(Err(()), None, Some(Setback::Error));
    assert!(matches!(landed, Landed::SetAside));
    assert_eq!(told(&after), Some((FlightEnd::Landed, 1)));
    assert_eq!(flight.waiters(), 1);
    assert!(matches!(look(&mut flight, follower, true), NextStep::LeadAgain));
    drop(flight.bring_work(work(), &Ancestors::default()));
    drop(drive(&mut flight, follower));
    // No round is left, so this error is for all who wait.
    let (landed, after) = flight.land(Err(()), Some(follower), Some(Setback::Error));
    assert!(matches!(landed, Landed::Own { value: Err(()), .. }));
    assert_eq!(told(&after), Some((FlightEnd::Landed, 1)));
    assert!(!flight.frees_slot(), "the first leader has yet to take its error");
    assert!(matches!(look(&mut flight, Seat::OPENER, false), NextStep::SetAside));
    assert_eq!(flight.take_aside(Seat::OPENER), Some(Err(())));
    assert!(flight.frees_slot());
}

#[test]
fn a_full_or_old_flight_and_one_around_the_caller_take_no_joiner() {
    let mut flight = flight();
    let here = Ancestors::default();
    let mut join = |rules: &Rules, here: &Ancestors| flight.join(rules, here, &mut Caller::here());
    let full = Rules { max_waiters: 1, ..RULES };
    assert!(matches!(join(&full, &here), Joining::Closed(Some(NearMiss::Full))));
    let old = Rules { join_within: Some(std::time::Duration::from_secs(1)), ..RULES };
    assert!(
        matches!(join(&old, &here), Joining::Closed(Some(NearMiss::TooOld))),
        "its age is not known"
    );
    assert!(matches!(join(&RULES, &here), Joining::Joined(..)));
}

#[test]
fn a_held_result_keeps_its_slot_until_the_hold_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let holds = Rules { hold_for: Some(std::time::Duration::from_secs(9)), ..RULES };
    let mut flight = Flight::new(FlightNumber::new(), work(), &holds, Ancestors::default(), None);
    drop(drive(&mut flight, Seat::OPENER));
    let (landed, mut after) = flight.land(Ok("held"), Some(Seat::OPENER), None);
    assert!(matches!(landed, Landed::Shared(_)));
    assert!(after.take_timer().is_some());
    after.publish();
    assert!(flight.has_ended() && !flight.frees_slot());
    let mut join = |rules: &Rules| flight.join(rules, &Ancestors::default(), &mut Caller::here());
    assert!(matches!(join(&holds), Joining::Held(end) if end.value() == Some(&Ok("held"))));
    assert!(matches!(join(&RULES), Joining::Closed(None)), "its rules know no held results");
    flight.end_hold();
    assert!(flight.frees_slot());
}

#[test]
fn a_value_that_arrives_after_all_have_left_is_unwanted() {
    let mut flight = flight();
    let work = drive(&mut flight, Seat::OPENER);
    // As by a task, which polls while the last waiter leaves.
    flight.leave(Seat::OPENER, false);
    assert!(flight.return_work(work).is_some());
    let (landed, after) = flight.land(Ok("late"), None, None);
    assert!(matches!((landed, after), (Landed::Unwanted(Ok("late")), After::Nothing)));
}
