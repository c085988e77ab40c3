//! The choice among the endpoints of a cluster that a policy, or a difference between its endpoints,
//! says something about: levels by place, shares by health, an algorithm within a group. What was
//! learnt of endpoints is kept in [`learnt::Learnt`] and outlives every push.

mod arrange;
mod choose;
pub(crate) mod ejections;
pub(crate) mod learnt;
mod load;
pub(crate) mod outlier;
mod table;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use heddle_proxy_config::key;
use heddle_proxy_config::snapshot::{Algorithm, HashKey, TrafficPolicy};
use rand::{Rng, RngExt};

pub(crate) use self::arrange::Own;
use self::choose::Candidates;
use self::learnt::{Learnt, Standing};
use self::load::{Health, Share, Use};
use self::table::Table;
use crate::cluster::Member;
use crate::upstream::Upstream;

/// What a choice may depend on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pick<'a> {
    /// What keeps the request where it is; `None`: nothing does.
    pub(crate) hash: Option<u64>,
    /// Asked already: avoided while another is left.
    pub(crate) tried: &'a [Rc<Upstream>],
}

/// How the endpoints of one cluster are chosen among.
pub(crate) struct Governed {
    pub(crate) policy: Arc<TrafficPolicy>,
    pub(crate) learnt: Rc<Learnt>,
    /// Parallel to the cluster's members.
    standings: Vec<Rc<Standing>>,
    levels: Vec<Vec<Group>>,
    /// Shares as of a version of what was learnt.
    shares: RefCell<Vec<Share>>,
    shares_of: Cell<Option<u64>>,
    offset: usize,
}

/// Endpoints that share a level and a place.
struct Group {
    candidates: Candidates,
    weight: u32,
    /// Where keys lead, over the group's own numbers.
    table: Option<Rc<Table>>,
}

impl Governed {
    pub(crate) fn new(
        policy: Arc<TrafficPolicy>,
        learnt: Rc<Learnt>,
        own: &Own,
        members: &[Rc<Member>],
        standings: Vec<Rc<Standing>>,
    ) -> Self {
        let placements: Vec<_> = members.iter().map(|m| &m.endpoint.placement).collect();
        let arranged = arrange::arrange(policy.locality.as_ref(), own, &placements);
        let tables = &mut learnt.tables.borrow_mut();
        let before = std::mem::take(&mut **tables);
        let mut group = |arranged: arrange::Members| {
            let table = match &policy.algorithm {
                Algorithm::Hash(_, kind) => {
                    let names = arranged.indexes.iter().map(|index| {
                        let member = &members[*index];
                        (member.upstream.addr, member.endpoint.placement.weight)
                    });
                    let inputs = (*kind, names.collect());
                    let table = before.iter().find(|(of, _)| *of == inputs);
                    let table = table.map_or_else(|| Rc::new(made(&inputs)), |(_, t)| Rc::clone(t));
                    tables.push((inputs, Rc::clone(&table)));
                    Some(table)
                }
                _ => None,
            };
            let weights = arranged.indexes.iter();
            let weights = weights
                .map(|index| members[*index].endpoint.placement.weight)
                .collect();
            Group {
                candidates: Candidates::new(arranged.indexes, weights),
                weight: arranged.weight,
                table,
            }
        };
        let levels = arranged
            .into_iter()
            .map(|level| level.into_iter().map(&mut group).collect())
            .collect();
        Self {
            levels,
            shares: RefCell::default(),
            shares_of: Cell::new(None),
            offset: rand::rng().random_range(0..members.len().max(1)),
            policy,
            learnt: Rc::clone(&learnt),
            standings,
        }
    }

    /// What of a request keeps it where it is.
    pub(crate) fn hash_key(&self) -> Option<&HashKey> {
        match &self.policy.algorithm {
            Algorithm::Hash(key, _) => Some(key),
            _ => None,
        }
    }

    pub(crate) fn pick<'a>(
        &self,
        members: &'a [Rc<Member>],
        pick: Pick<'_>,
    ) -> Option<&'a Rc<Member>> {
        // The clock is only read when something is timed.
        let now = self.learnt.is_timed().then(Instant::now);
        if let Some(now) = now {
            self.learnt.review(now);
        }
        self.renew_shares(members);
        let shares = self.shares.borrow();
        let mut rng = rand::rng();
        let ticket = pick
            .hash
            .map_or_else(|| rng.next_u64(), |key| key::hash::mix(key ^ 1));
        let first = drawn(&shares, ticket)?;
        let chosen = |share: &Share, avoided: &[Rc<Upstream>]| {
            let group = &self.levels[share.level][share.group];
            let fits = |index: usize| {
                let member = &members[index];
                self.may_be(member, index, share.whom)
                    && !avoided
                        .iter()
                        .any(|tried| Rc::ptr_eq(tried, &member.upstream))
            };
            self.choose(group, members, pick.hash, now, &fits)
        };
        let among = |avoided: &[Rc<Upstream>]| {
            let others = shares.iter().filter(|share| share.whom != Use::Nobody);
            chosen(first, avoided).or_else(|| others.into_iter().find_map(|s| chosen(s, avoided)))
        };
        let last = pick.tried.len().saturating_sub(1);
        let mut index = among(pick.tried);
        if index.is_none() && last > 0 {
            // All were tried: any but the last.
            index = among(&pick.tried[last..]);
        }
        if index.is_none() && !pick.tried.is_empty() {
            index = among(&[]);
        }
        members.get(index?)
    }

    /// Counts who is well, where that has changed.
    fn renew_shares(&self, members: &[Rc<Member>]) {
        let version = self.learnt.version();
        if self.shares_of.replace(Some(version)) == Some(version) {
            return;
        }
        let health = |group: &Group| {
            let mut health = Health {
                weight: group.weight,
                ..Health::default()
            };
            for index in group.candidates.indexes() {
                let member = &members[*index];
                let ejected = self.standings[*index].is_ejected();
                match (ejected, member.endpoint.placement.draining) {
                    (true, false) => health.ejected += 1,
                    (false, true) => health.draining += 1,
                    (false, false) => health.ready += 1,
                    (true, true) => {}
                }
            }
            health
        };
        let levels: Vec<Vec<Health>> = self
            .levels
            .iter()
            .map(|level| level.iter().map(health).collect())
            .collect();
        *self.shares.borrow_mut() = load::spread(&levels, self.policy.panic_percent);
    }

    fn may_be(&self, member: &Member, index: usize, whom: Use) -> bool {
        let ejected = self.standings[index].is_ejected();
        let draining = member.endpoint.placement.draining;
        match whom {
            Use::Ready => !ejected && !draining,
            Use::Draining => !ejected && draining,
            Use::All => !draining,
            Use::Nobody => false,
        }
    }

    /// An endpoint of a group, by its index among all, of those that fit.
    fn choose(
        &self,
        group: &Group,
        members: &[Rc<Member>],
        key: Option<u64>,
        now: Option<Instant>,
        fits: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        let rng = &mut rand::rng();
        let candidates = &group.candidates;
        let factor = |index: usize| match (self.policy.warmup, now) {
            (Some(warmup), Some(now)) => self.standings[index].warmth(warmup, now),
            _ => 1.0,
        };
        let load = |index: usize| members[index].upstream.active();
        match (&self.policy.algorithm, &group.table, key) {
            (Algorithm::Hash(..), Some(table), Some(key)) => {
                let indexes = candidates.indexes();
                let found = table.find(key, |own| fits(indexes[own]))?;
                Some(indexes[found])
            }
            (Algorithm::RoundRobin, ..) => {
                let turn = |index: usize| &self.standings[index].turn;
                candidates.in_turn(self.offset, turn, fits, &factor)
            }
            (Algorithm::LeastRequest, ..) => candidates.less_loaded(rng, load, fits, &factor),
            (Algorithm::Random | Algorithm::Hash(..) | Algorithm::Passthrough, ..) => {
                candidates.any(rng, fits, &factor)
            }
        }
    }
}

/// The share that a ticket of 64 bits draws; `None`: there is nobody.
fn drawn(shares: &[Share], ticket: u64) -> Option<&Share> {
    // Exact to 53 bits, and below 1.
    let mut left = (ticket >> 11) as f64 / (1_u64 << 53) as f64;
    let usable = |share: &&Share| share.share > 0.0;
    for share in shares.iter().filter(usable) {
        if left < share.share {
            return Some(share);
        }
        left -= share.share;
    }
    // What rounding left over.
    shares.iter().rfind(usable)
}

fn made((kind, endpoints): &learnt::TableOf) -> Table {
    let named = |(addr, weight): &(SocketAddr, u32)| (addr.to_string(), *weight);
    Table::new(*kind, &endpoints.iter().map(named).collect::<Vec<_>>())
}
