//! Everything that was accepted: as it was received (for versions and for the disk), and compiled
//! (for the data path).
//!
//! A push is applied resource by resource: what does not convert is refused by name and the last
//! good version stays. What did not change keeps its `Arc`, so that pointers tell what did.

mod hosts;
mod install;
mod push;
mod share;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::RootsSink;
use crate::compile::{Compiled, Problem, Refusal, compile};
use crate::kind::Kind;
use crate::names::{DnsName, HostName};
use crate::node::ProxyNode;
use crate::snapshot::Snapshot;
pub(crate) use push::{Answered, Outcome, Push, Raw, Refused};

/// Refusals remembered for people; the control plane is told of all.
const MAX_REFUSALS: usize = 1_000;

/// A resource as it was received.
struct Kept {
    version: Box<str>,
    value: Box<[u8]>,
}

pub(super) struct Resources {
    limit: usize,
    kept: HashMap<(Kind, Box<str>), Kept>,
    refused: BTreeMap<(Kind, String), String>,
    snapshot: Snapshot,
    hosts: hosts::Hosts,
    names: HashMap<HostName, Arc<DnsName>>,
}

/// What is subscribed to, of the types of which each resource is.
pub(super) trait Subscribed {
    fn address(&self, ip: IpAddr) -> bool;
    fn name(&self, name: &HostName) -> bool;
}

impl Resources {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: HashMap::new(),
            refused: BTreeMap::new(),
            snapshot: Snapshot::default(),
            hosts: hosts::Hosts::default(),
            names: HashMap::new(),
        }
    }

    pub(super) fn name(&self, name: &HostName) -> Option<Arc<DnsName>> {
        self.names.get(name).cloned()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &HostName> {
        self.names.keys()
    }

    /// The version of the last push that was accepted, which the snapshot that is published need not
    /// have: names are no part of it.
    pub(super) fn version(&self) -> &str {
        &self.snapshot.version
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn refusal(&self, kind: Kind, name: &str) -> Option<String> {
        self.refused.get(&(kind, name.to_owned())).cloned()
    }

    pub(super) fn refusals(&self) -> Vec<(String, String, String)> {
        let text = |((kind, name), reason): (&(Kind, String), &String)| {
            (kind.to_string(), name.clone(), reason.clone())
        };
        self.refused.iter().map(text).collect()
    }

    pub(super) fn versions(&self, kind: Kind) -> HashMap<String, String> {
        let of_kind = self.kept.iter().filter(|((of, _), _)| *of == kind);
        of_kind
            .map(|((_, name), kept)| (name.to_string(), kept.version.to_string()))
            .collect()
    }

    pub(super) fn accepted(&self) -> Vec<Push> {
        let mut pushes = Kind::ALL.map(|kind| Push {
            kind,
            version: self.snapshot.version.to_string(),
            resources: Vec::new(),
            removed: Vec::new(),
        });
        for ((kind, name), kept) in &self.kept {
            // `ALL` holds every kind, so one of them fits.
            if let Some(push) = pushes.iter_mut().find(|push| push.kind == *kind) {
                push.resources.push(Raw {
                    name: name.to_string(),
                    version: kept.version.to_string(),
                    value: kept.value.to_vec(),
                });
            }
        }
        for push in &mut pushes {
            push.resources.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        pushes.into()
    }

    /// Applies a push. `wanted` says which addresses and names are subscribed to; others are ignored, for
    /// the answer to a subscription that was dropped meanwhile is no mistake.
    pub(super) fn apply(
        &mut self,
        push: Push,
        node: &ProxyNode,
        roots: &RootsSink,
        wanted: &impl Subscribed,
    ) -> Outcome {
        let kind = push.kind;
        let mut outcome = Outcome {
            accepted: push.resources.is_empty() || !push.removed.is_empty(),
            ..Outcome::default()
        };
        for raw in push.resources {
            match self.accept(kind, &raw, node, roots, wanted) {
                Ok(answered) => {
                    outcome.accepted = true;
                    outcome.answered.extend(answered);
                    self.refused.remove(&(kind, raw.name));
                }
                Err(refusal) => {
                    let reason = refusal.to_string();
                    outcome.answered.extend(Answered::of(kind, &raw.name));
                    if self.refused.len() < MAX_REFUSALS {
                        self.refused
                            .insert((kind, raw.name.clone()), reason.clone());
                    }
                    outcome.refused.push(Refused {
                        name: raw.name,
                        reason,
                    });
                }
            }
        }
        for name in push.removed {
            self.refused.remove(&(kind, name.clone()));
            outcome.answered.extend(self.remove(kind, &name, wanted));
        }
        if outcome.accepted && *self.snapshot.version != *push.version {
            self.snapshot.version = Arc::from(push.version);
        }
        outcome
    }

    /// Drops addresses; `false` when there was nothing to drop.
    pub(super) fn forget(&mut self, addresses: &[IpAddr]) -> bool {
        let mut dropped = false;
        for ip in addresses {
            let name = ip.to_string();
            self.refused.remove(&(Kind::Address, name.clone()));
            self.kept.remove(&(Kind::Address, name.into_boxed_str()));
            dropped |= self.snapshot.addresses.remove(ip).is_some();
        }
        dropped
    }

    /// Drops names.
    pub(super) fn forget_names(&mut self, names: &[HostName]) {
        for name in names {
            let key = (Kind::DnsName, name.to_string());
            self.refused.remove(&key);
            self.kept.remove(&(key.0, key.1.into_boxed_str()));
            self.names.remove(name);
        }
    }

    /// Converts and keeps one resource; gives what it answers.
    fn accept(
        &mut self,
        kind: Kind,
        raw: &Raw,
        node: &ProxyNode,
        roots: &RootsSink,
        wanted: &impl Subscribed,
    ) -> Result<Option<Answered>, Refusal> {
        if let Some(own) = node.own_name(kind).filter(|own| *own != raw.name) {
            return Err(Problem::NotOurs(own).into());
        }
        let key = (kind, raw.name.clone().into_boxed_str());
        let known = self.kept.get_mut(&key);
        if let Some(kept) = known
            && *kept.value == *raw.value
        {
            kept.version = raw.version.clone().into();
            // A resource that was removed while wanted stands as unknown and is no longer kept, so
            // what is kept is what the snapshot has.
            return Ok(Answered::of(kind, &raw.name));
        }
        let compiled = compile(kind, &raw.name, &raw.value)?;
        let is_wanted = match &compiled {
            Compiled::Address(ip, _) => wanted.address(*ip),
            Compiled::Name(name, _) => wanted.name(name),
            _ => true,
        };
        if !is_wanted {
            return Ok(None);
        }
        if !self.kept.contains_key(&key) && self.kept.len() >= self.limit {
            return Err(Problem::TooManyResources(self.limit).into());
        }
        let answered = self.install(compiled, roots)?;
        let kept = Kept {
            version: raw.version.clone().into(),
            value: raw.value.clone().into(),
        };
        self.kept.insert(key, kept);
        Ok(answered)
    }
}
