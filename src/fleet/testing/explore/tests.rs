use super::{Mutant, explore, explore_after};

/// A replica leads, its lease ends, and a write seals the flight that it goes on with.
const ZOMBIE: [&str; 7] = [
    "0 asks",
    "0: ",
    "0 hears",
    "the lease ends",
    "a write",
    "the write seals",
    "the write is answered",
];

#[test]
fn two_replicas_keep_their_promises() {
    for (faults, writes) in [(0, 1), (1, 1)] {
        let states =
            explore(2, faults, writes, Mutant::None).unwrap_or_else(|way| panic!("{way:#?}"));
        assert!(states > 500, "{states}");
    }
}

#[test]
fn three_replicas_and_a_fault_keep_their_promises() {
    let states = explore(3, 1, 0, Mutant::None).unwrap_or_else(|way| panic!("{way:#?}"));
    assert!(states > 4000, "{states}");
}

/// The numbers of states: 9,503, 43,790, 10,892 and 89,175. That is half a minute of a
/// processor for a build with `opt-level = 3`.
#[test]
#[ignore = "some minutes: cargo test --release --all-features --lib more_replicas -- --ignored"]
fn more_replicas_and_faults_keep_their_promises() {
    for (replicas, faults, writes) in [(2, 2, 1), (2, 2, 2), (3, 0, 1), (3, 1, 1)] {
        let states = explore(replicas, faults, writes, Mutant::None)
            .unwrap_or_else(|way| panic!("{way:#?}"));
        println!("{replicas} replicas, {faults} faults, {writes} writes: {states} states");
    }
}

#[test]
fn a_replica_whose_lease_ended_gives_nothing_to_those_who_wait_for_another() {
    explore_after(&ZOMBIE, 3, 1, 1, Mutant::None).unwrap_or_else(|way| panic!("{way:#?}"));
}

#[test]
fn an_engine_that_ignores_writes_is_found_out() {
    let way =
        explore(2, 0, 1, Mutant::NoEpoch).expect_err("a read gets an answer from before a write");
    assert!(
        way.last().is_some_and(|last| last.contains("asked after 1 writes and got 0")),
        "{way:#?}"
    );
}

#[test]
fn an_engine_that_lets_a_replica_close_the_flight_of_another_is_found_out() {
    let way = explore_after(&ZOMBIE, 3, 1, 1, Mutant::NoFence)
        .expect_err("a read gets an answer from before a write");
    assert!(
        way.last().is_some_and(|last| last.contains("asked after 1 writes and got 0")),
        "{way:#?}"
    );
}
