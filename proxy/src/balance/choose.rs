//! Algorithms over the endpoints of one group. Each gives an endpoint its share by weight (and by how
//! warm it is), exactly among those that fit, whoever does not; none allocates.

use std::cell::Cell;

use rand::{Rng, RngExt};

/// Draws before all are looked at: with half of them unfit, one in 65,536 choices gets there.
const DRAWS: usize = 16;

/// Parts of a unit of weight, so that one that warms up can have less than it.
const GRAIN: f64 = 1024.0;

/// Endpoints of a group, by their indexes among all of the cluster.
#[derive(Debug)]
pub(crate) struct Candidates {
    indexes: Vec<usize>,
    weights: Vec<u32>,
    /// Sums of the weights; `None`: they are all the same.
    sums: Option<Vec<u64>>,
}

impl Candidates {
    pub(crate) fn new(indexes: Vec<usize>, weights: Vec<u32>) -> Self {
        let same = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let sums = (!same).then(|| {
            let mut sum = 0;
            let sums = weights.iter().map(|weight| {
                sum += u64::from(*weight);
                sum
            });
            sums.collect()
        });
        Self {
            indexes,
            weights,
            sums,
        }
    }

    pub(crate) fn indexes(&self) -> &[usize] {
        &self.indexes
    }

    /// One by weight alone.
    fn draw(&self, rng: &mut impl Rng) -> usize {
        match &self.sums {
            None => rng.random_range(0..self.indexes.len()),
            Some(sums) => {
                let ticket = rng.random_range(0..sums.last().copied().unwrap_or(1).max(1));
                sums.partition_point(|sum| *sum <= ticket)
            }
        }
    }

    /// One at random among those that fit, by weight.
    pub(crate) fn any(
        &self,
        rng: &mut impl Rng,
        fits: &dyn Fn(usize) -> bool,
        factor: &dyn Fn(usize) -> f64,
    ) -> Option<usize> {
        self.position(rng, fits, factor).map(|at| self.indexes[at])
    }

    fn position(
        &self,
        rng: &mut impl Rng,
        fits: &dyn Fn(usize) -> bool,
        factor: &dyn Fn(usize) -> f64,
    ) -> Option<usize> {
        if self.indexes.is_empty() {
            return None;
        }
        // Refusing what does not fit, or a part of what is cold, leaves the others' shares as they are.
        for _ in 0..DRAWS {
            let at = self.draw(rng);
            let index = self.indexes[at];
            if fits(index) {
                let factor = factor(index);
                if factor >= 1.0 || rng.random::<f64>() < factor {
                    return Some(at);
                }
            }
        }
        // Each takes the place of the one before with the odds of its weight.
        let mut all = 0.0;
        let mut drawn = None;
        for (at, index) in self.indexes.iter().enumerate() {
            if fits(*index) {
                let weight = f64::from(self.weights[at]) * factor(*index);
                all += weight;
                if rng.random::<f64>() * all < weight {
                    drawn = Some(at);
                }
            }
        }
        drawn
    }

    /// The less loaded of two drawn at random, for its weight.
    pub(crate) fn less_loaded(
        &self,
        rng: &mut impl Rng,
        load: impl Fn(usize) -> u32,
        fits: &dyn Fn(usize) -> bool,
        factor: &dyn Fn(usize) -> f64,
    ) -> Option<usize> {
        let first = self.position(rng, fits, factor)?;
        let other = |index| index != self.indexes[first] && fits(index);
        let Some(second) = self.position(rng, &other, factor) else {
            return Some(self.indexes[first]);
        };
        let loaded = |at: usize| {
            let index = self.indexes[at];
            f64::from(load(index)) / (f64::from(self.weights[at]) * factor(index))
        };
        // Two that are idle differ in how often they are drawn first, which is their weight.
        let chosen = if loaded(first) <= loaded(second) {
            first
        } else {
            second
        };
        Some(self.indexes[chosen])
    }

    /// Whose turn it is: while nothing changes, as many turns as all weights add up to give each
    /// exactly its own (nginx's smooth weighted round robin). `turn` is what each has saved up.
    pub(crate) fn in_turn<'a>(
        &self,
        offset: usize,
        turn: impl Fn(usize) -> &'a Cell<i64>,
        fits: &dyn Fn(usize) -> bool,
        factor: &dyn Fn(usize) -> f64,
    ) -> Option<usize> {
        let mut all = 0;
        let mut next: Option<usize> = None;
        let count = self.indexes.len();
        for at in (0..count).map(|n| (n + offset) % count) {
            let index = self.indexes[at];
            if !fits(index) {
                continue;
            }
            let part = ((f64::from(self.weights[at]) * factor(index) * GRAIN) as i64).max(1);
            let saved = turn(index);
            saved.set(saved.get() + part);
            all += part;
            if next.is_none_or(|best| saved.get() > turn(best).get()) {
                next = Some(index);
            }
        }
        let saved = turn(next?);
        saved.set(saved.get() - all);
        next
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const DRAWN: usize = 20_000;

    fn whole(_: usize) -> f64 {
        1.0
    }

    fn everyone(_: usize) -> bool {
        true
    }

    /// How often each of 0..n was chosen.
    fn counts(n: usize, mut choose: impl FnMut() -> Option<usize>) -> Vec<usize> {
        let mut counts = vec![0; n];
        for _ in 0..DRAWN {
            if let Some(index) = choose() {
                counts[index] += 1;
            }
        }
        counts
    }

    /// Six standard deviations: the seeds are fixed, so what passes once passes for ever.
    fn about(count: usize, share: f64) -> bool {
        let expected = DRAWN as f64 * share;
        (count as f64 - expected).abs() < 6.0 * (expected * (1.0 - share)).sqrt().max(1.0)
    }

    #[test]
    fn random_goes_by_weight_among_those_that_fit() {
        let mut rng = StdRng::seed_from_u64(1);
        let even = Candidates::new(vec![0, 1, 2, 3], vec![1; 4]);
        let drawn = counts(4, || even.any(&mut rng, &everyone, &whole));
        assert!(drawn.iter().all(|n| about(*n, 0.25)), "{drawn:?}");
        let uneven = Candidates::new(vec![0, 1, 2], vec![1, 2, 5]);
        let drawn = counts(3, || uneven.any(&mut rng, &everyone, &whole));
        assert!(
            about(drawn[0], 0.125) && about(drawn[2], 0.625),
            "{drawn:?}"
        );
        let drawn = counts(3, || uneven.any(&mut rng, &|index| index != 2, &whole));
        assert!(drawn[2] == 0 && about(drawn[0], 1.0 / 3.0), "{drawn:?}");
    }

    #[test]
    fn the_only_one_that_fits_among_many_is_found_and_shares_hold_when_few_fit() {
        let mut rng = StdRng::seed_from_u64(2);
        let many = Candidates::new((0..1000).collect(), (0..1000).map(|n| n % 7 + 1).collect());
        for _ in 0..100 {
            assert_eq!(many.any(&mut rng, &|index| index == 999, &whole), Some(999));
            assert_eq!(
                many.less_loaded(&mut rng, |_| 3, &|i| i == 5, &whole),
                Some(5)
            );
            assert_eq!(many.any(&mut rng, &|_| false, &whole), None);
        }
        // 6 has weight 7, 7 has 1.
        let drawn = counts(1000, || many.any(&mut rng, &|i| i == 6 || i == 7, &whole));
        assert!(about(drawn[6], 7.0 / 8.0) && about(drawn[7], 1.0 / 8.0));
    }

    #[test]
    fn the_less_loaded_of_two_is_taken_for_its_weight() {
        let mut rng = StdRng::seed_from_u64(3);
        let two = Candidates::new(vec![0, 1], vec![1, 1]);
        for _ in 0..100 {
            let busy = |index| [4, 3][index];
            assert_eq!(two.less_loaded(&mut rng, busy, &everyone, &whole), Some(1));
        }
        let heavy = Candidates::new(vec![0, 1], vec![1, 3]);
        for _ in 0..100 {
            // Eight of a weight of three are less than three of one.
            let busy = |index| [3, 8][index];
            assert_eq!(
                heavy.less_loaded(&mut rng, busy, &everyone, &whole),
                Some(1)
            );
        }
        // While nobody has anything to do, weights decide.
        let drawn = counts(2, || heavy.less_loaded(&mut rng, |_| 0, &everyone, &whole));
        assert!(about(drawn[1], 0.75), "{drawn:?}");
        let three = Candidates::new(vec![0, 1, 2], vec![1; 3]);
        let drawn = counts(3, || three.less_loaded(&mut rng, |_| 0, &everyone, &whole));
        assert!(drawn.iter().all(|n| about(*n, 1.0 / 3.0)), "{drawn:?}");
    }

    #[test]
    fn whoever_is_cold_gets_a_part_of_its_share() {
        let mut rng = StdRng::seed_from_u64(4);
        let two = Candidates::new(vec![0, 1], vec![1, 1]);
        let cold = |index| [1.0, 0.25][index];
        let drawn = counts(2, || two.any(&mut rng, &everyone, &cold));
        assert!(about(drawn[1], 0.2), "{drawn:?}");
        let drawn = counts(2, || two.less_loaded(&mut rng, |_| 0, &everyone, &cold));
        assert!(about(drawn[1], 0.2), "{drawn:?}");
        let turns = [Cell::new(0), Cell::new(0)];
        let drawn = counts(2, || two.in_turn(0, |i| &turns[i], &everyone, &cold));
        assert_eq!(drawn, [DRAWN * 4 / 5, DRAWN / 5]);
    }

    #[test]
    fn turns_are_exact() {
        let turns: Vec<Cell<i64>> = (0..3).map(|_| Cell::new(0)).collect();
        let even = Candidates::new(vec![0, 1, 2], vec![1; 3]);
        let next = |offset| even.in_turn(offset, |i| &turns[i], &everyone, &whole);
        let order: Vec<_> = (0..9).map(|_| next(1)).collect();
        assert_eq!(order, [1, 2, 0, 1, 2, 0, 1, 2, 0].map(Some));
        let uneven = Candidates::new(vec![0, 1, 2], vec![5, 1, 2]);
        for _ in 0..10 {
            let mut block = [0; 3];
            for _ in 0..8 {
                let next = uneven.in_turn(0, |i| &turns[i], &everyone, &whole);
                next.into_iter().for_each(|index| block[index] += 1);
            }
            assert_eq!(block, [5, 1, 2]);
        }
    }

    #[test]
    fn one_that_comes_back_has_saved_nothing_up() {
        let turns: Vec<Cell<i64>> = (0..3).map(|_| Cell::new(0)).collect();
        let three = Candidates::new(vec![0, 1, 2], vec![1; 3]);
        let away = |index| index != 2;
        for _ in 0..1000 {
            assert_ne!(three.in_turn(0, |i| &turns[i], &away, &whole), Some(2));
        }
        let mut block = [0; 3];
        for _ in 0..30 {
            let next = three.in_turn(0, |i| &turns[i], &everyone, &whole);
            next.into_iter().for_each(|index| block[index] += 1);
        }
        assert_eq!(block, [10, 10, 10]);
    }
}
