//! A choice among weighted destinations that stays the same for the same key.
//!
//! Each destination draws a number from the key and itself, and the lowest in proportion to its
//! weight wins (rendezvous hashing). So over all keys every destination has exactly its share,
//! every sidecar decides alike, neither order nor restarts matter, and when shares change, only
//! keys of destinations that lost some move, to those that gained.

use crate::snapshot::Destination;

/// Hash of a key. The same everywhere and always: clients are kept by it across versions.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(fnv(OFFSET, bytes))
}

/// Index of the destination that keeps this key. Weights count, except for a single destination.
pub fn stick(key: u64, destinations: &[Destination]) -> usize {
    let mut best = (0, f64::INFINITY);
    for (index, destination) in destinations.iter().enumerate() {
        if destination.weight == 0 {
            continue;
        }
        let drawn = mix(key ^ identity(destination));
        // 53 bits, the middle of each step: between 0 and 1, and neither.
        let unit = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        // Exponential with the weight as its rate: the lowest of them is each in proportion.
        let wait = -unit.ln() / f64::from(destination.weight);
        if wait < best.1 {
            best = (index, wait);
        }
    }
    best.0
}

fn identity(destination: &Destination) -> u64 {
    let subset = destination.subset.as_deref().unwrap_or_default();
    let port = destination.port.unwrap_or_default().to_be_bytes();
    let state = fnv(OFFSET, destination.service.as_str().as_bytes());
    mix(fnv(fnv(fnv(state, b"|"), subset.as_bytes()), &port))
}

/// FNV-1a's start and factor, 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x0100_0000_01b3;

fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(FACTOR)
    })
}

/// The finalizer of SplitMix64: every bit of the result depends on every bit.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Name;

    fn destinations(weights: &[u32]) -> Vec<Destination> {
        let destination = |(index, weight): (usize, &u32)| Destination {
            service: Name::new("default/web"),
            subset: Some(format!("v{index}").into()),
            port: None,
            weight: *weight,
        };
        weights.iter().enumerate().map(destination).collect()
    }

    fn choices(weights: &[u32], keys: u32) -> Vec<usize> {
        let destinations = destinations(weights);
        (0..keys)
            .map(|key| stick(hash(&key.to_be_bytes()), &destinations))
            .collect()
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let chosen = choices(&[90, 9, 1, 0], 100_000);
        let count = |wanted| chosen.iter().filter(|index| **index == wanted).count();
        assert!((89_600..90_400).contains(&count(0)), "{}", count(0));
        assert!((8_700..9_300).contains(&count(1)), "{}", count(1));
        assert!((900..1_100).contains(&count(2)), "{}", count(2));
        assert_eq!(count(3), 0);
    }

    #[test]
    fn only_those_move_who_must() {
        let before = choices(&[50, 30, 20], 20_000);
        let after = choices(&[40, 30, 30], 20_000);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b);
        let moved: Vec<_> = moved.collect();
        // Ten of a hundred go to the third, and what the second loses to it comes from the first.
        assert!(
            moved.iter().all(|(from, to)| **from == 0 || **to == 2),
            "{:?}",
            &moved[..8]
        );
        assert!((1_800..2_900).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn order_does_not_matter_and_hashes_are_forever() {
        let forward = destinations(&[1, 2, 3]);
        let mut backward = forward.clone();
        backward.reverse();
        for key in 0..1_000_u32 {
            let key = hash(&key.to_be_bytes());
            let subset = |list: &[Destination]| list[stick(key, list)].subset.clone();
            assert_eq!(subset(&forward), subset(&backward));
        }
        assert_eq!(hash(b"alice"), 0xc5d1_556d_6677_4a5c);
        assert_eq!(stick(1, &[]), 0);
    }
}
