//! A pod's fields, as `fieldRef` and downward volumes name them.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::Pod;

use crate::{NodeError, Objects};

/// What fields of a pod may refer to.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) ips: &'a [IpAddr],
    pub(crate) host_ip: IpAddr,
    pub(crate) node_name: &'a str,
    pub(crate) objects: &'a Objects,
}

impl Facts<'_> {
    /// A field by its path, as `valueFrom.fieldRef` and downward volumes name it.
    pub(crate) fn field(&self, path: &str) -> Result<String, NodeError> {
        let meta = &self.pod.metadata;
        let join = |ips: &[IpAddr]| {
            ips.iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        Ok(match path {
            "metadata.name" => self.name.to_owned(),
            "metadata.namespace" => self.namespace.to_owned(),
            "metadata.uid" => self.uid.to_owned(),
            "metadata.labels" => lines(meta.labels.as_ref()),
            "metadata.annotations" => lines(meta.annotations.as_ref()),
            "spec.serviceAccountName" => self.service_account().to_owned(),
            "spec.nodeName" => self.node_name.to_owned(),
            "status.podIP" => self.ips.first().map_or_else(String::new, IpAddr::to_string),
            "status.podIPs" => join(self.ips),
            "status.hostIP" | "status.hostIPs" => self.host_ip.to_string(),
            other => {
                let value = |prefix: &str, map: Option<&BTreeMap<_, _>>| {
                    let key = other.strip_prefix(prefix)?.strip_suffix("']")?;
                    Some(
                        map.and_then(|map| map.get(key))
                            .cloned()
                            .unwrap_or_default(),
                    )
                };
                value("metadata.labels['", meta.labels.as_ref())
                    .or_else(|| value("metadata.annotations['", meta.annotations.as_ref()))
                    .ok_or_else(|| unknown_field(other))?
            }
        })
    }

    pub(crate) fn service_account(&self) -> &str {
        let spec = self.pod.spec.as_ref();
        let name = spec.and_then(|spec| spec.service_account_name.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or("default")
    }
}

fn unknown_field(path: &str) -> NodeError {
    NodeError::spec(
        format!("fieldPath `{path}`"),
        "allowed are metadata.{name,namespace,uid,labels,annotations,labels['KEY'],annotations['KEY']}, \
         spec.{nodeName,serviceAccountName} and status.{podIP,podIPs,hostIP,hostIPs}",
    )
}

/// As the kubelet writes maps: one `key="value"` a line.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let pairs = map.into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect::<Vec<_>>()
        .join("\n")
}
