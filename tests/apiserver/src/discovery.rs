//! What is served, in both forms: group by group, and aggregated where the client asks for it.

use serde_json::{Value, json};

use crate::{
    kinds::{Kind, REVIEWS},
    store::State,
};

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// What a client accepts that wants all in one answer.
pub(crate) const AGGREGATED: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

struct Served {
    kind: Kind,
    is_review: bool,
}

fn served(state: &State) -> Vec<Served> {
    let reviews = REVIEWS
        .iter()
        .map(|(group, kind, plural, namespaced)| Served {
            kind: Kind {
                namespaced: *namespaced,
                status: false,
                built_in: true,
                ..Kind::custom(group, &["v1"], kind, plural)
            },
            is_review: true,
        });
    let kinds = state.kinds.iter().cloned().map(|kind| Served {
        kind,
        is_review: false,
    });
    kinds.chain(reviews).collect()
}

/// Groups but the core one, each with its versions.
fn groups(served: &[Served]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for Served { kind, .. } in served.iter().filter(|served| !served.kind.group.is_empty()) {
        let place = groups
            .iter()
            .position(|(group, _)| *group == kind.group)
            .unwrap_or_else(|| {
                groups.push((kind.group.clone(), Vec::new()));
                groups.len() - 1
            });
        for version in &kind.versions {
            if !groups[place].1.contains(version) {
                groups[place].1.push(version.clone());
            }
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn resources(served: &[Served], group: &str, version: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let here = |served: &&Served| {
        served.kind.group == group && served.kind.versions.iter().any(|v| v == version)
    };
    for Served { kind, is_review } in served.iter().filter(here) {
        let verbs = if *is_review { &["create"] } else { VERBS };
        let resource = |name: String, verbs: &[&str]| {
            json!({"name": name, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
                   "kind": kind.kind, "verbs": verbs})
        };
        found.push(resource(kind.plural.clone(), verbs));
        if kind.status {
            found.push(resource(
                format!("{}/status", kind.plural),
                &["get", "patch", "update"],
            ));
        }
    }
    found
}

fn aggregated(served: &[Served], group: &str, versions: &[String]) -> Value {
    let versions = versions.iter().map(|version| {
        let here = |served: &&Served| served.kind.group == group && served.kind.versions.contains(version);
        let resources = served.iter().filter(here).map(|Served { kind, is_review }| {
            let of_kind = json!({"group": group, "version": version, "kind": kind.kind});
            let mut resource = json!({
                "resource": kind.plural, "responseKind": of_kind, "singularResource": kind.kind.to_lowercase(),
                "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
                "verbs": if *is_review { &["create"] } else { VERBS },
            });
            if kind.status {
                resource["subresources"] =
                    json!([{"subresource": "status", "responseKind": of_kind, "verbs": ["get", "patch", "update"]}]);
            }
            resource
        });
        json!({"version": version, "resources": resources.collect::<Vec<_>>(), "freshness": "Current"})
    });
    json!({"metadata": {"name": group}, "versions": versions.collect::<Vec<_>>()})
}

/// The answer to a path of discovery; None: it is none.
pub(crate) fn answer(state: &State, path: &str, is_aggregated: bool) -> Option<Value> {
    let served = served(state);
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    let core = ["v1".to_owned()];
    let list = |groups: Vec<Value>| json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups});
    match steps.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2025-08-27T10:00:00Z", "goVersion": "go1.24", "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] if is_aggregated => Some(list(vec![aggregated(&served, "", &core)])),
        ["apis"] if is_aggregated => {
            let groups = groups(&served);
            Some(list(
                groups
                    .iter()
                    .map(|(name, versions)| aggregated(&served, name, versions))
                    .collect(),
            ))
        }
        ["api"] => {
            Some(json!({"kind": "APIVersions", "versions": core, "serverAddressByClientCIDRs": []}))
        }
        ["apis"] => {
            let groups = groups(&served);
            let groups: Vec<_> = groups
                .iter()
                .map(|(name, versions)| group(name, versions))
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let groups = groups(&served);
            let (name, versions) = groups.iter().find(|(group, _)| group == name)?;
            let mut group = group(name, versions);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(group)
        }
        ["api", version] => resource_list(&served, "", version),
        ["apis", group, version] => resource_list(&served, group, version),
        _ => None,
    }
}

fn resource_list(served: &[Served], group: &str, version: &str) -> Option<Value> {
    let resources = resources(served, group, version);
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (!resources.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
    })
}
