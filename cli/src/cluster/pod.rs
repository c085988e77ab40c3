//! Pod objects: made of a workload's template as the controllers make them, before injection; and
//! with the status a kubelet would write, for the control plane to read.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Workload, names};
use crate::node::{Phase, PodStatus};

/// What a workload's next pod is made of.
#[derive(Debug, Clone)]
pub(crate) struct PodTemplate {
    /// The pod, ready for injection.
    pub(crate) pod: Value,
    /// Kind and name of what the person wrote, for the injector's decision.
    pub(crate) owner: (String, String),
}

impl PodTemplate {
    /// The pod of that name.
    pub(crate) fn new(workload: &Workload, name: &str) -> Self {
        let key = &workload.key;
        let mut metadata = workload.template["metadata"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(key.namespace));
        metadata.insert("uid".to_owned(), json!(names::uid()));
        metadata.insert(
            "creationTimestamp".to_owned(),
            json!(rfc3339(SystemTime::now())),
        );
        let mut label = |label: &str, value: &str| {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(label.to_owned(), json!(value));
            }
        };
        let owner = match key.kind.as_str() {
            "Deployment" => {
                label("pod-template-hash", &workload.revision);
                Some((
                    "apps/v1",
                    "ReplicaSet",
                    format!("{}-{}", key.name, workload.revision),
                ))
            }
            "StatefulSet" => {
                label("statefulset.kubernetes.io/pod-name", name);
                let index = name.rsplit('-').next().unwrap_or_default();
                label("apps.kubernetes.io/pod-index", index);
                Some(("apps/v1", "StatefulSet", key.name.clone()))
            }
            "Job" => {
                label("job-name", &key.name);
                label("batch.kubernetes.io/job-name", &key.name);
                Some(("batch/v1", "Job", key.name.clone()))
            }
            "Pod" => None,
            kind => Some(("apps/v1", kind, key.name.clone())),
        };
        if let Some((version, kind, name)) = owner {
            let reference = json!([{"apiVersion": version, "kind": kind, "name": name, "uid": workload.uid, "controller": true}]);
            metadata.insert("ownerReferences".to_owned(), reference);
        }
        let mut spec = workload.template["spec"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        if key.kind == "StatefulSet" {
            spec.entry("hostname").or_insert_with(|| json!(name));
            if let Some(subdomain) = &workload.subdomain {
                spec.entry("subdomain").or_insert_with(|| json!(subdomain));
            }
        }
        default(&mut spec);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        Self {
            pod,
            owner: (key.kind.clone(), key.name.clone()),
        }
    }
}

fn default(spec: &mut Map<String, Value>) {
    let account = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"));
    let account = account.filter(|name| name.as_str().is_some_and(|name| !name.is_empty()));
    let account = account.cloned().unwrap_or_else(|| json!("default"));
    spec.insert("serviceAccountName".to_owned(), account);
    spec.entry("restartPolicy")
        .or_insert_with(|| json!("Always"));
    spec.insert("nodeName".to_owned(), json!("heddle"));
}

/// The pod with `status` as a kubelet reports it; `stopping` since when it is being deleted.
pub(crate) fn with_status(pod: &Value, status: &PodStatus, stopping: Option<SystemTime>) -> Value {
    let mut pod = pod.clone();
    let flag = |flag: bool| if flag { "True" } else { "False" };
    let phase = match status.phase {
        Phase::Pending => "Pending",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
        Phase::Running | Phase::Terminating => "Running",
    };
    let ready = status.ready && stopping.is_none();
    let condition = |kind: &str, is: bool| json!({"type": kind, "status": flag(is)});
    let ips: Vec<Value> = status.ips.iter().map(|ip| json!({"ip": ip})).collect();
    pod["status"] = json!({
        "phase": phase,
        "podIP": status.ips.first(),
        "podIPs": ips,
        "startTime": rfc3339(status.started_at),
        "conditions": [condition("Ready", ready), condition("ContainersReady", ready)],
    });
    if let Some(since) = stopping {
        pod["metadata"]["deletionTimestamp"] = json!(rfc3339(since));
    }
    pod
}

/// Seconds are what Kubernetes writes.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at)
        .replace_nanosecond(0)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::workload::tests::{deployment, workload};
    use super::*;

    #[test]
    fn a_pod_is_as_the_controllers_make_it() {
        let workload = workload(&deployment(1, "v1", "")).unwrap();
        let pod = PodTemplate::new(&workload, "web-x").pod;
        assert_eq!(
            pod["metadata"]["labels"]["pod-template-hash"],
            json!(workload.revision)
        );
        assert_eq!(pod["metadata"]["labels"]["version"], "v1");
        assert_eq!(
            pod["metadata"]["ownerReferences"][0]["name"],
            json!(format!("web-{}", workload.revision))
        );
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["metadata"]["namespace"], "shop");
    }

    #[test]
    fn a_pod_of_a_set_has_its_names() {
        let yaml = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  serviceName: peers\n  \
                    template: {spec: {containers: [{name: app}]}}\n";
        let pod = PodTemplate::new(&workload(yaml).unwrap(), "db-2").pod;
        assert_eq!(pod["spec"]["hostname"], "db-2");
        assert_eq!(pod["spec"]["subdomain"], "peers");
        assert_eq!(
            pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"],
            "2"
        );
    }

    #[test]
    fn a_stopping_pod_is_not_ready() {
        let status = PodStatus {
            namespace: "shop".into(),
            name: "web-x".into(),
            uid: String::new(),
            netns: String::new(),
            phase: Phase::Running,
            ready: true,
            reason: None,
            ips: vec!["10.64.0.2".parse().unwrap()],
            containers: Vec::new(),
            proxy_pid: None,
            started_at: SystemTime::UNIX_EPOCH,
        };
        let pod = json!({"metadata": {}});
        let ready = |stopping| {
            with_status(&pod, &status, stopping)["status"]["conditions"][0]["status"].clone()
        };
        assert_eq!(
            (ready(None), ready(Some(SystemTime::UNIX_EPOCH))),
            (json!("True"), json!("False"))
        );
        let stopping = with_status(&pod, &status, Some(SystemTime::UNIX_EPOCH));
        assert!(stopping["metadata"]["deletionTimestamp"].is_string());
        assert_eq!(stopping["status"]["podIP"], "10.64.0.2");
        assert_eq!(stopping["status"]["startTime"], "1970-01-01T00:00:00Z");
    }
}
