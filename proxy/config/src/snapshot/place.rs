//! Where endpoints and callers are: `region/zone/subzone`, of which the tail may be left out.

use std::sync::Arc;

/// A place, or the places that a pattern stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Locality(Arc<str>);

/// Parts of a place.
const PARTS: usize = 3;

impl Locality {
    /// A place as it is written.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether anything is said.
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// The widest part.
    pub fn region(&self) -> &str {
        self.part(0)
    }

    /// The zone; empty when it is not said.
    pub fn zone(&self) -> &str {
        self.part(1)
    }

    /// The narrowest part; empty when it is not said.
    pub fn subzone(&self) -> &str {
        self.part(2)
    }

    fn part(&self, index: usize) -> &str {
        self.0.split('/').nth(index).unwrap_or("")
    }

    /// How many parts are the same, from the region on: 0 to 3.
    pub fn shared(&self, other: &Self) -> usize {
        (0..PARTS)
            .take_while(|index| self.part(*index) == other.part(*index))
            .count()
    }

    /// Whether it lies within a pattern, whose tail may be left out or `*`.
    pub fn within(&self, pattern: &Self) -> bool {
        (0..PARTS).all(|index| {
            matches!(pattern.part(index), "" | "*") || pattern.part(index) == self.part(index)
        })
    }
}

/// What of an endpoint matters for the choice among several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where it is; may be unknown.
    pub locality: Locality,
    /// Relative share; at least 1.
    pub weight: u32,
    /// It is going away: it gets nothing new, unless no other is left.
    pub draining: bool,
    /// Labels that a policy's order of preference names.
    pub priority_labels: Vec<(Arc<str>, Arc<str>)>,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            locality: Locality::default(),
            weight: 1,
            draining: false,
            priority_labels: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_from_the_region_on() {
        let own = Locality::new("eu/a/rack1");
        let shared = |text: &str| own.shared(&Locality::new(text));
        assert_eq!(shared("eu/a/rack1"), 3);
        assert_eq!(shared("eu/a/rack2"), 2);
        assert_eq!(shared("eu/a"), 2);
        assert_eq!(shared("eu/b/rack1"), 1);
        assert_eq!(shared("us/a/rack1"), 0);
        assert_eq!(shared(""), 0);
        assert_eq!(Locality::new("eu/a").shared(&Locality::new("eu/a")), 3);
    }

    #[test]
    fn a_patterns_tail_may_be_left_out() {
        let own = Locality::new("eu/a/rack1");
        for fits in ["eu", "eu/*", "eu/a/*", "eu/a/rack1", "*", ""] {
            assert!(own.within(&Locality::new(fits)), "{fits}");
        }
        for not in ["us", "eu/b/*", "eu/a/rack2", "eu/a/rack"] {
            assert!(!own.within(&Locality::new(not)), "{not}");
        }
    }
}
