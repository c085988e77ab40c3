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

use super::{Left, REQUEST, is_refusal, lease::Leader};
use crate::{
    model::{Model, gateway::status::controller},
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
    controller: Arc<str>,
    field_manager: String,
    /// What was wanted when a route was written, and what the server made of it.
    written: HashMap<ObjectKey, (Vec<Value>, Vec<Value>)>,
}

impl Statuses {
    /// Nothing has been written yet. Each mesh of a cluster writes in a name of its own.
    pub fn new(client: Client, system_namespace: &str) -> Self {
        Self {
            client,
            controller: controller(system_namespace),
            field_manager: format!("heddle-control-{system_namespace}"),
            written: HashMap::new(),
        }
    }

    /// Writes what is not said yet, while the Lease is held.
    ///
    /// # Errors
    /// When something is left.
    pub async fn write(
        &mut self,
        hub: &Arc<Hub>,
        registry: &Registry,
        leader: &Leader,
    ) -> Result<(), Left> {
        let model = hub.model();
        let refusals = hub.refusals();
        let wanted = wanted(&model, &refusals, registry, &self.controller);
        self.written
            .retain(|key, _| wanted.iter().any(|(other, ..)| other == key));
        let mut done = Ok(());
        for (key, known, wanted) in wanted {
            let Some(parents) = merged(&self.controller, &known.parents, &wanted, &now()) else {
                continue;
            };
            let before = self.written.get(&key);
            if before.is_some_and(|(asked, made)| *asked == wanted && *made == known.parents) {
                continue;
            }
            if !leader.holds() {
                return Err(Left::default());
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
                    done = Err(Left::default());
                    debug!(%key, "the route has changed meanwhile");
                }
                // Whatever refuses this one is not in the way of the others.
                Ok(Err(kube::Error::Api(status))) if is_refusal(status.code) => {
                    done = Err(Left::default());
                    warn!(%key, reason = status.message, "the status of a route is refused; it is tried again");
                }
                Ok(Err(error)) => {
                    warn!(%key, %error, "cannot write the status of a route; it is tried again");
                    return Err(Left::after(&error));
                }
                Err(_) => return Err(Left::default()),
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
            field_manager: Some(self.field_manager.clone()),
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
    controller: &str,
) -> Vec<(ObjectKey, Known, Vec<Value>)> {
    let mut found = HashMap::new();
    for (key, status) in model.route_statuses() {
        let Some(known) = registry.get(key) else {
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
            let parents = refused(controller, &known, &refusal.in_words());
            found.insert(key, (known, parents));
        }
    }
    found
        .into_iter()
        .map(|(key, (known, parents))| (key, known, parents))
        .collect()
}

/// Of a route that could not be read: each Service among its parents is told why.
fn refused(controller: &str, known: &Known, message: &str) -> Vec<Value> {
    let is_ours = |parent: &&Value| {
        parent["kind"] == "Service" && parent["group"].as_str().unwrap_or_default().is_empty()
    };
    let parents = known.parent_refs.iter().filter(is_ours).map(|parent| {
        json!({
            "parentRef": parent, "controllerName": controller,
            "conditions": [{
                "type": "Accepted", "status": "False", "reason": "UnsupportedValue",
                "message": message, "observedGeneration": known.generation,
            }],
        })
    });
    parents.collect()
}

/// `status.parents` as it is to be; None: it is so already. Ours have the room that others leave. Their order
/// is nobody's, so that two writers that differ in it do not correct each other for ever.
fn merged(controller: &str, there: &[Value], wanted: &[Value], now: &str) -> Option<Vec<Value>> {
    let is_ours = |parent: &&Value| parent["controllerName"] == controller;
    let before: Vec<&Value> = there.iter().filter(is_ours).collect();
    let mut parents: Vec<Value> = there
        .iter()
        .filter(|parent| !is_ours(parent))
        .cloned()
        .collect();
    let room = MAX_PARENTS.saturating_sub(parents.len());
    let ours = wanted.iter().take(room);
    let ours: Vec<Value> = ours.map(|parent| timed(parent, &before, now)).collect();
    let is_so = ours.len() == before.len() && ours.iter().all(|one| before.contains(&one));
    parents.extend(ours);
    (!is_so).then_some(parents)
}

/// With times: of a condition whose status is as before, the one it had.
fn timed(parent: &Value, before: &[&Value], now: &str) -> Value {
    let mut parent = parent.clone();
    let before = before
        .iter()
        .find(|before| before["parentRef"] == parent["parentRef"]);
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
    parent
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

    const CONTROLLER: &str = "heddle.io/mesh/heddle-system";
    const OTHER: &str = "heddle.io/mesh/other";

    fn parent(name: &str, controller: &str, status: &str, message: &str) -> Value {
        json!({"parentRef": {"kind": "Service", "name": name}, "controllerName": controller,
               "conditions": [{"type": "Accepted", "status": status, "message": message}]})
    }

    fn put(there: &[Value], wanted: &[Value], now: &str) -> Option<Vec<Value>> {
        merged(CONTROLLER, there, wanted, now)
    }

    #[test]
    fn others_stay_times_stay_and_the_same_is_not_written() {
        let other = parent("a", OTHER, "True", "");
        let ours = |status: &str, message: &str| parent("a", CONTROLLER, status, message);
        let first = put(std::slice::from_ref(&other), &[ours("True", "x")], "t1").unwrap();
        assert_eq!(first[0], other);
        assert_eq!(first[1]["conditions"][0]["lastTransitionTime"], "t1");
        assert_eq!(put(&first, &[ours("True", "x")], "t2"), None);
        // Another message is another status, but the condition holds since the same time.
        let second = put(&first, &[ours("True", "y")], "t2").unwrap();
        assert_eq!(second[1]["conditions"][0]["lastTransitionTime"], "t1");
        let third = put(&second, &[ours("False", "y")], "t3").unwrap();
        assert_eq!(third[1]["conditions"][0]["lastTransitionTime"], "t3");
        assert_eq!(put(&third, &[], "t4").unwrap(), [other]);
    }

    #[test]
    fn of_32_parents_others_have_theirs_and_nothing_is_written_again_and_again() {
        let many = |count: usize, controller: &str| -> Vec<Value> {
            let parents = (0..count).map(|i| parent(&i.to_string(), controller, "True", ""));
            parents.collect()
        };
        assert_eq!(put(&many(32, OTHER), &many(2, CONTROLLER), "t"), None);
        let full = put(&many(31, OTHER), &many(2, CONTROLLER), "t").unwrap();
        assert_eq!((full.len(), &full[..31]), (32, &*many(31, OTHER)));
        assert_eq!(put(&full, &many(2, CONTROLLER), "t"), None);
        // Whoever sorts them need not be corrected.
        let mut both = put(&many(2, OTHER), &many(3, CONTROLLER), "t").unwrap();
        both.reverse();
        assert_eq!(put(&both, &many(3, CONTROLLER), "t"), None);
        // One of ours that is there twice is there once too often.
        both.push(both[0].clone());
        assert_eq!(put(&both, &many(3, CONTROLLER), "t").unwrap().len(), 5);
    }
}
