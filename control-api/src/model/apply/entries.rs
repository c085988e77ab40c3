//! Changes of ServiceEntries: each host becomes a service. Of several entries of one namespace for
//! a host the oldest has it, then the first by name. Hosts without addresses are given some of the mesh's own,
//! which follow from the name; where two names ask for one, the older entry has it and the other
//! the next that is free, so that every control plane allots the same.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::Touched;
use crate::{
    model::{Model, hosts::is_external},
    name::NsName,
    source::Object,
};

/// Addresses that can be allotted: the first and the last of 240.240.0.0/16 are left out.
const SLOTS: u16 = u16::MAX - 1;

impl Model {
    pub(super) fn change_entry(
        &mut self,
        name: NsName,
        new: Option<Arc<Object>>,
        touched: &mut Touched,
    ) {
        let old = match new.clone() {
            Some(object) => self.entries.insert(name.clone(), object),
            None => self.entries.remove(&name),
        };
        let before = services_of(&name, old.as_deref());
        let after = services_of(&name, new.as_deref());
        for service in before.difference(&after) {
            self.entries_of.take(service, &name);
        }
        for service in after.difference(&before) {
            self.entries_of.add(service.clone(), name.clone());
        }
        let mut all: BTreeSet<NsName> = before.into_iter().chain(after).collect();
        all.extend(self.allot(&all));
        for service in all {
            self.settle_external(service, touched);
        }
    }

    /// The entry that has a host.
    fn entry_of(&self, service: &NsName) -> Option<&Arc<Object>> {
        let entries = self.entries_of.get(service)?.iter();
        let entries = entries.filter_map(|name| self.entries.get(name));
        entries.min_by(|a, b| a.seniority().cmp(&b.seniority()))
    }

    fn settle_external(&mut self, service: NsName, touched: &mut Touched) {
        let host: Box<str> = service.name().into();
        let built = self.entry_of(&service).and_then(|object| {
            let allotted = self.allotted.get(&service).map(|slot| addresses(*slot));
            let allotted = allotted.as_ref().map(<[IpAddr; 2]>::as_slice);
            let built = object.entry()?.service(&host, allotted.unwrap_or_default());
            Some((object.clone(), Arc::new(built)))
        });
        match &built {
            Some(_) => self.externals.add(host, service.clone()),
            None => self.externals.take(&host, &service),
        }
        self.put_service(service, built, touched);
    }

    /// Allots an address to those that need one now, takes it from those that do not any more.
    /// Returns the services whose address may be another.
    fn allot(&mut self, services: &BTreeSet<NsName>) -> BTreeSet<NsName> {
        let mut moved = BTreeSet::new();
        for service in services {
            let object = self.entry_of(service);
            let entry = object.and_then(|object| object.entry());
            let needs = entry.is_some_and(|entry| entry.needs_address(service.name()));
            let created = object.and_then(|object| object.created);
            let wish = (created.unwrap_or(i64::MAX), service.clone());
            let slot = self.allotted.get(service).copied();
            let has = slot.and_then(|slot| self.slots.get(&slot));
            if has == needs.then_some(&wish) {
                continue;
            }
            if let Some(slot) = slot {
                self.vacate(slot, &mut moved);
            }
            if needs {
                self.occupy(wish, &mut moved);
            }
        }
        moved
    }

    /// The first slot from the name's own on that nobody older has; whoever is there moves on.
    fn occupy(&mut self, mut item: (i64, NsName), moved: &mut BTreeSet<NsName>) {
        let mut slot = slot_of(&item.1);
        for _ in 0..SLOTS {
            let known = self.slots.get(&slot).cloned();
            if known.as_ref().is_none_or(|known| item < *known) {
                self.allotted.insert(item.1.clone(), slot);
                moved.insert(item.1.clone());
                self.slots.insert(slot, item);
                match known {
                    Some(displaced) => item = displaced,
                    None => return,
                }
            }
            slot = next(slot);
        }
        // There are no more.
        self.allotted.remove(&item.1);
        moved.insert(item.1);
    }

    /// Frees a slot; those that follow without a gap may have wished for it.
    fn vacate(&mut self, slot: u16, moved: &mut BTreeSet<NsName>) {
        let first = self.slots.remove(&slot);
        let mut following = Vec::new();
        let mut slot = next(slot);
        while let Some(item) = self.slots.remove(&slot) {
            following.push(item);
            slot = next(slot);
        }
        for (_, service) in first.iter().chain(&following) {
            self.allotted.remove(service);
            moved.insert(service.clone());
        }
        for item in following {
            self.occupy(item, moved);
        }
    }
}

fn services_of(name: &NsName, object: Option<&Object>) -> BTreeSet<NsName> {
    let hosts = object.and_then(Object::entry).into_iter();
    let hosts = hosts.flat_map(|entry| &entry.hosts);
    hosts
        .filter_map(|host| NsName::new(name.namespace(), &host.to_ascii_lowercase()))
        .filter(is_external)
        .collect()
}

/// From 1 to `SLOTS`.
fn slot_of(service: &NsName) -> u16 {
    let digest = Sha256::digest(service.as_str());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    // The remainder fits.
    (number % u32::from(SLOTS)) as u16 + 1
}

fn next(slot: u16) -> u16 {
    slot % SLOTS + 1
}

fn addresses(slot: u16) -> [IpAddr; 2] {
    let [high, low] = slot.to_be_bytes();
    [
        Ipv4Addr::new(240, 240, high, low).into(),
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, slot).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_round_and_leave_out_the_ends() {
        assert_eq!((next(1), next(SLOTS)), (2, 1));
        assert_eq!(addresses(1)[0].to_string(), "240.240.0.1");
        assert_eq!(addresses(SLOTS)[0].to_string(), "240.240.255.254");
        assert_eq!(addresses(SLOTS)[1].to_string(), "2001:2::f0f0:fffe");
    }
}
