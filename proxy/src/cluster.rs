//! The endpoints that one destination stands for, and the choice among them: the less loaded of
//! two drawn at random, never one that this request has already tried while another is left.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use heddle_proxy_config::snapshot::{Endpoint, Name, RetryBudget};
use heddle_proxy_telemetry::{HttpSeries, Labels, RequestProtocol, Shard, TcpSeries};
use rand::RngExt;

use crate::upstream::Upstream;

/// A service, or a subset of it, on one port.
pub(crate) struct Cluster {
    /// `None`: a pod called by its address.
    pub(crate) service: Option<Name>,
    pub(crate) subset: Option<Arc<str>>,
    pub(crate) port: u16,
    members: Vec<Rc<Member>>,
    /// Repetitions under way.
    retries: Rc<Cell<u32>>,
    /// Where what reached none of them is counted.
    unplaced: Series,
}

/// Leave to repeat a request, while it is kept.
pub(crate) struct RetryPermit {
    under_way: Rc<Cell<u32>>,
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }
}

/// One endpoint of a cluster.
pub(crate) struct Member {
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Where what goes to this endpoint as part of this cluster is counted.
    series: Series,
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
            series: Series::default(),
        }
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

    /// For messages: the workload and the address.
    pub(crate) fn name(&self) -> impl fmt::Display {
        format!("{} ({})", self.endpoint.workload, self.upstream.addr)
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
            retries: Rc::default(),
            unplaced: Series::default(),
        }
    }

    /// Whether a request that may have reached a server may be sent again now: not when too many
    /// are. To be kept while that goes on.
    pub(crate) fn begin_retry(&self) -> Option<RetryPermit> {
        let RetryBudget {
            percent,
            min_retries,
        } = RetryBudget::default();
        let active = self.members.iter().map(|m| u64::from(m.upstream.active()));
        let most = active.sum::<u64>() * u64::from(percent) / 100;
        if u64::from(self.retries.get()) >= most.max(min_retries.into()) {
            return None;
        }
        self.retries.set(self.retries.get() + 1);
        Some(RetryPermit {
            under_way: Rc::clone(&self.retries),
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

    /// Chooses an endpoint; `None` when there is none. `tried` are avoided while another is left.
    pub(crate) fn pick(&self, tried: &[Rc<Upstream>]) -> Option<&Rc<Member>> {
        let members = self.members.as_slice();
        if tried.is_empty() || members.len() < 2 {
            return less_loaded(members.len(), |i| members.get(i));
        }
        let avoided = |m: &Rc<Member>| tried.iter().any(|t| Rc::ptr_eq(t, &m.upstream));
        let left: Vec<_> = members.iter().filter(|m| !avoided(m)).collect();
        match less_loaded(left.len(), |i| left.get(i).copied()) {
            Some(picked) => Some(picked),
            // All were tried: any but the last.
            None if tried.len() > 1 => self.pick(&tried[tried.len() - 1..]),
            None => self.pick(&[]),
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
            workload: Name::new("default/pod"),
            app: "".into(),
            version: "".into(),
            owner: "".into(),
            placement: Default::default(),
        };
        Member::new(
            Rc::new(Upstream::new(addr, Link::Plain)),
            Arc::new(endpoint),
        )
    }

    fn cluster(n: u16) -> Cluster {
        Cluster::new(None, None, 80, (1..=n).map(member).collect())
    }

    #[test]
    fn nothing_to_pick_from() {
        assert!(cluster(0).pick(&[]).is_none());
    }

    #[test]
    fn the_busier_of_two_is_not_picked() {
        let cluster = cluster(2);
        let busy = cluster.pick(&[]).map(|m| Rc::clone(&m.upstream));
        let _active = busy.as_ref().map(Upstream::begin);
        for _ in 0..50 {
            let picked = cluster.pick(&[]).map(|m| m.upstream.addr);
            assert_ne!(picked, busy.as_ref().map(|u| u.addr));
        }
    }

    #[test]
    fn what_was_tried_is_avoided_while_another_is_left() {
        let three = cluster(3);
        let mut tried = vec![Rc::clone(&three.members[0].upstream)];
        for _ in 0..100 {
            let picked = three.pick(&tried).map(|m| m.upstream.addr);
            assert_ne!(picked, Some(tried[0].addr));
        }
        tried.push(Rc::clone(&three.members[1].upstream));
        for _ in 0..100 {
            let picked = three.pick(&tried).map(|m| m.upstream.addr);
            assert_eq!(picked, Some(three.members[2].upstream.addr));
        }
        tried.push(Rc::clone(&three.members[2].upstream));
        for _ in 0..100 {
            let picked = three.pick(&tried).map(|m| m.upstream.addr);
            assert_ne!(picked, Some(tried[2].addr), "the last one tried");
        }
        let one = cluster(1);
        let tried = [Rc::clone(&one.members[0].upstream)];
        assert!(one.pick(&tried).is_some());
    }
}
