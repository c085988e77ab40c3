//! A pod that is called by its own address, and the headless services for which it may be called. A
//! host that names one of them means that service, and its routes; one that names a pod below it
//! (`db-0.db`) means the pod that is called, connected to as the service's policy says; any other
//! host, and none, means the pod alone.

use std::sync::Arc;

use super::{Endpoint, Hidden, Name, Port, Protocol, Service, Snapshot};
use crate::route::host_of;

/// What is known of a pod by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod.
    pub endpoint: Arc<Endpoint>,
    /// Its ports that declare a protocol.
    pub ports: Vec<Port>,
    /// What its address stands for beside.
    pub headless: Box<[Headless]>,
    /// A headless service of its that a Sidecar hides: for people.
    pub hidden: Option<Arc<Hidden>>,
}

/// A number at a pod's address, and the port of a headless service that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headless {
    /// What is called.
    pub number: u16,
    /// The service.
    pub service: Name,
    /// Its port.
    pub port: u16,
    /// The pod's own port.
    pub target: u16,
    /// No other headless service has the number there.
    pub only: bool,
    /// It is of this sidecar's namespace, where its name alone names it.
    pub own: bool,
}

/// What a host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A service.
    Service,
    /// One of its pods.
    Pod,
}

impl Pod {
    /// The headless service that a request to a port of the pod is for, and how far.
    pub fn named(
        &self,
        number: u16,
        authority: &str,
        snapshot: &Snapshot,
    ) -> Option<(&Headless, Named)> {
        let host = host_of(authority);
        let mut below = None;
        for headless in self.at(number) {
            let service = snapshot.services.get(&headless.service);
            match service.and_then(|service| service.named(host, headless.own)) {
                Some(Named::Service) => return Some((headless, Named::Service)),
                Some(Named::Pod) => below = below.or(Some((headless, Named::Pod))),
                None => {}
            }
        }
        below
    }

    /// The headless service that a connection to a port of the pod is for, though it names none.
    pub fn only(&self, number: u16) -> Option<&Headless> {
        self.at(number).find(|headless| headless.only)
    }

    /// What is spoken at a number that is called.
    pub fn protocol(&self, number: u16, snapshot: &Snapshot) -> Protocol {
        let declared = self.ports.iter().find(|port| port.number == number);
        let of_service = || {
            let headless = self.at(number).next()?;
            let service = snapshot.services.get(&headless.service)?;
            let mut ports = service.ports.iter();
            ports.find(|port| port.number == headless.port)
        };
        let port = declared.or_else(of_service);
        port.map_or(Protocol::Detect, |port| port.protocol)
    }

    fn at(&self, number: u16) -> impl Iterator<Item = &Headless> {
        let all = self.headless.iter();
        all.filter(move |headless| headless.number == number)
    }
}

impl Hidden {
    /// Whether a request's authority names the service, or a pod below it.
    pub fn is_named(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let (namespace, full) = self.host.split_once('/').unwrap_or(("", &*self.host));
        let names = |host: &str| {
            let is_whole = host.contains('.') || namespace == ".";
            let rest = full.strip_prefix(host).filter(|_| is_whole);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        names(host)
            || host
                .split_once('.')
                .is_some_and(|(_, service)| names(service))
    }
}

impl Service {
    /// What a host, without its port, names of the service; `own`: it is of the namespace of who asks,
    /// where a name without one is looked for.
    fn named(&self, host: &str, own: bool) -> Option<Named> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut hosts = self.hosts.iter();
        hosts.find_map(|known| {
            if !own && !known.contains('.') {
                return None;
            }
            let start = host.len().checked_sub(known.len())?;
            let (before, end) = host.split_at_checked(start)?;
            if !end.eq_ignore_ascii_case(known) {
                return None;
            }
            if before.is_empty() {
                return Some(Named::Service);
            }
            let label = before.strip_suffix('.')?;
            (!label.is_empty() && !label.contains('.')).then_some(Named::Pod)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::snapshot::Resolution;

    #[test]
    fn a_host_names_a_service_a_pod_of_it_or_nothing() {
        let service = Service {
            name: Name::new("shop/db"),
            hosts: vec![
                "db.shop.svc.cluster.local".into(),
                "db.shop.svc".into(),
                "db.shop".into(),
                "db".into(),
            ],
            ports: vec![],
            policies: vec![],
            resolution: Resolution::Listed,
        };
        let (whole, pod) = (Some(Named::Service), Some(Named::Pod));
        for (host, own, meant) in [
            ("db", "shop", whole),
            ("DB.Shop", "other", whole),
            ("db.shop.svc", "other", whole),
            ("db.shop.svc.cluster.local", "other", whole),
            ("db.shop.svc.cluster.local.", "other", whole),
            ("db", "other", None),
            ("db-0.db", "shop", pod),
            ("db-0.db", "other", None),
            ("db-0.db.shop", "other", pod),
            ("db-0.db.shop.svc.cluster.local", "shop", pod),
            ("a.db-0.db.shop.svc", "shop", None),
            (".db", "shop", None),
            ("xdb", "shop", None),
            ("10.1.0.1", "shop", None),
            ("é", "shop", None),
            ("", "shop", None),
        ] {
            assert_eq!(
                service.named(host, own == "shop"),
                meant,
                "{host} from {own}"
            );
        }
    }
}
