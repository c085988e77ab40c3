//! Clusters of one snapshot: each name is linked once, with its policy where it has one. A cluster
//! whose endpoints are all alike, and of which nothing is said, stays as plain as it can be.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use heddle_proxy_config::snapshot::{
    Algorithm, ConnectionPool, Endpoint, Headless, Name, Resolution, Service, Snapshot,
    TrafficPolicy,
};

use super::Upstreams;
use crate::balance::{Governed, Own};
use crate::breaker::Pool;
use crate::cluster::{Cluster, Make, Member};
use crate::upstream::connect::Link;

/// Service, subset, port.
pub(crate) type ClusterKey = (Name, Option<Arc<str>>, u16);

/// Makes the clusters of one snapshot.
pub(super) struct Clusters<'a> {
    snapshot: &'a Snapshot,
    own: Own,
    upstreams: &'a mut Upstreams,
    made: HashMap<ClusterKey, Rc<Cluster>>,
}

impl<'a> Clusters<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, upstreams: &'a mut Upstreams) -> Self {
        let own = snapshot.workload.as_ref().map(|workload| Own {
            locality: workload.locality.clone(),
            labels: workload.priority_labels.clone(),
        });
        Self {
            snapshot,
            own: own.unwrap_or_default(),
            upstreams,
            made: HashMap::new(),
        }
    }

    pub(super) fn cluster(
        &mut self,
        service: &Name,
        subset: Option<Arc<str>>,
        port: u16,
    ) -> Rc<Cluster> {
        let key = (service.clone(), subset, port);
        if let Some(known) = self.made.get(&key) {
            return Rc::clone(known);
        }
        let made = Rc::new(self.make(&key));
        self.made.insert(key, Rc::clone(&made));
        made
    }

    fn make(&mut self, key: &ClusterKey) -> Cluster {
        let (name, subset, port) = key;
        let service = self.snapshot.services.get(name);
        let policy = service.and_then(|service| service.policy(subset.as_deref(), *port));
        let endpoints: Vec<_> = match self.snapshot.endpoints.get(name) {
            Some(endpoints) => {
                let members = endpoints.members(subset.as_deref(), *port);
                members.map(|(addr, one)| (addr, Arc::clone(one))).collect()
            }
            None => Vec::new(),
        };
        let host = service.and_then(|service| service.hosts.first().cloned());
        let host = host.unwrap_or_else(|| name.name().into());
        let cluster = |members| Cluster::new(Some(name.clone()), subset.clone(), *port, members);
        let placements = || endpoints.iter().map(|(_, e)| &e.placement);
        let uneven = placements().any(|p| p.draining)
            || placements()
                .zip(placements().skip(1))
                .any(|(a, b)| a.weight != b.weight);
        let resolution = service.map_or(Resolution::Listed, |service| service.resolution);
        if policy.is_none() && !uneven && resolution != Resolution::Called {
            let member = |(addr, endpoint): (SocketAddr, Arc<Endpoint>)| {
                let link = Link::of(&endpoint, addr.port());
                Member::new(self.upstreams.upstream(addr, link), endpoint)
            };
            return cluster(endpoints.into_iter().map(member).collect());
        }
        let policy = policy.cloned().unwrap_or_default();
        let named = || cluster(Vec::new()).to_string();
        let pool = pool(key, &policy, self.upstreams, named);
        if resolution == Resolution::Called || policy.algorithm == Algorithm::Passthrough {
            return cluster(Vec::new()).bounded(pool.clone()).called(called(
                key.clone(),
                endpoints,
                policy,
                host,
                pool,
            ));
        }
        let learnt = self.upstreams.learnt(key, cluster(Vec::new()).to_string());
        let standings = learnt.link(&policy, &endpoints, Instant::now());
        let learns = policy.outlier.is_some();
        let members = endpoints.into_iter().zip(&standings);
        let members = members.map(|((addr, endpoint), standing)| {
            let link = Link::by(&policy.tls, &endpoint, addr.port(), &host);
            let bounded = pool.as_ref().map(|pool| (key, pool));
            let upstream = self.upstreams.upstream_of(addr, link, bounded);
            let member = Member::new(upstream, endpoint);
            if learns {
                member.learning(&learnt, Rc::clone(standing))
            } else {
                member
            }
        });
        let members = members.collect();
        cluster(members)
            .bounded(pool)
            .governed(|members| Governed::new(policy, learnt, &self.own, members, standings))
    }
}

/// A pod alone, as one of a headless service.
pub(super) fn of_pod(
    service: &Service,
    at: &Headless,
    pod: &Arc<Endpoint>,
    upstreams: &mut Upstreams,
) -> Cluster {
    let key = (service.name.clone(), None, at.port);
    let cluster = |members| Cluster::new(Some(service.name.clone()), None, at.port, members);
    let addr = SocketAddr::new(pod.ip, at.target);
    let Some(policy) = service.policy(None, at.port) else {
        let upstream = upstreams.upstream(addr, Link::of(pod, addr.port()));
        return cluster(vec![Member::new(upstream, Arc::clone(pod))]);
    };
    let pool = pool(&key, policy, upstreams, || cluster(Vec::new()).to_string());
    let host = service.hosts.first().cloned();
    let host = host.unwrap_or_else(|| service.name.name().into());
    let link = Link::by(&policy.tls, pod, addr.port(), &host);
    let bounded = pool.as_ref().map(|pool| (&key, pool));
    let upstream = upstreams.upstream_of(addr, link, bounded);
    cluster(vec![Member::new(upstream, Arc::clone(pod))]).bounded(pool.clone())
}

/// The bounds of a cluster, if its policy has any.
fn pool(
    key: &ClusterKey,
    policy: &TrafficPolicy,
    upstreams: &mut Upstreams,
    cluster: impl FnOnce() -> String,
) -> Option<Rc<Pool>> {
    (policy.pool != ConnectionPool::default()).then(|| {
        let pool = upstreams.pool(key, cluster());
        pool.set(&policy.pool);
        pool
    })
}

/// How the cluster of one address is made that was called: the endpoint there, or the pod of the mesh
/// (none that is not ready is an endpoint, and none of another subset), or whoever is.
fn called(
    key: ClusterKey,
    endpoints: Vec<(SocketAddr, Arc<Endpoint>)>,
    policy: Arc<TrafficPolicy>,
    host: Arc<str>,
    pool: Option<Rc<Pool>>,
) -> Make {
    Box::new(move |called, pod, upstreams| {
        let known = endpoints.iter().find(|(addr, _)| addr.ip() == called.ip());
        let known = known.cloned().or_else(|| Some((called, Arc::clone(pod?))));
        let (addr, endpoint) = known.unwrap_or_else(|| {
            let somebody = Endpoint {
                ip: called.ip(),
                target_ports: Vec::new(),
                subsets: Vec::new(),
                identity: None,
                plain_ports: Box::default(),
                workload: Name::new(""),
                app: "".into(),
                version: "".into(),
                owner: "".into(),
                placement: Default::default(),
            };
            (called, Arc::new(somebody))
        });
        let link = Link::by(&policy.tls, &endpoint, addr.port(), &host);
        let bounded = pool.as_ref().map(|pool| (&key, pool));
        let upstream = upstreams.upstream_of(addr, link, bounded);
        let (service, subset, port) = key.clone();
        Cluster::new(
            Some(service),
            subset,
            port,
            vec![Member::new(upstream, endpoint)],
        )
        .bounded(pool.clone())
    })
}
