//! What the mesh says of a route, as data: for each parentRef that is the mesh's, conditions in the
//! API's words. A pure function of the model. Serialises as `status:` of the route, without
//! `lastTransitionTime`, which is for whoever writes it and knows what stood there before.

use std::sync::Arc;

use serde::Serialize;

use super::{
    super::Model,
    attach::Attached,
    fault::{Fault, What},
    ports::Ports,
};
use crate::{name::ObjectKey, resources::gateway::ParentRef, source::Object};

/// Whose words these are: `controllerName` of the mesh whose parts are in this namespace. Each mesh of a
/// cluster has another, so that each leaves the words of the others alone.
pub fn controller(system_namespace: &str) -> Arc<str> {
    format!("heddle.io/mesh/{system_namespace}").into()
}

/// `status:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// One for each parentRef that is a Service.
    pub parents: Vec<ParentStatus>,
}

/// `parents[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// As it is written.
    pub parent_ref: ParentRef,
    /// As of [`controller`].
    pub controller_name: Arc<str>,
    /// Accepted, ResolvedRefs and, where some rules only are in force, PartiallyInvalid.
    pub conditions: Vec<Condition>,
}

/// `conditions[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    #[serde(serialize_with = "in_capitals")]
    pub status: bool,
    /// Why.
    pub reason: Reason,
    /// Why, for people, and what to change.
    pub message: String,
    /// Of which version of the route this is said.
    pub observed_generation: i64,
}

/// `type:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionType {
    /// The route applies to the parent.
    Accepted,
    /// Every Service that it names can be reached.
    ResolvedRefs,
    /// Some of its rules answer with an error.
    PartiallyInvalid,
}

/// `reason:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// It applies.
    Accepted,
    /// All are there.
    ResolvedRefs,
    /// There is no such Service, or it has no such port, or it is of type ExternalName.
    NoMatchingParent,
    /// A GRPCRoute has the port.
    Conflicted,
    /// The port speaks no HTTP.
    UnsupportedProtocol,
    /// A value that this mesh does not have.
    UnsupportedValue,
    /// Two filters that cannot be in force at once.
    IncompatibleFilters,
    /// There is no such Service, or it has no such port.
    BackendNotFound,
    /// Requests cannot be sent to objects of this kind.
    InvalidKind,
}

fn in_capitals<S: serde::Serializer>(holds: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *holds { "True" } else { "False" })
}

impl Model {
    /// What the mesh says of each of Gateway API's routes, in no order.
    pub fn route_statuses(&self) -> impl Iterator<Item = (&ObjectKey, RouteStatus)> {
        let (routes, mut ports) = (self.gateway_routes.iter(), Ports::default());
        routes.filter_map(move |(key, object)| Some((key, self.status_of(object, &mut ports)?)))
    }

    /// What the mesh says of a route; None: there is none of this name.
    pub fn route_status(&self, key: &ObjectKey) -> Option<RouteStatus> {
        self.status_of(self.gateway_routes.get(key)?, &mut Ports::default())
    }

    fn status_of(&self, object: &Object, ports: &mut Ports) -> Option<RouteStatus> {
        let key = &object.key;
        let spec = object.gateway_route()?;
        let faults = self.faults(object, ports);
        let bad_rules: Vec<&Fault> = faults
            .iter()
            .filter(|fault| matches!(fault.what, What::Rule(_)))
            .collect();
        let all_bad = !spec.rules.is_empty() && bad_rules.len() == spec.rules.len();
        let condition = |kind, status, reason, message: String| Condition {
            kind,
            status,
            reason,
            message,
            observed_generation: spec.generation,
        };
        let controller = controller(&self.settings.system_namespace);
        let parents = spec.parents.iter().enumerate();
        let ours = parents
            .filter(|(_, parent)| !matches!(self.attached(&key.name, parent), Attached::Elsewhere));
        let parents = ours.map(|(i, parent)| {
            let of_parent = faults.iter().find(|fault| fault.what == What::Parent(i));
            let worst = of_parent.or_else(|| bad_rules.first().copied().filter(|_| all_bad));
            let accepted = match worst {
                Some(fault) => condition(
                    ConditionType::Accepted,
                    false,
                    fault.reason,
                    fault.message(),
                ),
                None => {
                    let message = "The route applies.".to_owned();
                    condition(ConditionType::Accepted, true, Reason::Accepted, message)
                }
            };
            let unresolved = faults.iter().filter(|fault| fault.reason.is_of_refs());
            let mut conditions = vec![
                accepted,
                match told(unresolved) {
                    Some((reason, message)) => {
                        condition(ConditionType::ResolvedRefs, false, reason, message)
                    }
                    None => {
                        let message = "Every Service that it names is there.".to_owned();
                        condition(
                            ConditionType::ResolvedRefs,
                            true,
                            Reason::ResolvedRefs,
                            message,
                        )
                    }
                },
            ];
            let partial = faults.iter().filter(|fault| fault.reason.is_of_rules());
            if worst.is_none()
                && let Some((reason, message)) = told(partial)
            {
                let message = format!("Dropped Rule: answered with 500: {message}");
                conditions.push(condition(
                    ConditionType::PartiallyInvalid,
                    true,
                    reason,
                    message,
                ));
            }
            ParentStatus {
                parent_ref: parent.value.clone(),
                controller_name: controller.clone(),
                conditions,
            }
        });
        Some(RouteStatus {
            parents: parents.collect(),
        })
    }
}

impl Reason {
    fn is_of_refs(self) -> bool {
        matches!(self, Self::BackendNotFound | Self::InvalidKind)
    }

    fn is_of_rules(self) -> bool {
        matches!(self, Self::UnsupportedValue | Self::IncompatibleFilters)
    }
}

/// The first reason, and every message.
fn told<'a>(faults: impl Iterator<Item = &'a Fault>) -> Option<(Reason, String)> {
    let mut faults = faults.peekable();
    let reason = faults.peek()?.reason;
    let messages: Vec<String> = faults.map(Fault::message).collect();
    Some((reason, messages.join("; ")))
}
