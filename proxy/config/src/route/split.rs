//! Weighted choice in permuted blocks.
//!
//! In each block of as many draws as the reduced weights add up to, every destination gets exactly
//! its share, in an order that nobody can predict: a 1 % canary gets 1 in 100, not about. What is
//! left of the block is kept as counts, so any weights take a few bytes per destination.

use rand::RngExt;

/// Draws destinations by weight. One worker's: blocks of different workers are independent.
#[derive(Clone, Debug)]
pub struct Split {
    weights: Box<[u32]>,
    left: Box<[u32]>,
    total_left: u64,
}

impl Split {
    /// A split over destinations with these relative weights. A single destination needs no
    /// weight; several that are all zero (which no accepted route has) go to the first.
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Box<[u32]> = weights.iter().map(|weight| weight / divisor).collect();
        Self {
            left: vec![0; weights.len()].into(),
            weights,
            total_left: 0,
        }
    }

    /// Index of the destination to take now.
    pub fn next(&mut self, rng: &mut impl rand::Rng) -> usize {
        if self.total_left == 0 {
            self.left.copy_from_slice(&self.weights);
            self.total_left = self.weights.iter().copied().map(u64::from).sum();
        }
        if self.total_left == 0 {
            return 0;
        }
        let mut ticket = rng.random_range(0..self.total_left);
        self.total_left -= 1;
        for (index, left) in self.left.iter_mut().enumerate() {
            match ticket.checked_sub(u64::from(*left)) {
                Some(rest) => ticket = rest,
                None => {
                    *left -= 1;
                    return index;
                }
            }
        }
        0 // not reached: the ticket is below the sum of what is left
    }

    /// How many draws make one block.
    pub fn block(&self) -> u64 {
        self.weights.iter().copied().map(u64::from).sum()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn shares(split: &mut Split, draws: u64, rng: &mut StdRng, destinations: usize) -> Vec<u64> {
        let mut shares = vec![0; destinations];
        (0..draws).for_each(|_| shares[split.next(rng)] += 1);
        shares
    }

    proptest! {
        #[test]
        fn every_block_is_exact(
            reduced in proptest::collection::vec(0_u32..200, 1..8),
            scale in 1_u32..20_000_000,
            seed: u64,
        ) {
            let weights: Vec<u32> = reduced.iter().map(|weight| weight * scale).collect();
            let divisor = reduced.iter().copied().fold(0, gcd).max(1);
            let expected: Vec<u64> = reduced.iter().map(|weight| u64::from(weight / divisor)).collect();
            let mut split = Split::new(&weights);
            prop_assert_eq!(split.block(), expected.iter().sum::<u64>());
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..3 {
                let block = split.block();
                prop_assert_eq!(&shares(&mut split, block, &mut rng, weights.len()), &expected);
            }
        }

        #[test]
        fn any_weights_are_safe(weights in proptest::collection::vec(any::<u32>(), 0..6), seed: u64) {
            let mut split = Split::new(&weights);
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..100 {
                let chosen = split.next(&mut rng);
                prop_assert!(chosen < weights.len().max(1));
                prop_assert!(weights.iter().all(|weight| *weight == 0) || weights[chosen] > 0);
            }
        }
    }

    #[test]
    fn the_largest_weights_neither_overflow_nor_take_memory() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut split = Split::new(&[u32::MAX, u32::MAX - 1, 0, 1]);
        assert_eq!(split.block(), u64::from(u32::MAX) * 2);
        let shares = shares(&mut split, 10_000, &mut rng, 4);
        assert!(
            shares[0] > 4_500 && shares[1] > 4_500 && shares[2] == 0,
            "{shares:?}"
        );
    }

    #[test]
    fn order_within_a_block_is_uniform() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut split = Split::new(&[90, 10]);
        let mut at = [0_u32; 10];
        for _ in 0..4_000 {
            (0..10).for_each(|place| at[place] += split.next(&mut rng) as u32);
        }
        // Each place of a block gets the second destination 400 times in 4,000, give or take.
        assert!(at.iter().all(|count| (300..500).contains(count)), "{at:?}");
    }
}
