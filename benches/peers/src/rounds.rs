//! Contenders that take turns.

use crate::spread::Spread;
use fastrand::Rng;

/// The contenders of a scenario. A turn of a contender gives `M` measures.
pub(crate) struct Lineup<'a, const M: usize> {
    names: Vec<&'static str>,
    turns: Vec<Box<dyn FnMut() -> [f64; M] + 'a>>,
}

impl<'a, const M: usize> Lineup<'a, M> {
    pub(crate) fn new() -> Self {
        Self { names: Vec::new(), turns: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, turn: impl FnMut() -> [f64; M] + 'a) {
        self.names.push(name);
        self.turns.push(Box::new(turn));
    }

    /// One round to warm up, and then `rounds`, each in an order of its own.
    pub(crate) fn run(mut self, rounds: usize) -> Rounds<M> {
        let mut rng = Rng::with_seed(0x0070_6565_7273);
        let mut order: Vec<usize> = (0..self.turns.len()).collect();
        let mut round = || {
            rng.shuffle(&mut order);
            let mut measures = vec![[0.0; M]; order.len()];
            order.iter().for_each(|&contender| measures[contender] = self.turns[contender]());
            measures
        };
        round();
        let rounds = (0..rounds).map(|_| round()).collect();
        Rounds { names: self.names, rounds }
    }
}

/// What the contenders of a scenario measured.
pub(crate) struct Rounds<const M: usize> {
    names: Vec<&'static str>,
    rounds: Vec<Vec<[f64; M]>>,
}

impl<const M: usize> Rounds<M> {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    /// One contender's measure as it is.
    pub(crate) fn spread(&self, name: &str, measure: usize) -> Spread {
        let contender = self.contender(name);
        Spread::of(self.rounds.iter().map(|round| round[contender][measure]))
    }

    /// A contender's measure as a part of another's, in the same round.
    pub(crate) fn ratio(&self, of: (&str, usize), to: (&str, usize)) -> Spread {
        let (of, to) = ((self.contender(of.0), of.1), (self.contender(to.0), to.1));
        Spread::of(self.rounds.iter().map(|round| round[of.0][of.1] / round[to.0][to.1]))
    }

    fn contender(&self, name: &str) -> usize {
        self.names.iter().position(|known| *known == name).expect("it is one of the contenders")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn every_contender_has_one_turn_a_round_and_one_to_warm_up() {
        let turns = [const { Cell::new(0) }; 3];
        let mut lineup = Lineup::new();
        for (name, turn) in ["one", "two", "three"].into_iter().zip(&turns) {
            lineup.add(name, || [f64::from(turn.replace(turn.get() + 1))]);
        }
        let rounds = lineup.run(4);
        assert_eq!(turns.map(Cell::into_inner), [5; 3]);
        assert_eq!(rounds.spread("two", 0).low, 1.0, "the warm-up is not measured");
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let mut lineup = Lineup::new();
        let rounds = Cell::new(1.0);
        lineup.add("one", || [rounds.get(), 8.0]);
        lineup.add("other", || [rounds.get() * 4.0, 2.0]);
        let rounds = lineup.run(3);
        assert_eq!(rounds.ratio(("one", 0), ("other", 0)).median, 0.25);
        assert_eq!(rounds.ratio(("one", 1), ("other", 1)).median, 4.0);
    }
}
