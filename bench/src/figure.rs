//! Figures as data: what was measured, of whom, in which round, which way is better, and what is aimed
//! at. A ratio is always one of medians over all rounds.

use serde::{Deserialize, Serialize};

use crate::peers::Peer;

/// One value of one peer in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) case: String,
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    pub(crate) what: String,
    /// Under which load or of which size; empty when there is only one.
    pub(crate) at: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    More,
    Less,
}

/// What figures with the same name, at the same load, have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) what: String,
    pub(crate) at: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
    /// Behind the point, in tables.
    pub(crate) digits: usize,
    /// Whether charts show it.
    pub(crate) charted: bool,
    pub(crate) aims: Vec<Aim>,
}

/// What our own sidecar is to reach: at most (or at least, when more is better) so many times that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aim {
    pub(crate) times: f64,
    pub(crate) of: Reference,
}

/// What a figure is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reference {
    /// The same figure of another peer.
    Peer(Peer),
    /// Our own figure of the same name at another load or size.
    At(String),
    /// One, so that the aim is a value in the figure's own unit.
    One,
}

impl Measure {
    /// Something of which less is better.
    pub(crate) fn less(what: &str, unit: &str) -> Self {
        Self {
            what: what.to_owned(),
            at: String::new(),
            unit: unit.to_owned(),
            better: Better::Less,
            digits: 1,
            charted: true,
            aims: Vec::new(),
        }
    }

    /// Something of which more is better.
    pub(crate) fn more(what: &str, unit: &str) -> Self {
        Self {
            better: Better::More,
            ..Self::less(what, unit)
        }
    }

    /// Under this load, or of this size.
    pub(crate) fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }

    pub(crate) fn digits(mut self, digits: usize) -> Self {
        self.digits = digits;
        self
    }

    /// Only in tables.
    pub(crate) fn uncharted(mut self) -> Self {
        self.charted = false;
        self
    }

    /// To be at most (at least) so many times another peer's.
    pub(crate) fn aim(self, times: f64, peer: Peer) -> Self {
        self.towards(times, Reference::Peer(peer))
    }

    /// To be at most (at least) so many times our own at another load or size.
    pub(crate) fn aim_at(self, times: f64, at: &str) -> Self {
        self.towards(times, Reference::At(at.to_owned()))
    }

    /// To be at most (at least) this, in its own unit.
    pub(crate) fn bound(self, value: f64) -> Self {
        self.towards(value, Reference::One)
    }

    fn towards(mut self, times: f64, of: Reference) -> Self {
        self.aims.push(Aim { times, of });
        self
    }

    /// Whether a figure is of this.
    pub(crate) fn covers(&self, figure: &Figure) -> bool {
        self.what == figure.what && self.at == figure.at
    }
}

impl Better {
    /// Whether what was reached is as good as what was aimed at.
    pub(crate) fn met(self, reached: f64, aimed: f64) -> bool {
        match self {
            Better::More => reached >= aimed,
            Better::Less => reached <= aimed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_met_from_its_better_side() {
        assert!(Better::Less.met(0.4, 0.4) && !Better::Less.met(0.41, 0.4));
        assert!(Better::More.met(2.3, 2.3) && !Better::More.met(2.2, 2.3));
    }
}
