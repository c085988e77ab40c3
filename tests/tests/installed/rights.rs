//! What roles grant, one verb of one resource at a time, held against what was asked.

use std::collections::BTreeSet;

use heddle_apiserver::Asked;
use serde_json::Value;

use crate::kubelet::SYSTEM;

/// A verb of a resource, as a role of one of our accounts grants it.
#[derive(Debug)]
pub(crate) struct Grant {
    account: String,
    verb: String,
    group: String,
    /// With its subresource.
    resource: String,
    /// Empty: whatever it is called.
    names: Vec<String>,
    /// Everywhere, or in our own namespace.
    everywhere: bool,
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

impl Grant {
    /// All that the objects grant to service accounts of the mesh.
    fn of(objects: &[Value]) -> Vec<Self> {
        let mut grants = Vec::new();
        for binding in objects {
            let role_kind = match binding["kind"].as_str() {
                Some("ClusterRoleBinding") => "ClusterRole",
                Some("RoleBinding") => "Role",
                _ => continue,
            };
            let role = objects.iter().find(|role| {
                role["kind"] == role_kind && role["metadata"]["name"] == binding["roleRef"]["name"]
            });
            // The cluster's own.
            let Some(role) = role else { continue };
            let account = binding["subjects"][0]["name"].as_str().unwrap();
            for rule in role["rules"].as_array().unwrap() {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for verb in texts(&rule["verbs"]) {
                            grants.push(Self {
                                account: account.to_owned(),
                                verb,
                                group: group.clone(),
                                resource: resource.clone(),
                                names: texts(&rule["resourceNames"]),
                                everywhere: role_kind == "ClusterRole",
                            });
                        }
                    }
                }
            }
        }
        grants
    }

    fn covers(&self, asked: &Asked) -> bool {
        let resource = match asked.subresource.is_empty() {
            true => asked.resource.clone(),
            false => format!("{}/{}", asked.resource, asked.subresource),
        };
        let selected = asked.parameter("fieldSelector");
        let selected = selected.strip_prefix("metadata.name=").unwrap_or_default();
        let name = match asked.name.is_empty() {
            true => selected,
            false => &asked.name,
        };
        asked.user == format!("system:serviceaccount:{SYSTEM}:{}", self.account)
            && (self.verb == asked.verb && self.group == asked.group && self.resource == resource)
            && (self.names.is_empty() || self.names.iter().any(|one| one == name))
            && (self.everywhere || asked.namespace == SYSTEM)
    }

    fn text(&self) -> String {
        let Self {
            account,
            verb,
            resource,
            group,
            ..
        } = self;
        format!("{account}: {verb} {resource}.{group}")
    }

    /// Panics at what was asked and is not granted, at what is granted and was not asked, and at a reason that
    /// excuses nothing.
    pub(crate) fn judge(objects: &[Value], asked: &[Asked], reasons: &[(&str, &str)]) {
        let grants = Self::of(objects);
        assert!(!grants.is_empty());
        let ours = format!("system:serviceaccount:{SYSTEM}:");
        let of_resources = asked
            .iter()
            .filter(|asked| asked.user.starts_with(&ours) && !asked.resource.is_empty());
        let denied: BTreeSet<String> = of_resources
            .clone()
            .filter(|asked| !grants.iter().any(|grant| grant.covers(asked)))
            .map(|asked| {
                let (user, verb) = (&asked.user, &asked.verb);
                format!(
                    "{user}: {verb} {} {}/{}",
                    asked.full_resource(),
                    asked.namespace,
                    asked.name
                )
            })
            .collect();
        assert!(denied.is_empty(), "asked, but not granted: {denied:#?}");
        let unused = grants
            .iter()
            .filter(|grant| !of_resources.clone().any(|asked| grant.covers(asked)));
        let unused: BTreeSet<String> = unused.map(Self::text).collect();
        let excused: BTreeSet<String> =
            reasons.iter().map(|(text, _)| (*text).to_owned()).collect();
        assert_eq!(
            unused, excused,
            "granted, but not used; or used, but excused"
        );
    }
}
