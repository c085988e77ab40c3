//! Tables that keep a key with one endpoint, and move few keys when endpoints come and go: a ring of
//! points, or Maglev's table (Eisenbud et al., 2016, §3.4). Both give each endpoint a share by its
//! weight, and both depend on the endpoints' names alone, so that every sidecar makes the same.

use heddle_proxy_config::key::hash::{hash, mix};
use heddle_proxy_config::snapshot::HashTable;

/// Points of the heaviest endpoint on the smallest ring.
const LEAST_POINTS: u32 = 16;

/// Points of a ring, whatever is said: 2 MiB for each worker.
const MAX_POINTS: u64 = 128 * 1024;

/// Where keys lead.
#[derive(Debug)]
pub(crate) enum Table {
    /// Points in order, each with its endpoint.
    Ring(Box<[(u64, u32)]>),
    /// The endpoint of each place.
    Maglev(Box<[u32]>),
}

impl Table {
    /// A table over endpoints by name and weight.
    pub(crate) fn new(kind: HashTable, endpoints: &[(String, u32)]) -> Self {
        match kind {
            HashTable::Ring(minimum) => ring(minimum, endpoints),
            HashTable::Maglev(size) => maglev(size, endpoints),
        }
    }

    /// The first endpoint from a key's place on that will do.
    pub(crate) fn find(&self, key: u64, fits: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Table::Ring(points) => {
                let start = points.partition_point(|(point, _)| *point < key);
                let (before, after) = points.split_at(start);
                let around = after.iter().chain(before).map(|(_, endpoint)| *endpoint);
                first(around, fits)
            }
            Table::Maglev(places) if places.is_empty() => None,
            Table::Maglev(places) => {
                let start = (key % places.len() as u64) as usize;
                let (before, after) = places.split_at(start);
                first(after.iter().chain(before).copied(), fits)
            }
        }
    }
}

fn first(mut around: impl Iterator<Item = u32>, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let mut refused = None;
    around.find_map(|endpoint| {
        // Neighbours are often the same; it need not be asked twice.
        if refused == Some(endpoint) {
            return None;
        }
        refused = Some(endpoint);
        let endpoint = endpoint as usize;
        fits(endpoint).then_some(endpoint)
    })
}

/// An endpoint's points do not depend on how many others there are, so that no key moves but those of
/// one that comes or goes: a quarter of the least size for the heaviest, in proportion for others.
fn ring(minimum: u32, endpoints: &[(String, u32)]) -> Table {
    let mut most = u64::from(minimum.div_ceil(4).max(LEAST_POINTS));
    while most * endpoints.len() as u64 > MAX_POINTS && most > 1 {
        most /= 2;
    }
    let heaviest = endpoints.iter().map(|(_, weight)| u64::from(*weight)).max();
    let heaviest = heaviest.unwrap_or(1).max(1);
    let mut points = Vec::new();
    for (index, (name, weight)) in endpoints.iter().enumerate() {
        let share = (most * u64::from(*weight)).div_ceil(heaviest).max(1);
        let points_of = (0..share).map(|n| hash(format!("{name}_{n}").as_bytes()));
        points.extend(points_of.map(|point| (point, index as u32)));
    }
    points.sort_unstable();
    Table::Ring(points.into())
}

/// In turn, each endpoint takes the next free place of its own permutation of all; one of less weight
/// lets turns pass.
fn maglev(size: u32, endpoints: &[(String, u32)]) -> Table {
    const FREE: u32 = u32::MAX;
    struct Turn {
        place: u64,
        skip: u64,
        weight: u64,
        due: u64,
    }
    if endpoints.is_empty() {
        return Table::Maglev(Box::default());
    }
    let size = u64::from(size.max(2));
    let heaviest = endpoints.iter().map(|(_, weight)| u64::from(*weight)).max();
    let heaviest = heaviest.unwrap_or(1).max(1);
    let mut turns: Vec<Turn> = endpoints
        .iter()
        .map(|(name, weight)| {
            let name = hash(name.as_bytes());
            Turn {
                place: name % size,
                skip: mix(name ^ 1) % (size - 1) + 1,
                weight: u64::from(*weight).max(1),
                due: 0,
            }
        })
        .collect();
    let mut places = vec![FREE; size as usize];
    let mut free = size;
    for round in 1_u64.. {
        for (index, turn) in turns.iter_mut().enumerate() {
            if round * turn.weight < turn.due {
                continue;
            }
            turn.due += heaviest;
            // The size is a prime: steps of any length come by every place.
            while places[turn.place as usize] != FREE {
                turn.place = (turn.place + turn.skip) % size;
            }
            places[turn.place as usize] = index as u32;
            free -= 1;
            if free == 0 {
                return Table::Maglev(places.into());
            }
        }
    }
    Table::Maglev(places.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [HashTable; 2] = [HashTable::Ring(4096), HashTable::Maglev(65_537)];
    const KEYS: u64 = 20_000;

    fn endpoints(weights: &[u32]) -> Vec<(String, u32)> {
        let name = |(n, weight): (usize, &u32)| (format!("10.0.0.{n}:80"), *weight);
        weights.iter().enumerate().map(name).collect()
    }

    fn found(table: &Table) -> Vec<usize> {
        let find = |n: u64| table.find(mix(n), |_| true);
        (1..=KEYS).filter_map(find).collect()
    }

    fn shares(found: &[usize], of: usize) -> Vec<f64> {
        let mut shares = vec![0; of];
        found.iter().for_each(|n| shares[*n] += 1);
        let share = |n: usize| n as f64 / found.len() as f64;
        shares.into_iter().map(share).collect()
    }

    #[test]
    fn every_endpoint_has_about_its_share() {
        for kind in KINDS {
            let table = Table::new(kind, &endpoints(&[1; 8]));
            for share in shares(&found(&table), 8) {
                // Names and keys are fixed: this cannot vary.
                assert!((0.10..0.15).contains(&share), "{kind:?} {share}");
            }
            let table = Table::new(kind, &endpoints(&[1, 3]));
            let share = shares(&found(&table), 2)[1];
            assert!((0.72..0.78).contains(&share), "{kind:?} {share}");
        }
    }

    #[test]
    fn only_the_keys_of_one_that_goes_move() {
        let eight = endpoints(&[1; 8]);
        let seven = &eight[..7];
        for (kind, most) in [(KINDS[0], 0.0), (KINDS[1], 0.03)] {
            let (before, after) = (
                found(&Table::new(kind, &eight)),
                found(&Table::new(kind, seven)),
            );
            let others = before.iter().zip(&after).filter(|(b, _)| **b != 7);
            let moved = others.filter(|(b, a)| a != b).count() as f64 / KEYS as f64;
            assert!(moved <= most, "{kind:?}: {moved} of the others' keys moved");
        }
    }

    #[test]
    fn one_that_is_left_out_gives_its_keys_to_all_others() {
        for kind in KINDS {
            let table = Table::new(kind, &endpoints(&[1; 8]));
            let before = found(&table);
            let find = |n: u64| table.find(mix(n), |endpoint| endpoint != 3);
            let after: Vec<usize> = (1..=KEYS).filter_map(find).collect();
            let kept = before.iter().zip(&after).filter(|(b, _)| **b != 3);
            assert!(kept.clone().all(|(b, a)| a == b));
            let new = before.iter().zip(&after).filter(|(b, _)| **b == 3);
            let new: Vec<usize> = new.map(|(_, a)| *a).collect();
            let shares = shares(&new, 8);
            assert!(
                shares
                    .iter()
                    .enumerate()
                    .all(|(n, share)| n == 3 || *share > 0.05),
                "{kind:?} {shares:?}"
            );
        }
    }

    #[test]
    fn tables_of_nobody_and_of_nobody_fit_lead_nowhere() {
        for kind in KINDS {
            assert_eq!(Table::new(kind, &[]).find(7, |_| true), None);
            let table = Table::new(kind, &endpoints(&[1, 1]));
            assert_eq!(table.find(7, |_| false), None);
        }
    }

    #[test]
    fn the_lightest_has_a_point_and_the_heaviest_does_not_take_all_memory() {
        let Table::Ring(points) = Table::new(HashTable::Ring(64), &endpoints(&[1, u32::MAX]))
        else {
            panic!("not a ring")
        };
        assert_eq!(points.len(), 17);
        assert!(points.iter().any(|(_, endpoint)| *endpoint == 0));
        let many = endpoints(&[1; 1000]);
        let Table::Ring(points) = Table::new(HashTable::Ring(128 * 1024), &many) else {
            panic!("not a ring")
        };
        assert_eq!(points.len(), 128_000);
    }
}
