//! What a host name stands for, as a pod of a namespace asks for it: a Service's IPs, the pods of a
//! headless one, one of its pods by hostname, a ServiceEntry's addresses. Everything else is unknown:
//! the pod's own resolvers are asked.

use std::net::IpAddr;

use heddle_proto::mesh::{
    DnsName, Hidden, Unknown,
    dns_name::{Addresses, Kind},
};

use super::{Client, Encoded, Model};
use crate::{name::NsName, resources::service::Service};

/// How long a pod may remember, in seconds. Service IPs stay; pods come and go.
const TTL: u32 = 30;
const TTL_HEADLESS: u32 = 5;

impl Model {
    /// The answer to a subscription to a name: in small letters, without a dot at its end.
    pub fn dns_name(&self, name: &str, client: &Client) -> Encoded {
        let known = self
            .of_cluster(name, &client.namespace)
            .or_else(|| self.of_entry_host(name, client));
        Encoded::new(&match known {
            Some(addresses) => DnsName {
                kind: Some(Kind::Addresses(addresses)),
                hidden: None,
            },
            None => DnsName {
                kind: Some(Kind::Unknown(Unknown {})),
                hidden: self.hidden_host(name, client),
            },
        })
    }

    fn of_cluster(&self, name: &str, namespace: &str) -> Option<Addresses> {
        let domain = &self.settings.cluster_domain;
        let without_domain = || name.strip_suffix(domain.as_str())?.strip_suffix('.');
        let short = name.strip_suffix(".svc");
        let short = short.or_else(|| without_domain()?.strip_suffix(".svc"));
        // `a.svc` is not `a`: it may be the service `a` of a namespace `svc`.
        let short = short.filter(|short| short.contains('.'));
        let mut parts = short.unwrap_or(name).split('.');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        match parts {
            (Some(service), None, None, None) => self.of_service(service, namespace),
            (Some(service), Some(namespace), None, None) => self.of_service(service, namespace),
            (Some(host), Some(service), Some(namespace), None) => {
                self.of_pod_host(host, service, namespace)
            }
            _ => None,
        }
    }

    fn of_service(&self, name: &str, namespace: &str) -> Option<Addresses> {
        let name = NsName::new(namespace, name)?;
        let service = self.service(&name)?;
        if service.headless {
            let ips = self.ready_addresses(&name, service, None);
            return Some(answer(of_families(service, ips), TTL_HEADLESS));
        }
        // Without an IP it is of another kind, or has none yet.
        let ips = service.addresses.iter().copied();
        (!service.addresses.is_empty()).then(|| answer(ips, TTL))
    }

    /// A pod of a headless service by its hostname, as StatefulSets have them.
    fn of_pod_host(&self, host: &str, service: &str, namespace: &str) -> Option<Addresses> {
        let name = NsName::new(namespace, service)?;
        let service = self.service(&name).filter(|service| service.headless)?;
        let ips = self.ready_addresses(&name, service, Some(host));
        let ips = of_families(service, ips);
        (!ips.is_empty()).then(|| answer(ips, TTL_HEADLESS))
    }

    fn of_entry_host(&self, name: &str, client: &Client) -> Option<Addresses> {
        let known = self.entry_host(name, &client.namespace)?;
        let service: &Service = self.service(&known).filter(|_| self.sees(client, &known))?;
        let ips = service.addresses.iter().copied();
        (!service.addresses.is_empty()).then(|| answer(ips, TTL))
    }

    fn hidden_host(&self, name: &str, client: &Client) -> Option<Hidden> {
        self.hidden_service(&self.entry_host(name, &client.namespace)?, client)
    }

    /// The service of a ServiceEntry that a host is of.
    fn entry_host(&self, name: &str, namespace: &str) -> Option<NsName> {
        let exact = self.external(name, namespace);
        exact.or_else(|| {
            // The longest pattern that covers it: `*.b.c` before `*.c`.
            let mut rest = name;
            while let Some((_, shorter)) = rest.split_once('.') {
                let pattern = format!("*.{shorter}");
                if let Some(found) = self.external(&pattern, namespace) {
                    return Some(found);
                }
                rest = shorter;
            }
            None
        })
    }
}

/// A pod has addresses of every family, and its application may listen on one.
fn of_families(service: &Service, ips: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let has = |ip: &IpAddr| {
        let families = service.families.as_ref();
        families.is_none_or(|families| families.iter().any(|family| family.has(*ip)))
    };
    ips.into_iter().filter(has).collect()
}

fn answer(ips: impl IntoIterator<Item = IpAddr>, ttl_seconds: u32) -> Addresses {
    Addresses {
        ips: ips.into_iter().map(|ip| ip.to_string()).collect(),
        ttl_seconds,
    }
}
