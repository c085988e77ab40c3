//! Which endpoints come first. Levels are used in order, the next only as those before fall short;
//! the groups of a level share its traffic by weight. What an endpoint is worth is decided by labels
//! that it shares with this pod, then by how near it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_proxy_config::snapshot::{Locality, LocalityPolicy, Placement};

/// Labels that stand for parts of a place.
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";

/// Where this pod is, and what it is labelled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub(crate) locality: Locality,
    pub(crate) labels: Vec<(Arc<str>, Arc<str>)>,
}

/// Endpoints of one level that share a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members {
    /// Indexes of endpoints.
    pub(crate) indexes: Vec<usize>,
    /// Share of the level.
    pub(crate) weight: u32,
}

/// Groups for each level, none of them empty.
pub(crate) fn arrange(
    policy: Option<&LocalityPolicy>,
    own: &Own,
    endpoints: &[&Placement],
) -> Vec<Vec<Members>> {
    let all = || Members {
        indexes: (0..endpoints.len()).collect(),
        weight: 1,
    };
    let Some(policy) = policy else {
        return vec![vec![all()]];
    };
    let here = |distribute: &&heddle_proxy_config::snapshot::Distribute| {
        own.locality.is_known() && own.locality.within(&distribute.from)
    };
    if let Some(distribute) = policy.distribute.iter().find(here) {
        return vec![shares(&distribute.to, endpoints)];
    }
    let mut levels: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, placement) in endpoints.iter().enumerate() {
        let level = (
            missing(policy, own, placement),
            distance(policy, &own.locality, &placement.locality),
        );
        levels.entry(level).or_default().push(index);
    }
    let group = |indexes| vec![Members { indexes, weight: 1 }];
    levels.into_values().map(group).collect()
}

/// Each endpoint goes to the first share that it fits; one that fits none gets nothing.
fn shares(to: &[(Locality, u32)], endpoints: &[&Placement]) -> Vec<Members> {
    let mut shares: Vec<Members> = to
        .iter()
        .map(|(_, weight)| Members {
            indexes: Vec::new(),
            weight: *weight,
        })
        .collect();
    for (index, placement) in endpoints.iter().enumerate() {
        let fits = |(place, weight): &(Locality, u32)| {
            *weight > 0 && placement.locality.is_known() && placement.locality.within(place)
        };
        if let Some(share) = narrowest(to, fits) {
            shares[share].indexes.push(index);
        }
    }
    shares.retain(|share| !share.indexes.is_empty());
    shares
}

/// The most precise of the places that fit, which says more than its order.
fn narrowest(to: &[(Locality, u32)], fits: impl Fn(&(Locality, u32)) -> bool) -> Option<usize> {
    let parts = |place: &Locality| {
        let said = |part: &str| !matches!(part, "" | "*");
        usize::from(said(place.region()))
            + usize::from(said(place.zone()))
            + usize::from(said(place.subzone()))
    };
    let fitting = to.iter().enumerate().filter(|(_, share)| fits(share));
    fitting
        .max_by_key(|(index, (place, _))| (parts(place), std::cmp::Reverse(*index)))
        .map(|(index, _)| index)
}

/// How many labels, from the first that is not shared on.
fn missing(policy: &LocalityPolicy, own: &Own, endpoint: &Placement) -> usize {
    let shared = policy.priority_labels.iter().take_while(|(label, value)| {
        let wanted = match value {
            Some(value) => Some(&**value),
            None => value_of(label, &own.labels, &own.locality),
        };
        // What neither has is no reason to prefer others.
        value_of(label, &endpoint.priority_labels, &endpoint.locality) == wanted
    });
    policy.priority_labels.len() - shared.count()
}

fn value_of<'a>(
    label: &str,
    labels: &'a [(Arc<str>, Arc<str>)],
    locality: &'a Locality,
) -> Option<&'a str> {
    let labelled = labels.iter().find(|(key, _)| **key == *label);
    labelled.map(|(_, value)| &**value).or_else(|| {
        let part = match label {
            REGION => locality.region(),
            ZONE => locality.zone(),
            SUBZONE => locality.subzone(),
            _ => "",
        };
        (!part.is_empty()).then_some(part)
    })
}

/// The own place first, its zone, its region; then the region that failover names; then others.
fn distance(policy: &LocalityPolicy, own: &Locality, endpoint: &Locality) -> usize {
    if !policy.failover_enabled || !own.is_known() {
        return 0;
    }
    match own.shared(endpoint) {
        0 => {
            let named = policy
                .failover
                .iter()
                .find(|(from, _)| **from == *own.region());
            match named {
                Some((_, to)) if **to == *endpoint.region() => 3,
                _ => 4,
            }
        }
        shared => 3 - shared,
    }
}

#[cfg(test)]
mod tests {
    use heddle_proxy_config::snapshot::Distribute;

    use super::*;

    fn own(place: &str) -> Own {
        Own {
            locality: Locality::new(place),
            labels: vec![("rack".into(), "7".into()), ("net".into(), "a".into())],
        }
    }

    fn at(places: &[&str]) -> Vec<Placement> {
        let placement = |place: &&str| Placement {
            locality: Locality::new(*place),
            ..Placement::default()
        };
        places.iter().map(placement).collect()
    }

    fn levels(policy: &LocalityPolicy, own: &Own, placements: &[Placement]) -> Vec<Vec<usize>> {
        let placements: Vec<&Placement> = placements.iter().collect();
        let arranged = arrange(Some(policy), own, &placements);
        let flat = |level: Vec<Members>| level.into_iter().flat_map(|m| m.indexes).collect();
        arranged.into_iter().map(flat).collect()
    }

    #[test]
    fn without_a_policy_places_do_not_matter() {
        let placements = at(&["eu/a", "us/b"]);
        let placements: Vec<&Placement> = placements.iter().collect();
        let arranged = arrange(None, &own("eu/a"), &placements);
        assert_eq!(arranged.len(), 1);
        assert_eq!(arranged[0][0].indexes, [0, 1]);
    }

    #[test]
    fn the_own_place_comes_first_and_then_wider_ones() {
        let mut policy = LocalityPolicy {
            failover_enabled: true,
            ..Default::default()
        };
        let places = at(&["us/x", "eu/b/2", "asia/y", "eu/a/2", "eu/a/1", "", "eu/a/1"]);
        let eu = own("eu/a/1");
        assert_eq!(
            levels(&policy, &eu, &places),
            [vec![4, 6], vec![3], vec![1], vec![0, 2, 5]]
        );
        policy.failover = vec![("us".into(), "eu".into()), ("eu".into(), "asia".into())];
        assert_eq!(
            levels(&policy, &eu, &places),
            [vec![4, 6], vec![3], vec![1], vec![2], vec![0, 5]]
        );
        // Whoever does not know where it is has no preference.
        assert_eq!(levels(&policy, &own(""), &places).len(), 1);
        policy.failover_enabled = false;
        assert_eq!(levels(&policy, &eu, &places).len(), 1);
    }

    #[test]
    fn labels_are_compared_in_their_order_before_places() {
        let label = |labels: &[(&str, &str)], place: &str| Placement {
            locality: Locality::new(place),
            priority_labels: labels
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            ..Placement::default()
        };
        let mut policy = LocalityPolicy {
            priority_labels: vec![("net".into(), None), ("rack".into(), None)],
            ..Default::default()
        };
        let places = [
            label(&[("rack", "7")], "eu/a"),
            label(&[("net", "a"), ("rack", "8")], "us/b"),
            label(&[("net", "a"), ("rack", "7")], "us/b"),
            label(&[("net", "a"), ("rack", "7")], "eu/a"),
        ];
        let eu = own("eu/a");
        assert_eq!(
            levels(&policy, &eu, &places),
            [vec![2, 3], vec![1], vec![0]]
        );
        policy.failover_enabled = true;
        assert_eq!(
            levels(&policy, &eu, &places),
            [vec![3], vec![2], vec![1], vec![0]]
        );
        policy.priority_labels = vec![("rack".into(), Some("8".into()))];
        policy.failover_enabled = false;
        assert_eq!(levels(&policy, &eu, &places), [vec![1], vec![0, 2, 3]]);
        policy.priority_labels = vec![(REGION.into(), None)];
        assert_eq!(levels(&policy, &eu, &places), [vec![0, 3], vec![1, 2]]);
    }

    #[test]
    fn distribution_goes_by_the_callers_place() {
        let policy = LocalityPolicy {
            distribute: vec![
                Distribute {
                    from: Locality::new("us/*"),
                    to: vec![(Locality::new("us/*"), 100)],
                },
                Distribute {
                    from: Locality::new("eu/a/*"),
                    to: vec![
                        (Locality::new("eu/*"), 15),
                        (Locality::new("eu/a/*"), 80),
                        (Locality::new("us/*"), 5),
                        (Locality::new("asia"), 0),
                    ],
                },
            ],
            ..Default::default()
        };
        let places = at(&["eu/b", "eu/a/1", "us/x", "asia/y", "eu/a/2"]);
        let places: Vec<&Placement> = places.iter().collect();
        let arranged = arrange(Some(&policy), &own("eu/a/1"), &places);
        let group = |indexes: &[usize], weight| Members {
            indexes: indexes.to_vec(),
            weight,
        };
        assert_eq!(
            arranged,
            [vec![group(&[0], 15), group(&[1, 4], 80), group(&[2], 5)]]
        );
        // Nothing is said for callers of other places.
        let elsewhere = arrange(Some(&policy), &own("asia/y"), &places);
        assert_eq!(elsewhere[0][0].indexes.len(), 5);
    }
}
