//! Routes of Gateway API that are in force and hardly meant.

use std::sync::Arc;

use super::warning;
use crate::{
    check::Code,
    model::Model,
    resources::gateway::Route,
    source::{Object, Refusal},
};

impl Model {
    pub(super) fn of_gateway_route(
        &self,
        object: &Arc<Object>,
        spec: &Route,
        found: &mut Vec<Refusal>,
    ) {
        for (i, rule) in spec.rules.iter().enumerate() {
            let Some(first) = rule.backends.first() else {
                continue;
            };
            if rule.backends.iter().all(|backend| backend.weight == 0) {
                let reason = format!("spec.rules[{i}].backendRefs: the weights total 0");
                let instead = "give at least one of them a weight";
                found.push(warning(Code::NoShare, object, first.at, reason, instead));
            }
        }
    }
}
