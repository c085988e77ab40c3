//! Which names cluster DNS answers: every Service, the members of headless ones, and the parts of
//! the mesh itself. Built anew from the filled-in Services and the pods after each change.

use std::net::IpAddr;

use serde_json::Value;

use crate::node::AddressPlan;
use crate::node::dns::names::{Member, Names, ServiceNames, add_service};

/// The cluster's DNS domain.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";

/// A pod as DNS needs it.
#[derive(Debug)]
pub(crate) struct NamedPod<'a> {
    pub(crate) pod: &'a Value,
    pub(crate) ips: &'a [IpAddr],
    pub(crate) ready: bool,
}

/// All names.
pub(crate) fn build<'a>(
    plan: &AddressPlan,
    services: impl Iterator<Item = &'a Value>,
    pods: &[NamedPod<'_>],
) -> Names {
    let mut names = Names::new();
    let system = [
        ("heddle-control", plan.control(), 15012),
        ("heddle-identity", plan.identity(), 15013),
        ("heddle-injector", plan.injector(), 443),
        ("heddle-traces", plan.telemetry(), 4317),
        ("kube-dns", plan.dns(), 53),
    ];
    for (name, ip, port) in system {
        let namespace = if name == "kube-dns" {
            "kube-system"
        } else {
            "heddle-system"
        };
        let service = ServiceNames {
            namespace,
            name,
            cluster_ips: ip.all(),
            members: Vec::new(),
            ports: vec![(None, "TCP", port)],
            external_name: None,
        };
        add_service(&mut names, CLUSTER_DOMAIN, &service);
    }
    for service in services {
        if let Some(service) = read(service, pods) {
            add_service(&mut names, CLUSTER_DOMAIN, &service);
        }
    }
    names
}

fn read<'a>(service: &'a Value, pods: &[NamedPod<'_>]) -> Option<ServiceNames<'a>> {
    let text = |path: &str| service.pointer(path).and_then(Value::as_str);
    let (namespace, name) = (text("/metadata/namespace")?, text("/metadata/name")?);
    let cluster_ips: Vec<IpAddr> = service
        .pointer("/spec/clusterIPs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.as_str()?.parse().ok())
        .collect();
    let early = service
        .pointer("/spec/publishNotReadyAddresses")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let members = match selector {
        Some(selector) if cluster_ips.is_empty() => pods
            .iter()
            .filter(|pod| pod.ready || early)
            .filter(|pod| {
                pod.pod
                    .pointer("/metadata/namespace")
                    .and_then(Value::as_str)
                    == Some(namespace)
            })
            .filter(|pod| {
                selector
                    .iter()
                    .all(|(key, value)| pod.pod["metadata"]["labels"].get(key) == Some(value))
            })
            .map(|pod| Member {
                hostname: hostname(pod.pod, name),
                addresses: of_families(service, pod.ips),
            })
            .collect(),
        _ => Vec::new(),
    };
    let ports = service
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let ports = ports.filter_map(|port| {
        let number = u16::try_from(port.get("port")?.as_u64()?).ok()?;
        let protocol = port
            .get("protocol")
            .and_then(Value::as_str)
            .unwrap_or("TCP");
        Some((port.get("name").and_then(Value::as_str), protocol, number))
    });
    Some(ServiceNames {
        namespace,
        name,
        cluster_ips,
        members,
        ports: ports.collect(),
        external_name: text("/spec/externalName"),
    })
}

/// Those of the families that the Service has; of every one when it does not say.
fn of_families(service: &Value, ips: &[IpAddr]) -> Vec<IpAddr> {
    let families = service
        .pointer("/spec/ipFamilies")
        .and_then(Value::as_array);
    let has = |ip: &&IpAddr| {
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        families.is_none_or(|families| families.iter().any(|f| f == family))
    };
    ips.iter().filter(has).copied().collect()
}

fn hostname(pod: &Value, service: &str) -> Option<String> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str);
    // A StatefulSet's pods belong to its governing Service whether or not their spec says so.
    let belongs = text("/spec/subdomain").is_none_or(|subdomain| subdomain == service);
    text("/spec/hostname")
        .filter(|_| belongs)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn services_members_and_the_mesh_have_names() {
        let plan = AddressPlan::new(0, false);
        let services = [
            json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIPs": ["10.65.1.0"], "ports": [{"port": 80}]}}),
            json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": {"clusterIPs": ["None"], "selector": {"app": "db"}}}),
        ];
        let pod = json!({"metadata": {"namespace": "shop", "labels": {"app": "db"}}, "spec": {"hostname": "db-0"}});
        let ips: [IpAddr; 1] = ["10.64.0.9".parse().unwrap()];
        let build = |ready| {
            build(
                &plan,
                services.iter(),
                &[NamedPod {
                    pod: &pod,
                    ips: &ips,
                    ready,
                }],
            )
        };
        let names = build(true);
        assert_eq!(
            names["web.default.svc.cluster.local"].addresses,
            ["10.65.1.0".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(names["db.shop.svc.cluster.local"].addresses, ips);
        assert_eq!(names["db-0.db.shop.svc.cluster.local"].addresses, ips);
        assert_eq!(
            names["heddle-control.heddle-system.svc.cluster.local"].addresses,
            plan.control().all()
        );
        let both = ["10.64.0.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        let single = json!({"spec": {"ipFamilies": ["IPv4"]}});
        assert_eq!(of_families(&single, &both), both[..1]);
        assert_eq!(of_families(&json!({}), &both), both);
        assert!(
            build(false)["db.shop.svc.cluster.local"]
                .addresses
                .is_empty()
        );
    }
}
