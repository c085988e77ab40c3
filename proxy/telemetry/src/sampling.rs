//! Chance, in parts of a million.

/// The whole.
pub(crate) const MILLION: u32 = 1_000_000;

pub(crate) fn chance<R: rand::Rng + ?Sized>(rate: u32, rng: &mut R) -> bool {
    match rate {
        0 => false,
        MILLION.. => true,
        _ => (u64::from(rng.next_u32()) * u64::from(MILLION)) >> 32 < u64::from(rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn chance_follows_the_rate() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut hits = |rate| (0..100_000).filter(|_| chance(rate, &mut rng)).count();
        assert_eq!(hits(0), 0);
        assert_eq!(hits(MILLION), 100_000);
        let percent = hits(10_000);
        assert!((800..1200).contains(&percent), "{percent}");
    }
}
