//! Service IPs and the defaults an API server fills into a Service. An IP belongs to a name for as
//! long as the mesh lives, so that a Service deleted and applied again is where it was.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::manifests::Object;
use crate::node::{AddressPool, DualIp};

/// Who has which Service IP; keys are (namespace, name).
#[derive(Debug)]
pub(crate) struct ServiceIps {
    pool: AddressPool,
    given: BTreeMap<(String, String), DualIp>,
}

impl ServiceIps {
    pub(crate) fn new(pool: AddressPool) -> Self {
        Self {
            pool,
            given: BTreeMap::new(),
        }
    }

    /// The Service with everything the server fills in; the error is the reason for people.
    pub(crate) fn fill(&mut self, object: &Object) -> Result<Value, String> {
        let mut service = object.value.clone();
        let Some(Value::Object(spec)) = service.get_mut("spec") else {
            return Err("spec is missing: a Service needs at least ports".to_owned());
        };
        let kind = spec
            .entry("type")
            .or_insert_with(|| json!("ClusterIP"))
            .clone();
        if kind == "ExternalName" {
            return Ok(service);
        }
        match spec
            .get("clusterIP")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "None" => {
                spec.insert("clusterIPs".to_owned(), json!(["None"]));
                // Its name stands for the pods' addresses: of both families only when it says so, as
                // an app that listens on one is not reached at the other.
                let dual = spec
                    .get("ipFamilyPolicy")
                    .is_some_and(|policy| policy != "SingleStack");
                let families: &[&str] = if dual { &["IPv4", "IPv6"] } else { &["IPv4"] };
                spec.entry("ipFamilies").or_insert_with(|| json!(families));
            }
            asked => {
                let ips = self.assign(&object.key.namespace, &object.key.name, asked)?;
                spec.insert("clusterIP".to_owned(), json!(ips.v4));
                spec.insert("clusterIPs".to_owned(), json!(ips.all()));
                let families: &[&str] = if ips.v6.is_some() {
                    &["IPv4", "IPv6"]
                } else {
                    &["IPv4"]
                };
                spec.insert("ipFamilies".to_owned(), json!(families));
            }
        }
        spec.entry("sessionAffinity")
            .or_insert_with(|| json!("None"));
        for port in spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(port) = port.as_object_mut() else {
                continue;
            };
            port.entry("protocol").or_insert_with(|| json!("TCP"));
            if let Some(number) = port.get("port").cloned() {
                port.entry("targetPort").or_insert(number);
            }
        }
        Ok(service)
    }

    fn assign(&mut self, namespace: &str, name: &str, asked: &str) -> Result<DualIp, String> {
        let key = (namespace.to_owned(), name.to_owned());
        if asked.is_empty() {
            if let Some(ips) = self.given.get(&key) {
                return Ok(*ips);
            }
            let ips = self
                .pool
                .take()
                .ok_or("every Service IP of this mesh is in use")?;
            self.given.insert(key, ips);
            return Ok(ips);
        }
        let ip: IpAddr = asked
            .parse()
            .map_err(|_| format!("spec.clusterIP `{asked}` is neither an IP address nor None"))?;
        let pair = self.pool.pair_of(ip).ok_or_else(|| {
            format!("spec.clusterIP {ip} is not in this mesh's Service range; leave it out and one is chosen")
        })?;
        match self.given.get(&key).copied() {
            Some(current) if current == pair => return Ok(pair),
            current => {
                if !self.pool.claim(ip) {
                    let holder = self
                        .given
                        .iter()
                        .find(|(_, ips)| **ips == pair)
                        .map(|((ns, name), _)| format!("{ns}/{name}"));
                    return Err(format!(
                        "spec.clusterIP {ip} belongs to {}",
                        holder.as_deref().unwrap_or("the mesh itself")
                    ));
                }
                if let Some(current) = current {
                    self.pool.release(current);
                }
            }
        }
        self.given.insert(key, pair);
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::manifests::parse;
    use crate::node::AddressPlan;

    fn service(name: &str, spec: &str) -> Object {
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
        );
        parse(Path::new("s.yaml"), &yaml).0.remove(0)
    }

    fn ip(ips: &mut ServiceIps, name: &str, spec: &str) -> Result<String, String> {
        let filled = ips.fill(&service(name, spec))?;
        Ok(filled
            .pointer("/spec/clusterIP")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned())
    }

    #[test]
    fn an_ip_stays_with_its_name() {
        let mut ips = ServiceIps::new(AddressPlan::new(0, false).service_pool());
        let first = ip(&mut ips, "a", "ports: [{port: 80}]").unwrap();
        assert_ne!(ip(&mut ips, "b", "").unwrap(), first);
        assert_eq!(ip(&mut ips, "a", "").unwrap(), first);
        assert_eq!(ip(&mut ips, "headless", "clusterIP: None").unwrap(), "None");
        assert_eq!(
            ip(&mut ips, "wish", "clusterIP: 10.65.7.7").unwrap(),
            "10.65.7.7"
        );
        assert_eq!(
            ip(&mut ips, "wish", "clusterIP: 10.65.7.7").unwrap(),
            "10.65.7.7"
        );
        assert!(
            ip(&mut ips, "thief", "clusterIP: 10.65.7.7")
                .unwrap_err()
                .contains("default/wish")
        );
        assert!(
            ip(&mut ips, "far", "clusterIP: 192.0.2.1")
                .unwrap_err()
                .contains("not in this mesh's Service range")
        );
        assert!(
            ip(&mut ips, "odd", "clusterIP: nearby")
                .unwrap_err()
                .contains("`nearby`")
        );
    }

    #[test]
    fn defaults_are_filled_in() {
        let mut ips = ServiceIps::new(AddressPlan::new(0, true).service_pool());
        let filled = ips
            .fill(&service(
                "a",
                "ports: [{port: 80}, {port: 81, targetPort: web, protocol: UDP}]",
            ))
            .unwrap();
        let spec = &filled["spec"];
        let headless = |ips: &mut ServiceIps, more: &str| {
            let filled = ips.fill(&service("h", &format!("clusterIP: None{more}")));
            filled.unwrap()["spec"]["ipFamilies"].clone()
        };
        assert_eq!(headless(&mut ips, ""), json!(["IPv4"]));
        let dual = ", ipFamilyPolicy: PreferDualStack";
        assert_eq!(headless(&mut ips, dual), json!(["IPv4", "IPv6"]));
        let asked = ", ipFamilies: [IPv6]";
        assert_eq!(headless(&mut ips, asked), json!(["IPv6"]));
        assert_eq!(
            spec["ports"][0],
            json!({"port": 80, "protocol": "TCP", "targetPort": 80})
        );
        assert_eq!(
            spec["ports"][1],
            json!({"port": 81, "targetPort": "web", "protocol": "UDP"})
        );
        assert_eq!(
            (&spec["type"], &spec["ipFamilies"]),
            (&json!("ClusterIP"), &json!(["IPv4", "IPv6"]))
        );
    }
}
