//! CustomResourceDefinitions: what they say is served, and what they no longer say is gone with all its
//! objects. Schemas are not looked at.

use serde_json::json;

use crate::{
    kinds::{self, Kind},
    metadata::now,
    server::Server,
};

const RESOURCE: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What is wrong with a definition.
pub(crate) fn check(kind: &Kind, object: &serde_json::Value) -> Result<(), String> {
    if kind.resource() == RESOURCE {
        Kind::of_definition(object)?;
    }
    Ok(())
}

/// After a write of `kind`: serves what the definitions say.
pub(crate) fn refresh(server: &Server, kind: &Kind) {
    if kind.resource() != RESOURCE {
        return;
    }
    let definitions = server.store.all(RESOURCE);
    for definition in &definitions {
        if definition["status"]["conditions"].is_array() {
            continue;
        }
        let mut established = (**definition).clone();
        let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": now(), "message": ""});
        established["status"] = json!({
            "acceptedNames": definition["spec"]["names"],
            "conditions": [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")],
            "storedVersions": [],
        });
        let name = definition["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        // Somebody else was faster: then they refresh.
        let _ = server.store.commit(
            RESOURCE,
            &(String::new(), name),
            Some(definition),
            Some(established),
        );
    }
    server.store.change(|state| {
        let defined = definitions
            .iter()
            .filter_map(|definition| Kind::of_definition(definition).ok());
        state.kinds = kinds::built_in().into_iter().chain(defined).collect();
        let served: Vec<String> = state.kinds.iter().map(Kind::resource).collect();
        state
            .objects
            .retain(|resource, _| served.contains(resource));
    });
}
