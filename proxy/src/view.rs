//! One worker's own view of the configuration: the same services, rules and endpoints as the
//! snapshot, linked to what is the worker's alone (connections, load, where each split stands).
//! Made anew when the snapshot changes; every part whose inputs are unchanged is carried over, so
//! that a push disturbs neither connections nor splits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use heddle_proxy_config::route::Split;
use heddle_proxy_config::snapshot::{
    Address, Destination, Endpoint, Endpoints, Name, Protocol, RouteTable, Service, Snapshot,
};

use crate::cluster::{Cluster, Member};
use crate::upstream::Upstream;
use crate::upstream::connect::Link;

/// Everything a worker knows.
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    services: HashMap<Name, Rc<LocalService>>,
    workloads: HashMap<IpAddr, (Arc<Address>, Rc<Workload>)>,
}

/// A service with its rules linked to clusters.
pub(crate) struct LocalService {
    pub(crate) config: Arc<Service>,
    pub(crate) routes: Option<Arc<RouteTable>>,
    ports: Vec<LocalPort>,
    depends: Vec<(Name, Option<Arc<Endpoints>>)>,
}

/// One port of a service.
pub(crate) struct LocalPort {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
    /// Parallel to the rules of the route table.
    pub(crate) rules: Vec<LocalRule>,
    /// The TCP rule for this port, with its place in the table.
    pub(crate) tcp: Option<(usize, LocalRule)>,
    /// Plain balancing over the service's endpoints.
    pub(crate) fallback: Rc<Cluster>,
}

/// A weighted choice and where it stands.
pub(crate) struct LocalRule {
    split: RefCell<Split>,
    destinations: Vec<Destination>,
    clusters: Vec<Rc<Cluster>>,
}

/// A pod that is called by its own address.
pub(crate) struct Workload {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The ports that declare a protocol.
    pub(crate) ports: Vec<(u16, Protocol)>,
    clusters: RefCell<HashMap<u16, Rc<Cluster>>>,
}

/// Upstreams of one worker, shared by the clusters that name them.
#[derive(Default)]
pub(crate) struct Upstreams(HashMap<(SocketAddr, Link), Weak<Upstream>>);

impl Upstreams {
    pub(crate) fn upstream(&mut self, addr: SocketAddr, link: Link) -> Rc<Upstream> {
        let key = (addr, link);
        if let Some(known) = self.0.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let made = Rc::new(Upstream::new(addr, key.1.clone()));
        self.0.insert(key, Rc::downgrade(&made));
        made
    }

    /// Closes what has been idle for too long and forgets what is gone.
    pub(crate) fn sweep(&mut self) {
        self.0.retain(|_, upstream| match upstream.upgrade() {
            Some(upstream) => {
                upstream.sweep();
                true
            }
            None => false,
        });
    }
}

impl LocalRule {
    fn new(destinations: &[Destination], clusters: Vec<Rc<Cluster>>) -> Self {
        let weights: Vec<u32> = match destinations {
            // A single destination ignores its weight.
            [_] => vec![1],
            many => many.iter().map(|d| d.weight).collect(),
        };
        Self {
            split: RefCell::new(Split::new(&weights)),
            destinations: destinations.to_vec(),
            clusters,
        }
    }

    /// Draws the next destination of the block; `None`: the rule sends nothing anywhere.
    pub(crate) fn draw(&self) -> Option<&Rc<Cluster>> {
        let index = if self.clusters.len() < 2 {
            0
        } else {
            self.split.borrow_mut().next(&mut rand::rng())
        };
        self.clusters.get(index)
    }

    /// Takes over where `before` stood, if it chose among the same.
    fn carry_over(&mut self, before: &LocalRule) {
        if self.destinations == before.destinations {
            self.split.swap(&before.split);
        }
    }
}

impl LocalService {
    pub(crate) fn port(&self, number: u16) -> Option<&LocalPort> {
        self.ports.iter().find(|p| p.number == number)
    }
}

impl Workload {
    /// The cluster of one endpoint for a port of the pod.
    pub(crate) fn cluster(&self, port: u16, upstreams: &mut Upstreams) -> Rc<Cluster> {
        let mut clusters = self.clusters.borrow_mut();
        let cluster = clusters.entry(port).or_insert_with(|| {
            let addr = SocketAddr::new(self.endpoint.ip, port);
            let member = Member::new(
                upstreams.upstream(addr, link(&self.endpoint)),
                Arc::clone(&self.endpoint),
            );
            Rc::new(Cluster::new(None, None, port, vec![member]))
        });
        Rc::clone(cluster)
    }

    pub(crate) fn protocol(&self, port: u16) -> Protocol {
        let declared = self.ports.iter().find(|(number, _)| *number == port);
        declared.map_or(Protocol::Detect, |(_, protocol)| *protocol)
    }
}

fn link(endpoint: &Endpoint) -> Link {
    match &endpoint.identity {
        Some(identity) => Link::Mesh(identity.clone()),
        None => Link::Plain,
    }
}

impl View {
    /// The view of a snapshot; `before` lends what is unchanged.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        before: Option<&View>,
        upstreams: &mut Upstreams,
    ) -> Self {
        let mut linker = Linker {
            snapshot: &snapshot,
            upstreams,
            clusters: HashMap::new(),
        };
        let mut services = HashMap::with_capacity(snapshot.services.len());
        for (name, config) in &snapshot.services {
            let old = before.and_then(|b| b.services.get(name));
            services.insert(name.clone(), linker.service(config, old));
        }
        let mut workloads = HashMap::new();
        for (ip, address) in &snapshot.addresses {
            let Address::Workload(endpoint, ports) = &**address else {
                continue;
            };
            let old = before.and_then(|b| b.workloads.get(ip));
            let workload = match old {
                Some((same, workload)) if Arc::ptr_eq(same, address) => Rc::clone(workload),
                _ => Rc::new(Workload {
                    endpoint: Arc::clone(endpoint),
                    ports: ports.iter().map(|p| (p.number, p.protocol)).collect(),
                    clusters: RefCell::default(),
                }),
            };
            workloads.insert(*ip, (Arc::clone(address), workload));
        }
        Self {
            services,
            workloads,
            snapshot,
        }
    }

    pub(crate) fn service(&self, name: &Name) -> Option<&Rc<LocalService>> {
        self.services.get(name)
    }

    pub(crate) fn workload(&self, ip: IpAddr) -> Option<&Rc<Workload>> {
        self.workloads.get(&ip).map(|(_, workload)| workload)
    }
}

/// Service, subset, port.
type ClusterKey = (Name, Option<Arc<str>>, u16);

/// Links one snapshot.
struct Linker<'a> {
    snapshot: &'a Snapshot,
    upstreams: &'a mut Upstreams,
    clusters: HashMap<ClusterKey, Rc<Cluster>>,
}

impl Linker<'_> {
    fn service(
        &mut self,
        config: &Arc<Service>,
        old: Option<&Rc<LocalService>>,
    ) -> Rc<LocalService> {
        let routes = self.snapshot.routes.get(&config.name).cloned();
        let depends = self.depends(&config.name, routes.as_deref());
        if let Some(old) = old
            && Arc::ptr_eq(&old.config, config)
            && same_arc(&old.routes, &routes)
            && old.depends.len() == depends.len()
            && old
                .depends
                .iter()
                .zip(&depends)
                .all(|(a, b)| a.0 == b.0 && same_arc(&a.1, &b.1))
        {
            return Rc::clone(old);
        }
        let ports = config
            .ports
            .iter()
            .map(|port| {
                let before = old.and_then(|o| o.port(port.number));
                self.port(
                    config,
                    port.number,
                    port.protocol,
                    routes.as_deref(),
                    before,
                )
            })
            .collect();
        Rc::new(LocalService {
            config: Arc::clone(config),
            routes,
            ports,
            depends,
        })
    }

    fn port(
        &mut self,
        service: &Service,
        number: u16,
        protocol: Protocol,
        routes: Option<&RouteTable>,
        before: Option<&LocalPort>,
    ) -> LocalPort {
        let mut rules = Vec::new();
        let mut tcp = None;
        if let Some(routes) = routes {
            for (index, rule) in routes.http.rules().iter().enumerate() {
                let mut local = self.rule(&rule.destinations, number);
                if let Some(before) = before.and_then(|b| b.rules.get(index)) {
                    local.carry_over(before);
                }
                rules.push(local);
            }
            let fits = |port: Option<u16>| port.is_none_or(|p| p == number);
            if let Some((index, rule)) = routes
                .tcp
                .iter()
                .enumerate()
                .find(|(_, rule)| fits(rule.port))
            {
                let mut local = self.rule(&rule.destinations, number);
                if let Some((_, before)) = before.and_then(|b| b.tcp.as_ref()) {
                    local.carry_over(before);
                }
                tcp = Some((index, local));
            }
        }
        LocalPort {
            number,
            protocol,
            rules,
            tcp,
            fallback: self.cluster(&service.name, None, number),
        }
    }

    fn rule(&mut self, destinations: &[Destination], called: u16) -> LocalRule {
        let clusters = destinations
            .iter()
            .map(|d| self.cluster(&d.service, d.subset.clone(), d.port.unwrap_or(called)))
            .collect();
        LocalRule::new(destinations, clusters)
    }

    fn cluster(&mut self, service: &Name, subset: Option<Arc<str>>, port: u16) -> Rc<Cluster> {
        let key = (service.clone(), subset.clone(), port);
        if let Some(known) = self.clusters.get(&key) {
            return Rc::clone(known);
        }
        let members = match self.snapshot.endpoints.get(service) {
            Some(endpoints) => self.members(endpoints, subset.as_deref(), port),
            None => Vec::new(),
        };
        let made = Rc::new(Cluster::new(Some(service.clone()), subset, port, members));
        self.clusters.insert(key, Rc::clone(&made));
        made
    }

    fn members(&mut self, endpoints: &Endpoints, subset: Option<&str>, port: u16) -> Vec<Member> {
        let Some(slot) = endpoints.service_ports.iter().position(|p| *p == port) else {
            return Vec::new();
        };
        let subset = subset.map(|name| endpoints.subset_names.iter().position(|n| &**n == name));
        let in_subset = |endpoint: &Endpoint| match subset {
            None => true,
            Some(None) => false,
            Some(Some(index)) => endpoint.subsets.contains(&index),
        };
        endpoints
            .endpoints
            .iter()
            .filter(|endpoint| in_subset(endpoint))
            .filter_map(|endpoint| {
                let target = (*endpoint.target_ports.get(slot)?)?;
                let addr = SocketAddr::new(endpoint.ip, target);
                let upstream = self.upstreams.upstream(addr, link(endpoint));
                Some(Member::new(upstream, Arc::clone(endpoint)))
            })
            .collect()
    }

    fn depends(
        &self,
        own: &Name,
        routes: Option<&RouteTable>,
    ) -> Vec<(Name, Option<Arc<Endpoints>>)> {
        let mut names = vec![own.clone()];
        if let Some(routes) = routes {
            names.extend(routes.http.services().iter().cloned());
            let tcp = routes.tcp.iter().flat_map(|r| &r.destinations);
            names.extend(tcp.map(|d| d.service.clone()));
        }
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| {
                let endpoints = self.snapshot.endpoints.get(&name).cloned();
                (name, endpoints)
            })
            .collect()
    }
}

fn same_arc<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
