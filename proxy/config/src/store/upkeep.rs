//! What the ADS client and the disk do with a store: apply, restore, forget, list.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::interest::Interests;
use super::resources::{Answered, Push, Refused, Resources, Subscribed};
use super::{ConfigStore, Shared};
use crate::kind::Kind;
use crate::names::HostName;

impl ConfigStore {
    /// Applies what is valid of a push, publishes it as one snapshot, and gives what was refused.
    pub(crate) fn apply(&self, push: Push) -> Vec<Refused> {
        let mut resources = self.resources();
        let kind = push.kind;
        let outcome = resources.apply(push, &self.0.node, &self.0.roots, &*self.0);
        match kind {
            _ if !outcome.accepted => {}
            // No part of the snapshot: the workers need not look at it anew.
            Kind::DnsName => self.0.changed.send_modify(|count| *count += 1),
            _ => self.publish(&resources),
        }
        drop(resources);
        for answered in &outcome.answered {
            match answered {
                Answered::Address(ip) => self.0.interests.answer(ip),
                Answered::Name(name) => self.0.names.answer(name),
            }
        }
        outcome.refused
    }

    /// Applies what was kept on disk; its addresses and names count as used now.
    pub(crate) fn restore(&self, push: Push) -> Vec<Refused> {
        for raw in &push.resources {
            match Answered::of(push.kind, &raw.name) {
                Some(Answered::Address(ip)) => drop(self.hold(ip)),
                Some(Answered::Name(name)) => drop(self.0.names.hold(name)),
                None => {}
            }
        }
        self.apply(push)
    }

    /// Drops addresses that are no longer subscribed to. What only they needed goes when the
    /// control plane says so.
    pub(crate) fn forget(&self, addresses: &[IpAddr]) {
        let mut resources = self.resources();
        if resources.forget(addresses) {
            self.publish(&resources);
        }
    }

    /// The same for names.
    pub(crate) fn forget_names(&self, names: &[HostName]) {
        self.resources().forget_names(names);
    }

    /// Names that are kept but no longer wanted.
    pub(crate) fn unwanted_names(&self) -> Vec<HostName> {
        let resources = self.resources();
        let unwanted = resources
            .names()
            .filter(|name| !self.0.names.contains(name));
        unwanted.cloned().collect()
    }

    /// Addresses that are kept but no longer wanted.
    pub(crate) fn unwanted(&self) -> Vec<IpAddr> {
        let snapshot = self.0.snapshot.load();
        snapshot
            .addresses
            .keys()
            .copied()
            .filter(|ip| !self.0.interests.contains(ip))
            .collect()
    }

    /// Name and version of every resource of a type that is kept.
    pub(crate) fn versions(&self, kind: Kind) -> HashMap<String, String> {
        self.resources().versions(kind)
    }

    /// Everything that was accepted, as it was received, in the order in which it must be applied.
    pub(crate) fn accepted(&self) -> Vec<Push> {
        self.resources().accepted()
    }

    pub(crate) fn interests(&self) -> &Interests<IpAddr> {
        &self.0.interests
    }

    pub(crate) fn names(&self) -> &Interests<HostName> {
        &self.0.names
    }

    pub(crate) fn idle_limit(&self) -> Duration {
        self.0.limits.idle
    }

    pub(crate) fn connected(&self) {
        self.link().up();
    }

    pub(crate) fn disconnected(&self, reason: String) {
        self.link().down(reason);
    }

    /// Called with the resources locked, so that snapshots are published in order.
    pub(super) fn publish(&self, resources: &Resources) {
        self.0
            .snapshot
            .store(Arc::new(resources.snapshot().clone()));
        self.0.changed.send_modify(|count| *count += 1);
    }
}

impl Subscribed for Shared {
    fn address(&self, ip: IpAddr) -> bool {
        self.interests.contains(&ip)
    }

    fn name(&self, name: &HostName) -> bool {
        self.names.contains(name)
    }
}
