//! Who may ask, by bearer token; and what they may, by the roles that are stored (if the test wants
//! RBAC at all).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use crate::{metadata::uid, request::Asked, store::Store};

/// The audience of the API server itself.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// Someone who has a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As in `system:serviceaccount:NAMESPACE:NAME`.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Unique id.
    pub uid: String,
    /// For whom the token is.
    pub audiences: Vec<String>,
}

impl User {
    /// A user with the groups that the name implies.
    pub fn new(name: &str, audiences: &[&str]) -> Self {
        let mut groups = vec!["system:authenticated".to_owned()];
        if let Some(account) = name.strip_prefix("system:serviceaccount:") {
            let namespace = account.split(':').next().unwrap_or_default();
            groups.push("system:serviceaccounts".into());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        Self {
            name: name.to_owned(),
            groups,
            uid: uid(),
            audiences: audiences
                .iter()
                .map(|audience| (*audience).to_owned())
                .collect(),
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self {
            groups: vec!["system:unauthenticated".into()],
            ..Self::new("system:anonymous", &[])
        }
    }

    /// As reviews show it.
    pub(crate) fn info(&self) -> Value {
        json!({"username": self.name, "uid": self.uid, "groups": self.groups})
    }
}

/// Tokens and whose they are.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, User>>);

impl Tokens {
    pub(crate) fn issue(&self, user: User) -> String {
        let token = format!("token.{}.{}", user.name.replace(':', "-"), uid());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone(), user);
        token
    }

    pub(crate) fn know(&self, token: String, user: User) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token, user);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(token);
    }

    pub(crate) fn user(&self, token: &str) -> Option<User> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(token)
            .cloned()
    }
}

const ROLES: &str = "rbac.authorization.k8s.io";

/// Whether the stored roles allow it.
pub(crate) fn may(store: &Store, user: &User, asked: &Asked) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    if asked.resource.is_empty() {
        // Discovery and health, as `system:discovery` allows.
        return user
            .groups
            .iter()
            .any(|group| group == "system:authenticated")
            || matches!(
                asked.path.as_str(),
                "/healthz" | "/livez" | "/readyz" | "/version"
            );
    }
    // `system:basic-user`.
    if asked.resource == "selfsubjectaccessreviews" {
        return true;
    }
    let bound = |binding: &Value| {
        let subjects = binding["subjects"].as_array();
        subjects.into_iter().flatten().any(|subject| {
            let name = subject["name"].as_str().unwrap_or_default();
            match subject["kind"].as_str() {
                Some("User") => user.name == name,
                Some("Group") => user.groups.iter().any(|group| group == name),
                Some("ServiceAccount") => {
                    let namespace = subject["namespace"].as_str().unwrap_or_default();
                    user.name == format!("system:serviceaccount:{namespace}:{name}")
                }
                _ => false,
            }
        })
    };
    let allows = |binding: &Value, namespace: &str| {
        let reference = &binding["roleRef"];
        let (resource, namespace) = match reference["kind"].as_str() {
            Some("ClusterRole") => ("clusterroles", ""),
            _ => ("roles", namespace),
        };
        let name = reference["name"].as_str().unwrap_or_default().to_owned();
        let role = store.get(
            &format!("{resource}.{ROLES}"),
            &(namespace.to_owned(), name),
        );
        let rules = role.as_ref().and_then(|role| role["rules"].as_array());
        rules.into_iter().flatten().any(|rule| covers(rule, asked))
    };
    let cluster = store.all(&format!("clusterrolebindings.{ROLES}"));
    let local = store.all(&format!("rolebindings.{ROLES}"));
    let here = |binding: &Value| {
        !asked.namespace.is_empty() && binding["metadata"]["namespace"] == asked.namespace.as_str()
    };
    cluster
        .iter()
        .any(|binding| bound(binding) && allows(binding, ""))
        || local
            .iter()
            .any(|binding| here(binding) && bound(binding) && allows(binding, &asked.namespace))
}

fn covers(rule: &Value, asked: &Asked) -> bool {
    let lists = |field: &str, values: &[&str]| {
        let list = rule[field].as_array();
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|value| values.contains(&value))
    };
    let mut resources = vec!["*"];
    let with_subresource = format!("{}/{}", asked.resource, asked.subresource);
    let any_with = format!("*/{}", asked.subresource);
    if asked.subresource.is_empty() {
        resources.push(&asked.resource);
    } else {
        resources.extend([with_subresource.as_str(), any_with.as_str()]);
    }
    // Lists and watches of one name count as of that name.
    let selected = asked
        .parameter("fieldSelector")
        .strip_prefix("metadata.name=");
    let name = match asked.name.as_str() {
        "" => selected.unwrap_or_default(),
        name => name,
    };
    let names = rule["resourceNames"]
        .as_array()
        .is_some_and(|names| !names.is_empty());
    lists("verbs", &["*", &asked.verb])
        && lists("apiGroups", &["*", &asked.group])
        && lists("resources", &resources)
        && (!names || (!name.is_empty() && lists("resourceNames", &[name])))
}
