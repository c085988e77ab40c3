//! Which VirtualServices and DestinationRules of a batch are in force as they are written. They are
//! judged together, since an edit may move a subset and the routes to it at once: rules are taken as
//! written, routes are judged by them, and a rule that takes a subset away from a route that is
//! in force is put back, until nothing more is. Each round puts at least one back, so it ends.

use std::{collections::BTreeMap, sync::Arc};

use tracing::{info, warn};

use super::Touched;
use crate::{
    model::{HeldRule, Model, RouteEntry},
    name::{NsName, ObjectKey},
    source::{Object, Refusal},
};

/// A VirtualService as it was before the batch.
pub(super) struct RouteBefore {
    in_force: Option<Arc<Object>>,
    refusals: Arc<[Refusal]>,
}

/// A DestinationRule that was in force, and what is written now.
pub(super) struct RuleChange {
    pub(super) before: Arc<Object>,
    pub(super) written: Arc<Object>,
}

impl Model {
    pub(super) fn judge_all(&mut self, touched: &mut Touched) {
        if !self.last_good.is_empty() {
            // What routes were in force is found by what was in force of the rules.
            self.judge_routes(touched);
            touched.routes_before.clear();
        }
        if !touched.judge.is_empty() || !touched.rules.is_empty() {
            self.try_held_rules_again(touched);
        }
        let names: Vec<NsName> = touched.rules.keys().cloned().collect();
        for name in &names {
            let written = touched.rules.get(name).map(|change| change.written.clone());
            self.put_rule(name, written, touched);
        }
        let mut refused: BTreeMap<NsName, Vec<Refusal>> = BTreeMap::new();
        loop {
            self.judge_routes(touched);
            let new: Vec<(NsName, Vec<Refusal>)> = touched
                .rules
                .iter()
                .filter(|(name, _)| !refused.contains_key(*name))
                .map(|(name, change)| {
                    let refusals = self.judge_rule(&change.before, &change.written);
                    (name.clone(), refusals)
                })
                .filter(|(_, refusals)| !refusals.is_empty())
                .collect();
            if new.is_empty() {
                break;
            }
            for (name, refusals) in new {
                let before = touched.rules.get(&name).map(|change| change.before.clone());
                self.put_rule(&name, before, touched);
                refused.insert(name, refusals);
            }
        }
        for (name, change) in std::mem::take(&mut touched.rules) {
            self.settle_rule(name.clone(), change.written, refused.remove(&name));
        }
        self.tell_of_routes(touched);
    }

    /// What keeps a rule from being in force may be gone.
    fn try_held_rules_again(&self, touched: &mut Touched) {
        for (name, held) in self.held_rules.iter() {
            if let Some(before) = self.rules.get(name) {
                let change = || RuleChange {
                    before: before.clone(),
                    written: held.written.clone(),
                };
                touched.rules.entry(name.clone()).or_insert_with(change);
            }
        }
    }

    fn settle_rule(&mut self, name: NsName, written: Arc<Object>, refusals: Option<Vec<Refusal>>) {
        self.hold_back(&written.key, refusals.is_some());
        let known = self.held_rules.get(&name).map(|held| held.refusals.clone());
        match refusals {
            Some(refusals) => {
                tell(&refusals, &known.unwrap_or_default());
                let refusals = refusals.into();
                let held = HeldRule { written, refusals };
                Arc::make_mut(&mut self.held_rules).insert(name, held);
            }
            None if known.is_some() => {
                info!("{} is in force as it is written now", written.key);
                Arc::make_mut(&mut self.held_rules).remove(&name);
            }
            None => {}
        }
    }

    fn judge_routes(&mut self, touched: &mut Touched) {
        for name in touched.judge.clone() {
            let Some(entry) = self.routes.get(&name).cloned() else {
                continue;
            };
            let Some(spec) = entry.written.route() else {
                continue;
            };
            let before = touched.routes_before.entry(name.clone());
            let before = before.or_insert_with(|| RouteBefore {
                in_force: entry.in_force.clone(),
                refusals: entry.refusals.clone(),
            });
            let refusals = self.judge(&entry.written, spec, before.in_force.is_some());
            let in_force = match (refusals.is_empty(), spec.is_for_mesh()) {
                (true, true) => Some(entry.written.clone()),
                (true, false) => None,
                (false, _) => before.in_force.clone(),
            };
            self.hold_back(
                &entry.written.key,
                in_force.is_some() && !refusals.is_empty(),
            );
            let same = match (&entry.in_force, &in_force) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            if !same {
                self.index_route(&name, entry.in_force.as_ref(), in_force.as_ref(), touched);
            }
            let entry = RouteEntry {
                written: entry.written.clone(),
                in_force,
                refusals: refusals.into(),
            };
            self.routes.insert(name, Arc::new(entry));
        }
    }

    fn tell_of_routes(&self, touched: &Touched) {
        for (name, before) in &touched.routes_before {
            let Some(entry) = self.routes.get(name) else {
                continue;
            };
            tell(&entry.refusals, &before.refusals);
            if entry.refusals.is_empty() && !before.refusals.is_empty() {
                info!("{} is in force as it is written now", entry.written.key);
            }
        }
    }

    /// Notes whether what is in force of an object must outlive a restart: it would not be found again.
    pub(super) fn hold_back(&mut self, key: &ObjectKey, is_held: bool) {
        if self.held_back.contains(key) != is_held {
            let keys = Arc::make_mut(&mut self.held_back);
            match is_held {
                true => _ = keys.insert(key.clone()),
                false => _ = keys.remove(key),
            }
        }
    }
}

fn tell(refusals: &[Refusal], known: &[Refusal]) {
    for refusal in refusals.iter().filter(|refusal| !known.contains(refusal)) {
        warn!("refused: {refusal}");
    }
}
