//! A histogram with Envoy's default buckets, which Istio's dashboards are drawn for.
//! Written by one thread with plain loads and stores; read by any.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds in thousandths (of a millisecond, or of a byte), so that 0.5 is an integer.
const BOUNDS: [u64; 19] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// `le` of each bucket.
pub(super) const LE: [&str; BUCKETS] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf",
];

pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Adds to a cell that only the calling thread writes.
pub(super) fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    /// `thousandths` finds the bucket, `amount` is what the sum is kept in.
    pub(super) fn observe(&self, thousandths: u64, amount: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < thousandths);
        bump(&self.buckets[bucket], 1);
        bump(&self.sum, amount);
    }
}

/// The sum of several histograms.
#[derive(Clone, Debug, Default)]
pub(super) struct Summed {
    pub(super) buckets: [u64; BUCKETS],
    pub(super) sum: u64,
}

impl Summed {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += cell.load(Relaxed);
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Relaxed));
    }

    /// Counted from the buckets, so that it always agrees with them.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_agree_with_their_labels() {
        for (index, bound) in BOUNDS.iter().enumerate() {
            let label: f64 = LE[index].parse().unwrap_or(f64::NAN);
            assert!((label * 1000.0 - *bound as f64).abs() < 1e-6);
            let histogram = Histogram::default();
            histogram.observe(*bound, 1);
            histogram.observe(*bound + 1, 1);
            let mut summed = Summed::default();
            summed.add(&histogram);
            assert_eq!((summed.buckets[index], summed.buckets[index + 1]), (1, 1));
            assert_eq!((summed.count(), summed.sum), (2, 2));
        }
    }
}
