//! Short ways to say what the control plane holds.

use std::net::{Ipv4Addr, SocketAddr};

use heddle_proto::mesh::{
    self, Address, Destination, Endpoint, Endpoints, Headless, HttpMatch, HttpRule, InboundPort,
    MtlsMode, NamedMatch, Port, Protocol, RouteTable, ScopedPolicy, Service, StringMatch, TcpRule,
    TrafficPolicy, Workload, address, string_match,
};
use heddle_proxy_config::kind::Kind;

use super::control::Control;
use super::mesh::Pod;

/// A service with one port, in namespace `default`.
#[derive(Clone, Copy)]
pub(crate) struct ServiceSpec {
    pub(crate) name: &'static str,
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) target: u16,
    pub(crate) protocol: Protocol,
}

impl ServiceSpec {
    pub(crate) fn http(name: &'static str, last: u8) -> Self {
        Self::new(name, last, Protocol::Http1)
    }

    pub(crate) fn new(name: &'static str, last: u8, protocol: Protocol) -> Self {
        Self {
            name,
            ip: Ipv4Addr::new(10, 96, 0, last),
            port: 80,
            target: 8080,
            protocol,
        }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        (self.ip, self.port).into()
    }

    pub(crate) fn full(&self) -> String {
        format!("default/{}", self.name)
    }

    /// Sets the service, its address and these endpoints, each in the subset of its index when
    /// `subsets` names any.
    pub(crate) fn set(&self, control: &Control, pods: &[&Pod], subsets: &[&str]) {
        let endpoints = pods.iter().enumerate().map(|(index, pod)| {
            let mut endpoint = endpoint(pod, &[self.target]);
            endpoint.subsets = Vec::from_iter((!subsets.is_empty()).then_some(index as u32));
            endpoint
        });
        self.set_endpoints(control, endpoints.collect(), subsets);
        control.set(Kind::Service, &self.full(), &self.service());
        let address = Address {
            kind: Some(address::Kind::Service(self.full())),
            ..Default::default()
        };
        control.set(Kind::Address, &self.ip.to_string(), &address);
    }

    /// Sets it as a headless service: its pods' own addresses stand for it.
    pub(crate) fn set_headless(&self, control: &Control, pods: &[&Pod], subsets: &[&str]) {
        self.set(control, pods, subsets);
        control.set(Kind::Service, &self.full(), &self.headless());
        for pod in pods {
            self.set_pod_of(control, pod, |_| {});
        }
    }

    /// Says that a pod's own IP is this pod, and one of the headless service.
    pub(crate) fn set_pod_of(&self, control: &Control, pod: &Pod, change: impl Fn(&mut Headless)) {
        let at = |number: u16| {
            let mut at = Headless {
                number: number.into(),
                service: self.full(),
                service_port: self.port.into(),
                target_port: self.target.into(),
                only: true,
                own: true,
            };
            change(&mut at);
            at
        };
        let address = Address {
            kind: Some(address::Kind::Workload(endpoint(pod, &[]))),
            headless: vec![at(self.target), at(self.port)],
            ..Address::default()
        };
        control.set(Kind::Address, &pod.ip.to_string(), &address);
    }

    /// Says how the headless service is connected to.
    pub(crate) fn set_headless_policy(&self, control: &Control, policy: TrafficPolicy) {
        let policy = ScopedPolicy {
            policy: Some(policy),
            ..Default::default()
        };
        let service = Service {
            policies: vec![policy],
            ..self.headless()
        };
        control.set(Kind::Service, &self.full(), &service);
    }

    fn headless(&self) -> Service {
        let mut service = self.service();
        service.addresses.clear();
        service.hosts.push(format!("{}.default", self.name));
        service.hosts.push(self.name.into());
        service
    }

    /// Says how the service is connected to.
    pub(crate) fn set_policy(&self, control: &Control, policy: TrafficPolicy) {
        let policy = ScopedPolicy {
            policy: Some(policy),
            ..Default::default()
        };
        let service = Service {
            policies: vec![policy],
            ..self.service()
        };
        control.set(Kind::Service, &self.full(), &service);
    }

    fn service(&self) -> Service {
        Service {
            namespace: "default".into(),
            name: self.name.into(),
            addresses: vec![self.ip.to_string()],
            hosts: vec![format!("{}.default.svc.cluster.local", self.name)],
            ports: vec![port(self.port, self.protocol)],
            ..Default::default()
        }
    }

    pub(crate) fn set_endpoints(
        &self,
        control: &Control,
        endpoints: Vec<Endpoint>,
        subsets: &[&str],
    ) {
        let endpoints = Endpoints {
            service_ports: vec![self.port.into()],
            subset_names: subsets.iter().map(ToString::to_string).collect(),
            endpoints,
        };
        control.set(Kind::Endpoints, &self.full(), &endpoints);
    }

    pub(crate) fn to(&self, subset: &str, weight: u32) -> Destination {
        Destination {
            service: self.full(),
            subset: subset.into(),
            port: 0,
            weight,
            ..Default::default()
        }
    }

    pub(crate) fn set_rules(&self, control: &Control, http: Vec<HttpRule>) {
        let table = RouteTable {
            http,
            tcp: Vec::new(),
            ..RouteTable::default()
        };
        control.set(Kind::RouteTable, &self.full(), &table);
    }

    pub(crate) fn set_tcp_rules(&self, control: &Control, tcp: Vec<TcpRule>) {
        let table = RouteTable {
            http: Vec::new(),
            tcp,
            ..RouteTable::default()
        };
        control.set(Kind::RouteTable, &self.full(), &table);
    }
}

pub(crate) fn port(number: u16, protocol: Protocol) -> Port {
    Port {
        number: number.into(),
        name: String::new(),
        protocol: protocol.into(),
    }
}

pub(crate) fn endpoint(pod: &Pod, targets: &[u16]) -> Endpoint {
    let identity = pod.sidecar.as_ref().map(|_| pod.id().to_string());
    Endpoint {
        address: pod.ip.to_string(),
        target_ports: targets.iter().map(|t| (*t).into()).collect(),
        subsets: Vec::new(),
        identity: identity.unwrap_or_default(),
        workload: format!("default/{}", pod.name),
        labels: [("app".to_owned(), pod.name.to_owned())].into(),
        owner: String::new(),
        ..Default::default()
    }
}

/// Says that a pod's own IP is this pod.
pub(crate) fn set_pod_address(control: &Control, pod: &Pod, ports: Vec<Port>) {
    let address = Address {
        kind: Some(address::Kind::Workload(endpoint(pod, &[]))),
        workload_ports: ports,
        ..Default::default()
    };
    control.set(Kind::Address, &pod.ip.to_string(), &address);
}

/// What a pod knows of itself.
pub(crate) fn workload(pod: &Pod, mtls: MtlsMode, ports: &[(u16, Protocol)]) -> Workload {
    let inbound = |(number, protocol): &(u16, Protocol)| InboundPort {
        mtls_origin: String::new(),
        number: (*number).into(),
        protocol: (*protocol).into(),
        mtls: mtls.into(),
        service: String::new(),
    };
    Workload {
        namespace: "default".into(),
        name: pod.name.into(),
        identity: pod.id().to_string(),
        ports: ports.iter().map(inbound).collect(),
        mtls: mtls.into(),
        labels: [("app".to_owned(), pod.name.to_owned())].into(),
        owner: pod.name.into(),
        ..Default::default()
    }
}

pub(crate) fn rule(origin: &str, destinations: Vec<Destination>) -> HttpRule {
    HttpRule {
        origin: origin.into(),
        matches: Vec::new(),
        destinations,
        timeout: None,
        retries: None,
        ..Default::default()
    }
}

pub(crate) fn header_is(name: &str, value: &str) -> HttpMatch {
    let value = StringMatch {
        kind: Some(string_match::Kind::Exact(value.into())),
    };
    HttpMatch {
        headers: vec![NamedMatch {
            name: name.into(),
            value: Some(value),
        }],
        ..HttpMatch::default()
    }
}

pub(crate) fn millis(millis: u64) -> Option<mesh::Millis> {
    Some(mesh::Millis { millis })
}
