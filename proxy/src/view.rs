//! One worker's own view of the configuration: the same services, rules and endpoints as the
//! snapshot, linked to what is the worker's alone (connections, load, where each split stands).
//! Made anew when the snapshot changes; every part whose inputs are unchanged is carried over, so
//! that a push disturbs neither connections nor splits.

mod link;
mod upstreams;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use heddle_proxy_config::route::Split;
use heddle_proxy_config::snapshot::{
    Address, Destination, Endpoints, Headless, Name, Pod, Protocol, RouteTable, Service, Snapshot,
    Workload as OwnWorkload,
};

pub(crate) use self::link::ClusterKey;
use self::link::Clusters;
pub(crate) use self::upstreams::Upstreams;
use crate::cluster::{Cluster, Member};
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
    depends: Vec<Depends>,
    own: Option<Arc<OwnWorkload>>,
}

/// What clusters are made of.
struct Depends {
    name: Name,
    service: Option<Arc<Service>>,
    endpoints: Option<Arc<Endpoints>>,
}

impl Depends {
    fn same(&self, other: &Self) -> bool {
        self.name == other.name
            && same_arc(&self.service, &other.service)
            && same_arc(&self.endpoints, &other.endpoints)
    }
}

/// One port of a service.
pub(crate) struct LocalPort {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
    /// Parallel to the rules of the route table.
    pub(crate) rules: Vec<LocalRule>,
    /// The TCP rules for this port, each with its place in the table.
    pub(crate) tcp: Vec<(usize, LocalRule)>,
    /// Plain balancing over the service's endpoints.
    pub(crate) fallback: Rc<Cluster>,
}

/// A weighted choice and where it stands.
pub(crate) struct LocalRule {
    split: RefCell<Split>,
    destinations: Vec<Destination>,
    clusters: Vec<Rc<Cluster>>,
    /// Who gets copies; parallel to the mirrors of the rule's treatment.
    pub(crate) mirrors: Vec<Rc<Cluster>>,
}

/// A pod that is called by its own address.
pub(crate) struct Workload {
    pub(crate) pod: Arc<Pod>,
    clusters: RefCell<HashMap<u16, Rc<Cluster>>>,
    /// The same as ports of headless services, for as long as these are what they are.
    headless: RefCell<Vec<OfHeadless>>,
}

/// A port of a headless service at a pod, as it was when its cluster was made.
type OfHeadless = (Headless, Arc<Service>, Rc<Cluster>);

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
            mirrors: Vec::new(),
        }
    }

    /// Draws the next destination of the block; `None`: the rule sends nothing anywhere.
    pub(crate) fn draw(&self) -> Option<&Rc<Cluster>> {
        self.clusters.get(self.draw_index()?)
    }

    /// The same, as its place among the destinations.
    pub(crate) fn draw_index(&self) -> Option<usize> {
        match self.clusters.len() {
            0 => None,
            1 => Some(0),
            _ => Some(self.split.borrow_mut().next(&mut rand::rng())),
        }
    }

    /// The cluster of one destination.
    pub(crate) fn cluster(&self, destination: usize) -> Option<&Rc<Cluster>> {
        self.clusters.get(destination)
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
            let endpoint = &self.pod.endpoint;
            let addr = SocketAddr::new(endpoint.ip, port);
            let link = Link::of(endpoint, port);
            let member = Member::new(upstreams.upstream(addr, link), Arc::clone(endpoint));
            Rc::new(Cluster::new(None, None, port, vec![member]))
        });
        Rc::clone(cluster)
    }

    /// The same as a port of a headless service, connected to as that says.
    pub(crate) fn cluster_of(
        &self,
        service: &Arc<Service>,
        at: &Headless,
        upstreams: &mut Upstreams,
    ) -> Rc<Cluster> {
        let mut clusters = self.headless.borrow_mut();
        let place = clusters.iter().position(|(known, ..)| known == at);
        if let Some((_, known, cluster)) = place.map(|place| &clusters[place])
            && Arc::ptr_eq(known, service)
        {
            return Rc::clone(cluster);
        }
        let cluster = Rc::new(link::of_pod(service, at, &self.pod.endpoint, upstreams));
        if let Some(place) = place {
            clusters.swap_remove(place);
        }
        clusters.push((at.clone(), Arc::clone(service), Rc::clone(&cluster)));
        cluster
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
            clusters: Clusters::new(&snapshot, upstreams),
        };
        let mut services = HashMap::with_capacity(snapshot.services.len());
        for (name, config) in &snapshot.services {
            let old = before.and_then(|b| b.services.get(name));
            services.insert(name.clone(), linker.service(config, old));
        }
        let mut workloads = HashMap::new();
        for (ip, address) in &snapshot.addresses {
            let Address::Workload(pod) = &**address else {
                continue;
            };
            let old = before.and_then(|b| b.workloads.get(ip));
            let workload = match old {
                Some((same, workload)) if Arc::ptr_eq(same, address) => Rc::clone(workload),
                _ => Rc::new(Workload {
                    pod: Arc::clone(pod),
                    clusters: RefCell::default(),
                    headless: RefCell::default(),
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

/// Links one snapshot.
struct Linker<'a> {
    snapshot: &'a Snapshot,
    clusters: Clusters<'a>,
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
            && same_arc(&old.own, &self.snapshot.workload)
            && old.depends.len() == depends.len()
            && old.depends.iter().zip(&depends).all(|(a, b)| a.same(b))
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
            own: self.snapshot.workload.clone(),
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
        let mut tcp = Vec::new();
        if let Some(routes) = routes {
            for (index, rule) in routes.http.rules().iter().enumerate() {
                let mut local = self.rule(&rule.destinations, number);
                let mirrors = rule.treatment.iter().flat_map(|t| &t.mirrors);
                let mirrors: Vec<_> = mirrors.map(|m| m.destination.clone()).collect();
                if !mirrors.is_empty() {
                    local.mirrors = self.rule(&mirrors, number).clusters;
                }
                if let Some(before) = before.and_then(|b| b.rules.get(index)) {
                    local.carry_over(before);
                }
                rules.push(local);
            }
            let fits = |port: Option<u16>| port.is_none_or(|p| p == number);
            for (index, rule) in routes.tcp.iter().enumerate().filter(|(_, r)| fits(r.port)) {
                let mut local = self.rule(&rule.destinations, number);
                let same = |(place, _): &&(usize, LocalRule)| *place == index;
                if let Some((_, before)) = before.and_then(|b| b.tcp.iter().find(same)) {
                    local.carry_over(before);
                }
                tcp.push((index, local));
            }
        }
        LocalPort {
            number,
            protocol,
            rules,
            tcp,
            fallback: self.clusters.cluster(&service.name, None, number),
        }
    }

    fn rule(&mut self, destinations: &[Destination], called: u16) -> LocalRule {
        let clusters = destinations
            .iter()
            .map(|d| {
                let port = d.port.unwrap_or(called);
                self.clusters.cluster(&d.service, d.subset.clone(), port)
            })
            .collect();
        LocalRule::new(destinations, clusters)
    }

    fn depends(&self, own: &Name, routes: Option<&RouteTable>) -> Vec<Depends> {
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
            .map(|name| Depends {
                service: self.snapshot.services.get(&name).cloned(),
                endpoints: self.snapshot.endpoints.get(&name).cloned(),
                name,
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
