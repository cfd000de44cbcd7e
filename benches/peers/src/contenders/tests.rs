//! That each contender does what it is measured for.

use super::*;
use crate::{
    contender::{Answer, Contender},
    runtime::{one_thread, settle, spawn_call},
    work::{AtOnce, Gate, Tally},
};

struct CoalescesAllAtOnce;

impl Visit<Gate> for CoalescesAllAtOnce {
    fn visit<C: Contender<Gate>>(&mut self) {
        one_thread().block_on(async {
            let gate = Gate::default();
            let contender = C::new(gate.clone());
            let calls = [3, 4].repeat(10).into_iter();
            let tasks =
                calls.map(|key| spawn_call(&contender, key, move |answer| assert_eq!(answer, key)));
            let tasks: Vec<_> = tasks.collect();
            settle().await;
            assert_eq!(gate.started(), if C::COALESCES { 2 } else { 20 }, "{}", C::NAME);
            assert!(tasks.iter().all(|task| !task.is_finished()), "{}", C::NAME);
            gate.open();
            for task in tasks {
                task.await.expect(C::NAME);
            }
        });
    }
}

#[test]
fn calls_at_once_share_the_work_of_their_key() {
    visit_all(&mut CoalescesAllAtOnce);
}

struct KeepsNothing;

impl Visit<Tally<AtOnce>> for KeepsNothing {
    fn visit<C: Contender<Tally<AtOnce>>>(&mut self) {
        let work = Tally::new(AtOnce);
        let mut contender = C::new(work.clone());
        one_thread().block_on(async {
            for key in [5, 5, 6, 5] {
                assert_eq!(contender.call(key).await.value(), key, "{}", C::NAME);
            }
            assert_eq!(contender.clone().once(5).await.value(), 5, "{}", C::NAME);
        });
        assert_eq!(work.started(), 5, "{}: each call is a miss", C::NAME);
    }
}

#[test]
fn calls_one_after_the_other_share_nothing() {
    visit_all(&mut KeepsNothing);
}
