//! The endpoints that one destination stands for, and the choice among them: the less loaded of
//! two drawn at random, unless a policy says otherwise; never one that this request has already
//! tried while another is left.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use heddle_proxy_config::snapshot::{Endpoint, HashKey, Name, RetryBudget};
use heddle_proxy_telemetry::{HttpSeries, Labels, RequestProtocol, Shard, TcpSeries};
use http::HeaderMap;
use rand::RngExt;

use crate::balance::learnt::{Learnt, Standing};
use crate::balance::outlier::{Outcome, status_of_grpc};
use crate::balance::{Governed, Pick};
use crate::breaker::{Limit, Overflow, Permit, Pool};
use crate::upstream::{ActiveRequest, Upstream};
use crate::view::Upstreams;
use crate::worker::Worker;

/// A service, or a subset of it, on one port.
pub(crate) struct Cluster {
    /// `None`: a pod called by its address.
    pub(crate) service: Option<Name>,
    pub(crate) subset: Option<Arc<str>>,
    pub(crate) port: u16,
    members: Vec<Rc<Member>>,
    /// How they are chosen among; `None`: all are alike, and nothing is said.
    governed: Option<Box<Governed>>,
    pool: Option<Rc<Pool>>,
    /// For one whose endpoint is the address that was called: clusters of one, made when called.
    called: Option<Called>,
    retries: Rc<Cell<u32>>,
    /// Where what reached none of them is counted.
    unplaced: Series,
}

/// Clusters of one by address, with the pod of the mesh that was there, and how they are made.
struct Called {
    clusters: RefCell<HashMap<SocketAddr, AtAddress>>,
    make: Make,
}

/// Of one address, with the endpoint that stood there when it was made.
type AtAddress = (Option<Arc<Endpoint>>, Rc<Cluster>);

/// Makes the cluster of one address, and of the pod of the mesh that is known to be there.
pub(crate) type Make = Box<dyn Fn(SocketAddr, Option<&Arc<Endpoint>>, &mut Upstreams) -> Cluster>;

/// Addresses of one cluster that are kept; beyond it, the table starts anew.
const MAX_CALLED: usize = 1024;

/// One endpoint of a cluster.
pub(crate) struct Member {
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Where it is learnt from how requests go.
    lessons: Option<(Rc<Learnt>, Rc<Standing>)>,
    /// Where what goes to this endpoint as part of this cluster is counted.
    series: Series,
}

/// A retry under way.
pub(crate) struct RetryPermit {
    under_way: Rc<Cell<u32>>,
    _counted: Option<Permit>,
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }
}

/// Where requests and connections are counted; labels are asked for once.
#[derive(Default)]
struct Series {
    http: OnceCell<HttpSeries>,
    grpc: OnceCell<HttpSeries>,
    tcp: OnceCell<TcpSeries>,
}

impl Series {
    fn http(
        &self,
        shard: &Shard,
        grpc: bool,
        labels: impl FnOnce(RequestProtocol) -> Labels,
    ) -> HttpSeries {
        let (cell, protocol) = if grpc {
            (&self.grpc, RequestProtocol::Grpc)
        } else {
            (&self.http, RequestProtocol::Http)
        };
        cell.get_or_init(|| shard.http(labels(protocol))).clone()
    }

    fn tcp(&self, shard: &Shard, labels: impl FnOnce(RequestProtocol) -> Labels) -> TcpSeries {
        self.tcp
            .get_or_init(|| shard.tcp(labels(RequestProtocol::Tcp)))
            .clone()
    }
}

impl Member {
    pub(crate) fn new(upstream: Rc<Upstream>, endpoint: Arc<Endpoint>) -> Self {
        Self {
            upstream,
            endpoint,
            lessons: None,
            series: Series::default(),
        }
    }

    /// The same, of which something is learnt.
    pub(crate) fn learning(mut self, learnt: &Rc<Learnt>, standing: Rc<Standing>) -> Self {
        self.lessons = Some((Rc::clone(learnt), standing));
        self
    }

    /// The head of an answer has come.
    pub(crate) fn answered(&self, status: http::StatusCode, headers: &HeaderMap, grpc: bool) {
        if self.lessons.is_none() {
            return;
        }
        if !grpc || status != http::StatusCode::OK {
            return self.observe(Outcome::Answered(status.as_u16()));
        }
        // Without a status in the head, the trailers will tell.
        let code = headers
            .get("grpc-status")
            .and_then(|v| v.to_str().ok()?.parse().ok());
        if let Some(code) = code {
            self.answered_grpc(code);
        }
    }

    /// The trailers of a gRPC call have come.
    pub(crate) fn answered_grpc(&self, code: u8) {
        self.observe(Outcome::Answered(status_of_grpc(code)));
    }

    /// A connection was made, for bytes of which nothing is known.
    pub(crate) fn connected(&self) {
        self.observe(Outcome::Answered(200));
    }

    /// It took no connection, broke off, or did not answer in time.
    pub(crate) fn failed(&self) {
        self.observe(Outcome::Failed);
    }

    fn observe(&self, outcome: Outcome) {
        if let Some((learnt, standing)) = &self.lessons {
            learnt.observe(standing, outcome);
        }
    }

    /// Begins a request, or a connection, of which the bound is `limit`.
    pub(crate) fn begin(self: &Rc<Self>, limit: Limit) -> Result<ActiveRequest, Overflow> {
        let permit = match self.upstream.pool() {
            None => None,
            Some(pool) => pool.admit(limit)?,
        };
        Ok(ActiveRequest::new(Rc::clone(self), permit))
    }

    /// Where a request is counted; `labels` is asked once, for the protocol it is given.
    pub(crate) fn http_series(
        &self,
        shard: &Shard,
        grpc: bool,
        labels: impl FnOnce(RequestProtocol) -> Labels,
    ) -> HttpSeries {
        self.series.http(shard, grpc, labels)
    }

    /// Where a connection is counted.
    pub(crate) fn tcp_series(
        &self,
        shard: &Shard,
        labels: impl FnOnce(RequestProtocol) -> Labels,
    ) -> TcpSeries {
        self.series.tcp(shard, labels)
    }

    /// For messages: the workload, if it is one, and the address.
    pub(crate) fn name(&self) -> impl fmt::Display {
        match self.endpoint.workload.as_str().is_empty() {
            true => self.upstream.addr.to_string(),
            false => format!("{} ({})", self.endpoint.workload, self.upstream.addr),
        }
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.service, &self.subset) {
            (Some(service), Some(subset)) => {
                write!(f, "subset {subset} of service {service} port {}", self.port)
            }
            (Some(service), None) => write!(f, "service {service} port {}", self.port),
            (None, _) => match self.members.first() {
                Some(member) => write!(f, "{}", member.name()),
                None => f.write_str("the endpoint"),
            },
        }
    }
}

impl Cluster {
    pub(crate) fn new(
        service: Option<Name>,
        subset: Option<Arc<str>>,
        port: u16,
        members: Vec<Member>,
    ) -> Self {
        Self {
            service,
            subset,
            port,
            members: members.into_iter().map(Rc::new).collect(),
            governed: None,
            pool: None,
            called: None,
            retries: Rc::default(),
            unplaced: Series::default(),
        }
    }

    /// Whether there is no endpoint at all, not even one that is left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// With bounds.
    pub(crate) fn bounded(mut self, pool: Option<Rc<Pool>>) -> Self {
        self.pool = pool;
        self
    }

    /// With a way to choose.
    pub(crate) fn governed(mut self, govern: impl FnOnce(&[Rc<Member>]) -> Governed) -> Self {
        self.governed = Some(Box::new(govern(&self.members)));
        self
    }

    /// Whose endpoint is the address that was called.
    pub(crate) fn called(mut self, make: Make) -> Self {
        self.called = Some(Called {
            clusters: RefCell::default(),
            make,
        });
        self
    }

    /// The cluster for a connection that was going to `called`: itself, or where that is the
    /// endpoint, a cluster of it.
    pub(crate) fn at(self: &Rc<Self>, called: SocketAddr, worker: &Worker) -> Rc<Self> {
        let Some(by_address) = &self.called else {
            return Rc::clone(self);
        };
        let view = worker.view();
        let pod = view.workload(called.ip().to_canonical());
        let pod = pod.map(|workload| &workload.pod.endpoint);
        let mut clusters = by_address.clusters.borrow_mut();
        let known = clusters.get(&called);
        if let Some((of, known)) = known
            && of.as_ref().map(Arc::as_ptr) == pod.map(Arc::as_ptr)
        {
            return Rc::clone(known);
        }
        if clusters.len() >= MAX_CALLED && known.is_none() {
            clusters.clear();
        }
        let made = worker.with_upstreams(|upstreams| (by_address.make)(called, pod, upstreams));
        let made = Rc::new(made);
        clusters.insert(called, (pod.cloned(), Rc::clone(&made)));
        made
    }

    /// What of a request keeps it with one endpoint; nearly always nothing.
    pub(crate) fn hash_key(&self) -> Option<&HashKey> {
        self.governed.as_ref()?.hash_key()
    }

    /// Begins a request to one of its endpoints; an error: there are too many already.
    pub(crate) fn begin(&self, member: &Rc<Member>) -> Result<ActiveRequest, Overflow> {
        member.begin(Limit::Requests)
    }

    /// Begins an opaque connection to one of its endpoints.
    pub(crate) fn begin_connection(&self, member: &Rc<Member>) -> Result<ActiveRequest, Overflow> {
        member.begin(Limit::Connections)
    }

    /// Whether a request that may have reached a server may be sent again now: not when too many
    /// are. To be kept while that goes on.
    pub(crate) fn begin_retry(&self) -> Option<RetryPermit> {
        let policy = self.governed.as_ref().map(|g| &g.policy);
        let budget = policy.and_then(|policy| policy.retry_budget);
        let counted = match (&self.pool, budget) {
            (Some(pool), None) if pool.terms().max_retries.is_some() => {
                pool.admit(Limit::Retries).ok()?
            }
            _ => {
                let RetryBudget {
                    percent,
                    min_retries,
                } = budget.unwrap_or_default();
                let active = self.members.iter().map(|m| u64::from(m.upstream.active()));
                let most = active.sum::<u64>() * u64::from(percent) / 100;
                if u64::from(self.retries.get()) >= most.max(min_retries.into()) {
                    return None;
                }
                None
            }
        };
        self.retries.set(self.retries.get() + 1);
        Some(RetryPermit {
            under_way: Rc::clone(&self.retries),
            _counted: counted,
        })
    }

    /// Where a request that no endpoint was asked is counted.
    pub(crate) fn unplaced_http(
        &self,
        shard: &Shard,
        grpc: bool,
        labels: impl FnOnce(RequestProtocol) -> Labels,
    ) -> HttpSeries {
        self.unplaced.http(shard, grpc, labels)
    }

    /// Where a connection that no endpoint took is counted.
    pub(crate) fn unplaced_tcp(
        &self,
        shard: &Shard,
        labels: impl FnOnce(RequestProtocol) -> Labels,
    ) -> TcpSeries {
        self.unplaced.tcp(shard, labels)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Chooses an endpoint; `None` when there is none. What was tried is avoided while another is
    /// left.
    pub(crate) fn pick(&self, pick: Pick<'_>) -> Option<&Rc<Member>> {
        match &self.governed {
            None => self.pick_alike(pick.tried),
            Some(governed) => governed.pick(&self.members, pick),
        }
    }

    fn pick_alike(&self, tried: &[Rc<Upstream>]) -> Option<&Rc<Member>> {
        let members = self.members.as_slice();
        if tried.is_empty() || members.len() < 2 {
            return less_loaded(members.len(), |i| members.get(i));
        }
        let avoided = |m: &Rc<Member>| tried.iter().any(|t| Rc::ptr_eq(t, &m.upstream));
        let left: Vec<_> = members.iter().filter(|m| !avoided(m)).collect();
        match less_loaded(left.len(), |i| left.get(i).copied()) {
            Some(picked) => Some(picked),
            // All were tried: any but the last.
            None if tried.len() > 1 => self.pick_alike(&tried[tried.len() - 1..]),
            None => self.pick_alike(&[]),
        }
    }
}

/// The less loaded of two drawn at random.
fn less_loaded<'a>(
    count: usize,
    member: impl Fn(usize) -> Option<&'a Rc<Member>>,
) -> Option<&'a Rc<Member>> {
    if count < 2 {
        return member(0);
    }
    let mut rng = rand::rng();
    let first = rng.random_range(0..count);
    let second = (first + rng.random_range(1..count)) % count;
    let (first, second) = (member(first)?, member(second)?);
    if first.upstream.active() <= second.upstream.active() {
        Some(first)
    } else {
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use super::*;
    use crate::upstream::connect::Link;

    fn member(port: u16) -> Member {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let endpoint = Endpoint {
            ip: addr.ip(),
            target_ports: vec![Some(port)],
            subsets: vec![],
            identity: None,
            plain_ports: Box::default(),
            workload: Name::new("default/pod"),
            app: "".into(),
            version: "".into(),
            owner: "".into(),
            placement: Default::default(),
        };
        Member::new(
            Rc::new(Upstream::new(addr, Link::Plain, None)),
            Arc::new(endpoint),
        )
    }

    fn cluster(n: u16) -> Cluster {
        Cluster::new(None, None, 80, (1..=n).map(member).collect())
    }

    fn avoiding(tried: &[Rc<Upstream>]) -> Pick<'_> {
        Pick { hash: None, tried }
    }

    #[test]
    fn nothing_to_pick_from() {
        assert!(cluster(0).pick(Pick::default()).is_none());
    }

    #[test]
    fn the_busier_of_two_is_not_picked() {
        let cluster = cluster(2);
        let busy = cluster.pick(Pick::default()).unwrap();
        let _active = cluster.begin(busy).unwrap();
        for _ in 0..50 {
            let picked = cluster.pick(Pick::default()).map(|m| m.upstream.addr);
            assert_ne!(picked, Some(busy.upstream.addr));
        }
    }

    #[test]
    fn what_was_tried_is_avoided_while_another_is_left() {
        let three = cluster(3);
        let mut tried = vec![Rc::clone(&three.members[0].upstream)];
        for _ in 0..100 {
            let picked = three.pick(avoiding(&tried)).map(|m| m.upstream.addr);
            assert_ne!(picked, Some(tried[0].addr));
        }
        tried.push(Rc::clone(&three.members[1].upstream));
        for _ in 0..100 {
            let picked = three.pick(avoiding(&tried)).map(|m| m.upstream.addr);
            assert_eq!(picked, Some(three.members[2].upstream.addr));
        }
        tried.push(Rc::clone(&three.members[2].upstream));
        for _ in 0..100 {
            let picked = three.pick(avoiding(&tried)).map(|m| m.upstream.addr);
            assert_ne!(picked, Some(tried[2].addr), "the last one tried");
        }
        let one = cluster(1);
        let tried = [Rc::clone(&one.members[0].upstream)];
        assert!(one.pick(avoiding(&tried)).is_some());
    }

    #[test]
    fn retries_are_a_fifth_of_what_is_under_way_and_at_least_three() {
        let cluster = cluster(2);
        let member = &cluster.members[0];
        let mut retries: Vec<_> = (0..3).map(|_| cluster.begin_retry().unwrap()).collect();
        assert!(cluster.begin_retry().is_none());
        let active: Vec<_> = (0..20).map(|_| cluster.begin(member).unwrap()).collect();
        retries.push(cluster.begin_retry().unwrap());
        assert!(cluster.begin_retry().is_none());
        drop((active, retries.split_off(2)));
        assert!(cluster.begin_retry().is_some());
    }
}
