//! `metadata:` as documents carry it, and the part of it that is kept.

use std::collections::BTreeMap;

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::at::{At, Ignored};

/// Every field of ObjectMeta, so that a misspelt one is found.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)] // fields exist so that their names are known
pub struct Metadata {
    /// Its name.
    pub name: Option<At<String>>,
    /// Its namespace; `default` when absent.
    pub namespace: Option<At<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// When it was made, RFC 3339.
    pub creation_timestamp: Option<String>,
    /// Set while it is being deleted.
    pub deletion_timestamp: Option<String>,
    /// What made it.
    pub owner_references: Option<Vec<OwnerReference>>,
    /// Counts changes of `spec`.
    pub generation: Option<i64>,
    generate_name: Option<Ignored>,
    uid: Option<Ignored>,
    resource_version: Option<Ignored>,
    deletion_grace_period_seconds: Option<Ignored>,
    finalizers: Option<Ignored>,
    managed_fields: Option<Ignored>,
    self_link: Option<Ignored>,
    cluster_name: Option<Ignored>,
}

/// One owner.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
pub struct OwnerReference {
    /// Its kind.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whether it is the one that controls the object.
    #[serde(default)]
    pub controller: Option<bool>,
    api_version: Option<Ignored>,
    uid: Option<Ignored>,
    block_owner_deletion: Option<Ignored>,
}

impl Metadata {
    /// Seconds since 1970 at which it was made.
    pub fn created(&self) -> Option<i64> {
        let text = self.creation_timestamp.as_deref()?;
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(OffsetDateTime::unix_timestamp)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// What a person calls the pod's owner: the Deployment behind its ReplicaSet, the CronJob's Job
    /// and so on; the owner's own name otherwise.
    pub fn owner(&self) -> Option<String> {
        let owners = self.owner_references.as_deref().unwrap_or_default();
        let owner = owners
            .iter()
            .find(|o| o.controller == Some(true))
            .or(owners.first())?;
        let hash = self
            .labels
            .as_ref()
            .and_then(|labels| labels.get("pod-template-hash"));
        let deployment = hash
            .filter(|_| owner.kind == "ReplicaSet")
            .and_then(|hash| {
                owner
                    .name
                    .strip_suffix(hash.as_str())
                    .and_then(|name| name.strip_suffix('-'))
            });
        Some(deployment.unwrap_or(&owner.name).to_owned())
    }
}
