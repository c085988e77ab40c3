//! What the mesh says of Gateway API's routes, written where the API wants it. Parents of other
//! controllers stay as they are; times change only with what they are of; a route whose status says
//! so already is not written. A route that changed meanwhile is left for its next version.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{REQUEST, is_refusal, lease::Leader};
use crate::{
    model::{Model, gateway::status::CONTROLLER},
    name::{Kind, ObjectKey},
    push::Hub,
    source::{
        Refusal,
        kubernetes::{Known, Raw, Registry},
    },
};

/// After each write: twenty a second.
const PACE: Duration = Duration::from_millis(50);
/// What the API takes.
const MAX_PARENTS: usize = 32;
const MAX_MESSAGE: usize = 32_768;

/// What has been written.
pub struct Statuses {
    client: Client,
    /// What was wanted when a route was written, and what the server made of it.
    written: HashMap<ObjectKey, (Vec<Value>, Vec<Value>)>,
}

impl Statuses {
    /// Nothing has been written yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            written: HashMap::new(),
        }
    }

    /// Writes what is not said yet, while the Lease is held. False: something is left.
    pub async fn write(&mut self, hub: &Arc<Hub>, registry: &Registry, leader: &Leader) -> bool {
        let model = hub.model();
        let refusals = hub.refusals();
        let wanted = wanted(&model, &refusals, registry);
        self.written
            .retain(|key, _| wanted.iter().any(|(other, ..)| other == key));
        let mut done = true;
        for (key, known, wanted) in wanted {
            let Some(parents) = merged(&known.parents, &wanted, &now()) else {
                continue;
            };
            let before = self.written.get(&key);
            if before.is_some_and(|(asked, made)| *asked == wanted && *made == known.parents) {
                continue;
            }
            if !leader.holds() {
                return false;
            }
            match timeout(REQUEST, self.patch(&key, &known, parents)).await {
                Ok(Ok(raw)) => {
                    // What the watch will say; so the next look does not write it again.
                    let before = known.version.clone();
                    let now = Known {
                        version: raw.meta.resource_version.clone().unwrap_or_default(),
                        parents: raw.list("status", "parents"),
                        ..known
                    };
                    self.written
                        .insert(key.clone(), (wanted, now.parents.clone()));
                    registry.replace(&key, &before, now);
                }
                // It has changed, or is gone: the watch says which.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                    done = false;
                    debug!(%key, "the route has changed meanwhile");
                }
                // Whatever refuses this one is not in the way of the others.
                Ok(Err(kube::Error::Api(status))) if is_refusal(status.code) => {
                    done = false;
                    warn!(%key, reason = status.message, "the status of a route is refused; it is tried again");
                }
                Ok(Err(error)) => {
                    warn!(%key, %error, "cannot write the status of a route; it is tried again");
                    return false;
                }
                Err(_) => return false,
            }
            sleep(PACE).await;
        }
        done
    }
}

impl Statuses {
    /// A merge patch with the version that was read: whoever wrote since makes it a conflict.
    async fn patch(
        &self,
        key: &ObjectKey,
        known: &Known,
        parents: Vec<Value>,
    ) -> Result<Raw, kube::Error> {
        let plural = match key.kind {
            Kind::GrpcRoute => "grpcroutes",
            _ => "httproutes",
        };
        let (group, version) = known
            .api_version
            .split_once('/')
            .unwrap_or(("", &known.api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: known.api_version.clone(),
            kind: key.kind.as_str().to_owned(),
            plural: plural.to_owned(),
        };
        let routes: Api<Raw> =
            Api::namespaced_with(self.client.clone(), key.name.namespace(), &resource);
        let patch = json!({
            "metadata": {"resourceVersion": known.version, "uid": known.uid},
            "status": {"parents": parents},
        });
        let parameters = PatchParams {
            field_manager: Some("heddle-control".into()),
            ..PatchParams::default()
        };
        routes
            .patch_status(key.name.name(), &parameters, &Patch::Merge(&patch))
            .await
    }
}

/// Routes whose status can be told: what stands, and what our own parents are to be.
fn wanted(
    model: &Model,
    refusals: &[Refusal],
    registry: &Registry,
) -> Vec<(ObjectKey, Known, Vec<Value>)> {
    let mut found = HashMap::new();
    for key in model.gateway_route_keys() {
        let Some((known, status)) = registry.get(key).zip(model.route_status(key)) else {
            continue;
        };
        let parents = serde_json::to_value(&status.parents).ok();
        let Some(Value::Array(parents)) = parents else {
            continue;
        };
        let of_this = |parent: &Value| {
            let conditions = parent["conditions"].as_array().into_iter().flatten();
            conditions
                .into_iter()
                .all(|one| one["observedGeneration"] == known.generation)
        };
        // The model may not have read this version yet, or refuses it: that is told below.
        if parents.iter().all(of_this) {
            found.insert(key.clone(), (known, parents));
        }
    }
    for refusal in refusals.iter().filter(|refusal| !refusal.is_warning()) {
        let kind = [Kind::HttpRoute, Kind::GrpcRoute]
            .into_iter()
            .find(|kind| kind.as_str() == refusal.kind);
        let name = crate::name::NsName::new(&refusal.namespace, &refusal.name);
        let Some((kind, name)) = kind.zip(name) else {
            continue;
        };
        let key = ObjectKey { kind, name };
        if !found.contains_key(&key)
            && let Some(known) = registry.get(&key)
        {
            let parents = refused(&known, &refusal.in_words());
            found.insert(key, (known, parents));
        }
    }
    found
        .into_iter()
        .map(|(key, (known, parents))| (key, known, parents))
        .collect()
}

/// Of a route that could not be read: each Service among its parents is told why.
fn refused(known: &Known, message: &str) -> Vec<Value> {
    let is_ours = |parent: &&Value| {
        parent["kind"] == "Service" && parent["group"].as_str().unwrap_or_default().is_empty()
    };
    let parents = known.parent_refs.iter().filter(is_ours).map(|parent| {
        json!({
            "parentRef": parent, "controllerName": CONTROLLER,
            "conditions": [{
                "type": "Accepted", "status": "False", "reason": "UnsupportedValue",
                "message": message, "observedGeneration": known.generation,
            }],
        })
    });
    parents.collect()
}

/// `status.parents` as it is to be; None: it is so already.
fn merged(there: &[Value], wanted: &[Value], now: &str) -> Option<Vec<Value>> {
    let is_ours = |parent: &&Value| parent["controllerName"] == CONTROLLER;
    let mut parents: Vec<Value> = there
        .iter()
        .filter(|parent| !is_ours(parent))
        .cloned()
        .collect();
    let mut changed = there.iter().filter(is_ours).count() != wanted.len();
    for parent in wanted {
        let before = there
            .iter()
            .filter(is_ours)
            .find(|before| before["parentRef"] == parent["parentRef"]);
        let mut parent = parent.clone();
        for condition in parent["conditions"].as_array_mut().into_iter().flatten() {
            shorten(condition);
            let conditions = before.and_then(|before| before["conditions"].as_array());
            let same = conditions.into_iter().flatten().find(|before| {
                before["type"] == condition["type"] && before["status"] == condition["status"]
            });
            let time = same
                .and_then(|before| before["lastTransitionTime"].as_str())
                .unwrap_or(now);
            condition["lastTransitionTime"] = time.into();
        }
        changed |= before != Some(&parent);
        parents.push(parent);
    }
    parents.truncate(MAX_PARENTS);
    changed.then_some(parents)
}

fn shorten(condition: &mut Value) {
    let message = condition["message"].as_str().unwrap_or_default();
    if message.chars().count() > MAX_MESSAGE {
        condition["message"] = message.chars().take(MAX_MESSAGE).collect::<String>().into();
    }
}

fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0);
    now.ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parent(name: &str, controller: &str, status: &str, message: &str) -> Value {
        json!({"parentRef": {"kind": "Service", "name": name}, "controllerName": controller,
               "conditions": [{"type": "Accepted", "status": status, "message": message}]})
    }

    #[test]
    fn others_stay_times_stay_and_the_same_is_not_written() {
        let other = parent("a", "example.com/other", "True", "");
        let ours = |status: &str, message: &str| parent("a", CONTROLLER, status, message);
        let first = merged(std::slice::from_ref(&other), &[ours("True", "x")], "t1").unwrap();
        assert_eq!(first[0], other);
        assert_eq!(first[1]["conditions"][0]["lastTransitionTime"], "t1");
        assert_eq!(merged(&first, &[ours("True", "x")], "t2"), None);
        // Another message is another status, but the condition holds since the same time.
        let second = merged(&first, &[ours("True", "y")], "t2").unwrap();
        assert_eq!(second[1]["conditions"][0]["lastTransitionTime"], "t1");
        let third = merged(&second, &[ours("False", "y")], "t3").unwrap();
        assert_eq!(third[1]["conditions"][0]["lastTransitionTime"], "t3");
        assert_eq!(merged(&third, &[], "t4").unwrap(), [other]);
    }
}
