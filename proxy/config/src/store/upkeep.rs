//! What the ADS client and the disk do with a store: apply, restore, forget, list.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ConfigStore;
use super::interest::Interests;
use super::resources::{Push, Refused, Resources};
use crate::compile::address_name;
use crate::kind::Kind;

impl ConfigStore {
    /// Applies what is valid of a push, publishes it as one snapshot, and gives what was refused.
    pub(crate) fn apply(&self, push: Push) -> Vec<Refused> {
        let mut resources = self.resources();
        let outcome = resources.apply(push, &self.0.node, &self.0.roots, |ip| {
            self.0.interests.contains(ip)
        });
        if outcome.accepted {
            self.publish(&resources);
        }
        drop(resources);
        self.0.interests.answer(&outcome.answered);
        outcome.refused
    }

    /// Applies what was kept on disk; its addresses count as used now.
    pub(crate) fn restore(&self, push: Push) -> Vec<Refused> {
        if push.kind == Kind::Address {
            for raw in &push.resources {
                if let Ok(ip) = address_name(&raw.name) {
                    drop(self.hold(ip));
                }
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

    /// Addresses that are kept but no longer wanted.
    pub(crate) fn unwanted(&self) -> Vec<IpAddr> {
        let snapshot = self.0.snapshot.load();
        snapshot
            .addresses
            .keys()
            .copied()
            .filter(|ip| !self.0.interests.contains(*ip))
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

    pub(crate) fn interests(&self) -> &Interests {
        &self.0.interests
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
    fn publish(&self, resources: &Resources) {
        self.0
            .snapshot
            .store(Arc::new(resources.snapshot().clone()));
        self.0.changed.send_modify(|count| *count += 1);
    }
}
