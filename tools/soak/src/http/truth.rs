//! What the origin did, for its clients to hold their answers against.

use super::identity::{GATEWAYS, PAGES, Page};
use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

#[derive(Default)]
pub(super) struct Truth {
    answers: AtomicU64,
    pages: [PageTruth; GATEWAYS * PAGES],
    round: Mutex<RoundTruth>,
    gateway_fell: AtomicBool,
}

#[derive(Default)]
struct PageTruth {
    /// How many writes took effect, and the latest of which somebody knows.
    version: AtomicU64,
    known: AtomicU64,
}

/// Of the answers of this round; none is older than it.
#[derive(Default)]
struct RoundTruth {
    cut_short: HashSet<u64>,
    failed: HashSet<usize>,
    for_one: HashSet<u64>,
}

impl Truth {
    pub(super) fn next_answer(&self) -> u64 {
        self.answers.fetch_add(1, SeqCst)
    }

    pub(super) fn read(&self, page: Page) -> u64 {
        self.pages[page.index()].version.load(SeqCst)
    }

    pub(super) fn write(&self, page: Page) -> u64 {
        self.pages[page.index()].version.fetch_add(1, SeqCst) + 1
    }

    pub(super) fn known(&self, page: Page) -> u64 {
        self.pages[page.index()].known.load(SeqCst)
    }

    pub(super) fn learn(&self, page: Page, version: u64) {
        self.pages[page.index()].known.fetch_max(version, SeqCst);
    }

    /// Before it happens.
    pub(super) fn will_cut_short(&self, page: Page, answer: u64) {
        let mut round = self.round.lock().unwrap();
        round.cut_short.insert(answer);
        round.failed.insert(page.index());
    }

    pub(super) fn was_cut_short(&self, answer: u64) -> bool {
        self.round.lock().unwrap().cut_short.contains(&answer)
    }

    /// Before it happens.
    pub(super) fn will_not_answer(&self, page: Page) {
        self.round.lock().unwrap().failed.insert(page.index());
    }

    /// At least once, or not to the end.
    pub(super) fn did_not_answer(&self, page: Page) -> bool {
        self.round.lock().unwrap().failed.contains(&page.index())
    }

    /// `false`: somebody else has it.
    pub(super) fn give_to_one(&self, answer: u64) -> bool {
        self.round.lock().unwrap().for_one.insert(answer)
    }

    /// A gateway went down, and what it led broke off.
    pub(super) fn a_gateway_falls(&self) {
        self.gateway_fell.store(true, SeqCst);
    }

    pub(super) fn a_gateway_fell(&self) -> bool {
        self.gateway_fell.load(SeqCst)
    }

    pub(super) fn end_round(&self) {
        *self.round.lock().unwrap() = RoundTruth::default();
        self.gateway_fell.store(false, SeqCst);
    }
}
