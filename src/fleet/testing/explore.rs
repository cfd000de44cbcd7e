//! Explores all interleavings of a few replicas with one request each, a write and some faults,
//! over the real state machines and the real store. It checks that no request joins a flight that
//! was closed, that no answer is from before a write that was answered before the request, and that
//! no request waits for ever.

mod commands;
mod digest;
mod requests;
mod steps;
mod tests;
mod world;

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;
use world::{CallPhase, World};

const LEASE: Duration = Duration::from_secs(3);

/// A fault in the protocol, made on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mutant {
    None,
    /// Entering ignores writes.
    NoEpoch,
    /// Closing ignores whose flight it is, and results open for any flight.
    NoFence,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    start: Instant,
    replicas: usize,
    faults: usize,
    writes: u64,
    mutant: Mutant,
}

/// A result, or what went wrong.
type Checks<T> = Result<T, String>;

/// Explores all states, and returns how many there are, or the shortest way to one that is wrong.
fn explore(
    replicas: usize,
    faults: usize,
    writes: u64,
    mutant: Mutant,
) -> Result<usize, Vec<String>> {
    explore_after(&[], replicas, faults, writes, mutant)
}

/// The same, from the state after these steps: each begins with this text.
fn explore_after(
    steps: &[&str],
    replicas: usize,
    faults: usize,
    writes: u64,
    mutant: Mutant,
) -> Result<usize, Vec<String>> {
    let setup = Setup { start: Instant::now(), replicas, faults, writes, mutant };
    let mut start = World::new(&setup);
    for step in steps {
        let all = start.steps(&setup);
        let next =
            all.into_iter().find(|(what, _)| what.starts_with(step)).expect("there is such a step");
        start = next.1.expect("nothing is wrong yet");
    }
    let (mut seen, mut ways) = (HashSet::from([start.digest()]), vec![(0, String::new())]);
    let mut queue = VecDeque::from([(0, start)]);
    let way_to = |ways: &[(usize, String)], mut at: usize, last: String| {
        let mut way = vec![last];
        while at > 0 {
            way.push(ways[at].1.clone());
            at = ways[at].0;
        }
        way.reverse();
        way
    };
    while let Some((from, world)) = queue.pop_front() {
        let steps = world.steps(&setup);
        if steps.is_empty()
            && world.members.iter().any(|member| member.is_alive && member.phase != CallPhase::Done)
        {
            return Err(way_to(
                &ways,
                from,
                format!("a request waits for ever: {:?}", world.members),
            ));
        }
        for (what, next) in steps {
            match next {
                Err(wrong) => return Err(way_to(&ways, from, format!("{what}: {wrong}"))),
                Ok(next) => {
                    if seen.insert(next.digest()) {
                        ways.push((from, what));
                        queue.push_back((ways.len() - 1, next));
                    }
                }
            }
        }
    }
    Ok(seen.len())
}
