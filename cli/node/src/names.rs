//! The names in a pod's manifest that become names of files, directories and hosts here.
//!
//! Checked once, before anything is made of them: what is no DNS name (a path, an empty text) could
//! lead out of the mesh's own directory, and is refused by name.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::NodeError;

/// Refuses a pod of which a name is not what Kubernetes allows there.
pub fn check(pod: &Pod) -> Result<(), NodeError> {
    let meta = &pod.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    if name.len() > 253 || !name.split('.').all(is_word) {
        return Err(NodeError::Name {
            kind: "pod",
            name: shown(name),
            reason: "a name has 1 to 253 lower-case letters, digits and inner `-` and `.`".into(),
        });
    }
    let Some(spec) = &pod.spec else {
        return Ok(());
    };
    for (kind, name) in [
        ("namespace", &meta.namespace),
        ("hostname", &spec.hostname),
        ("subdomain", &spec.subdomain),
    ] {
        match name.as_deref() {
            Some(name) if !is_label(name) => return Err(refused(kind, name)),
            _ => {}
        }
    }
    let init = spec.init_containers.iter().flatten();
    let containers = init.chain(&spec.containers).map(|c| c.name.as_str());
    each_once("container", containers)?;
    let volumes = spec.volumes.iter().flatten();
    each_once("volume", volumes.map(|volume| volume.name.as_str()))
}

fn each_once<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), NodeError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_label(name) {
            return Err(refused(kind, name));
        }
        if !seen.insert(name) {
            return Err(NodeError::Name {
                kind,
                name: name.to_owned(),
                reason: "the pod has two of that name".into(),
            });
        }
    }
    Ok(())
}

fn refused(kind: &'static str, name: &str) -> NodeError {
    NodeError::Name {
        kind,
        name: shown(name),
        reason: "a name has 1 to 63 lower-case letters, digits and inner `-`".into(),
    }
}

fn shown(name: &str) -> String {
    name.escape_default().take(100).collect()
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_word(name)
}

fn is_word(name: &str) -> bool {
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    !name.is_empty()
        && name.as_bytes().iter().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "web-1.x", "namespace": "shop"},
            "spec": {
                "hostname": "web-1",
                "subdomain": "web",
                "initContainers": [{"name": "init"}],
                "containers": [{"name": "c"}],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn no_name_leads_out_of_the_meshs_directory() {
        check(&pod(|_| {})).unwrap();
        check(&pod(|pod| pod["metadata"]["name"] = json!("a".repeat(200)))).unwrap();
        for place in [
            "/metadata/name",
            "/metadata/namespace",
            "/spec/hostname",
            "/spec/subdomain",
            "/spec/initContainers/0/name",
            "/spec/containers/0/name",
            "/spec/volumes/0/name",
        ] {
            for bad in ["", "..", "../x", "/etc", "a/b", "a\0", "a\nb", "-a", "a b"] {
                let pod = pod(|pod| *pod.pointer_mut(place).unwrap() = json!(bad));
                assert!(check(&pod).is_err(), "{place} {bad:?}");
            }
        }
    }

    #[test]
    fn two_of_one_name_are_refused() {
        let pod = pod(|pod| pod["spec"]["initContainers"][0]["name"] = json!("c"));
        let error = check(&pod).unwrap_err().to_string();
        assert!(error.contains("container `c`"), "{error}");
    }
}
