//! The endpoints that one destination stands for, and the choice among them: the less loaded of
//! two drawn at random, never one that this request has already tried while another is left.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use heddle_proxy_config::snapshot::{Endpoint, Name};
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
}

/// One endpoint of a cluster.
pub(crate) struct Member {
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Where what goes to this endpoint as part of this cluster is counted.
    http: OnceCell<HttpSeries>,
    grpc: OnceCell<HttpSeries>,
    tcp: OnceCell<TcpSeries>,
}

impl Member {
    pub(crate) fn new(upstream: Rc<Upstream>, endpoint: Arc<Endpoint>) -> Self {
        Self {
            upstream,
            endpoint,
            http: OnceCell::new(),
            grpc: OnceCell::new(),
            tcp: OnceCell::new(),
        }
    }

    /// Where a request is counted; `labels` is asked once, for the protocol it is given.
    pub(crate) fn http_series(
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

    /// Where a connection is counted.
    pub(crate) fn tcp_series(
        &self,
        shard: &Shard,
        labels: impl FnOnce(RequestProtocol) -> Labels,
    ) -> TcpSeries {
        self.tcp
            .get_or_init(|| shard.tcp(labels(RequestProtocol::Tcp)))
            .clone()
    }
}

impl Member {
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
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Chooses an endpoint; `None` when there is none. `avoid` is the one just tried.
    pub(crate) fn pick(&self, avoid: Option<&Rc<Upstream>>) -> Option<&Rc<Member>> {
        match self.members.as_slice() {
            [] => None,
            [only] => Some(only),
            members => {
                let mut rng = rand::rng();
                let first = rng.random_range(0..members.len());
                let second = (first + rng.random_range(1..members.len())) % members.len();
                let (first, second) = (&members[first], &members[second]);
                let avoided =
                    |m: &Rc<Member>| avoid.is_some_and(|other| Rc::ptr_eq(other, &m.upstream));
                if avoided(first) {
                    return Some(second);
                }
                if avoided(second) || first.upstream.active() <= second.upstream.active() {
                    return Some(first);
                }
                Some(second)
            }
        }
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
        assert!(cluster(0).pick(None).is_none());
    }

    #[test]
    fn the_busier_of_two_is_not_picked() {
        let cluster = cluster(2);
        let busy = cluster.pick(None).map(|m| Rc::clone(&m.upstream));
        let _active = busy.as_ref().map(Upstream::begin);
        for _ in 0..50 {
            let picked = cluster.pick(None).map(|m| m.upstream.addr);
            assert_ne!(picked, busy.as_ref().map(|u| u.addr));
        }
    }

    #[test]
    fn what_was_tried_is_avoided_while_another_is_left() {
        let three = cluster(3);
        let tried = Rc::clone(&three.members[0].upstream);
        for _ in 0..100 {
            let picked = three.pick(Some(&tried)).map(|m| m.upstream.addr);
            assert_ne!(picked, Some(tried.addr));
        }
        let one = cluster(1);
        let tried = Rc::clone(&one.members[0].upstream);
        assert!(one.pick(Some(&tried)).is_some());
    }
}
