//! Opaque outbound connections: by the service's TCP rules and weights, to the pod that was
//! called, or as they are to where they were going.

use std::rc::Rc;

use heddle_proxy_telemetry::{Labels, RequestProtocol, ResponseFlag, TcpSeries};

use super::{Outbound, Target, http};
use crate::balance::{Pick, key};
use crate::breaker::Overflow;
use crate::cluster::Cluster;
use crate::io::Io;
use crate::limits;
use crate::relay::relay;
use crate::upstream::ActiveRequest;
use crate::upstream::connect::{Alpn, Link};

/// A connection opened for an opaque stream.
pub(super) struct Upstream {
    io: Io,
    series: TcpSeries,
    _active: Option<ActiveRequest>,
}

impl Upstream {
    /// Returns when the server has spoken, or closed.
    pub(super) async fn wait(&mut self) {
        // An error shows again when the relay reads.
        let _ = self.io.read_ahead(limits::SERVER_FIRST).await;
    }
}

/// Relays between the application and where its connection goes.
pub(super) async fn serve(outbound: &Outbound, mut io: Io, ahead: Option<Upstream>) {
    let mut upstream = match ahead {
        Some(upstream) => upstream,
        None => match connect(outbound).await {
            Some(upstream) => upstream,
            None => return,
        },
    };
    let destination = outbound.destination;
    if let Err(error) = relay(&mut io, &mut upstream.io, Some(&upstream.series)).await {
        tracing::debug!(%destination, %error, "opaque connection ended");
    }
}

/// Opens the upstream connection; `None`: it could not be, and the reason was logged.
pub(super) async fn connect(outbound: &Outbound) -> Option<Upstream> {
    let worker = &outbound.worker;
    let destination = outbound.destination;
    let Some(cluster) = choose(outbound) else {
        return passthrough(outbound).await;
    };
    let mut tried = Vec::new();
    // One try for each endpoint, and one more.
    for _ in 0..=cluster.len().min(3) {
        let hash = cluster.hash_key();
        let pick = Pick {
            hash: hash.and_then(|by| key::of_connection(by, outbound.peer)),
            tried: &tried,
        };
        let Some(member) = cluster.pick(pick) else {
            break;
        };
        let active = match cluster.begin_connection(member) {
            Ok(active) => active,
            Err(overflow) => {
                full(outbound, &cluster, &overflow);
                return None;
            }
        };
        match member.upstream.dial(&worker.dialer, Alpn::Tcp).await {
            Ok(io) => {
                member.connected();
                let view = worker.view();
                let series = member.tcp_series(&worker.shard, |protocol| {
                    http::labels(outbound, &view, &cluster, Some(member), protocol)
                });
                return Some(Upstream {
                    io,
                    series,
                    _active: Some(active),
                });
            }
            Err(error) => {
                member.failed();
                worker.connect_failed(&member.name(), &error);
                tried.push(Rc::clone(&member.upstream));
            }
        }
    }
    let flag = match tried.is_empty() {
        true => ResponseFlag::NoHealthyUpstream,
        false => ResponseFlag::UpstreamConnectFailure,
    };
    not_placed(outbound, &cluster, flag);
    worker.count_refused("no-endpoint");
    tracing::warn!(%destination, %cluster, "refused: no endpoint took the connection");
    None
}

/// Counts a connection that no endpoint has.
fn not_placed(outbound: &Outbound, cluster: &Cluster, flag: ResponseFlag) {
    let worker = &outbound.worker;
    let view = worker.view();
    let series = cluster.unplaced_tcp(&worker.shard, |protocol| {
        http::labels(outbound, &view, cluster, None, protocol)
    });
    series.opened();
    series.closed(flag);
}

/// Refuses a connection of which there are too many already.
fn full(outbound: &Outbound, cluster: &Cluster, overflow: &Overflow) {
    not_placed(outbound, cluster, ResponseFlag::UpstreamOverflow);
    outbound.worker.count_refused("overflow");
    let destination = outbound.destination;
    tracing::warn!(%destination, %cluster, "refused: {overflow}");
}

/// The cluster that the target means; `None`: pass it through.
fn choose(outbound: &Outbound) -> Option<Rc<Cluster>> {
    let view = outbound.worker.view();
    let port = outbound.destination.port();
    match &outbound.target {
        Target::Unknown | Target::Refused => None,
        Target::Workload(ip) => {
            let workload = view.workload(*ip)?;
            Some(
                outbound
                    .worker
                    .with_upstreams(|upstreams| workload.cluster(port, upstreams)),
            )
        }
        Target::Service(name) => {
            let port = view.service(name)?.port(port)?;
            let cluster = match &port.tcp {
                Some((_, rule)) => rule.draw().unwrap_or(&port.fallback),
                None => &port.fallback,
            };
            Some(cluster.at(outbound.destination, &outbound.worker))
        }
    }
}

async fn passthrough(outbound: &Outbound) -> Option<Upstream> {
    let worker = &outbound.worker;
    let destination = outbound.destination;
    if !matches!(outbound.target, Target::Unknown) {
        // The configuration moved on while the connection was being opened.
        worker.count_refused("no-endpoint");
        tracing::warn!(%destination, "refused: its service is gone");
        return None;
    }
    match worker
        .dialer
        .dial(destination, &Link::Plain, Alpn::Tcp)
        .await
    {
        Ok(io) => Some(Upstream {
            io,
            series: worker.passthrough_series(unknown_labels),
            _active: None,
        }),
        Err(error) => {
            tracing::info!(%destination, %error, "cannot connect to an address outside the mesh");
            None
        }
    }
}

fn unknown_labels(source: std::sync::Arc<heddle_proxy_telemetry::Peer>) -> Labels {
    use heddle_proxy_telemetry::{Reporter, Security, Service};
    Labels {
        reporter: Reporter::Source,
        source,
        destination: std::sync::Arc::default(),
        service: std::sync::Arc::new(Service {
            host: "PassthroughCluster".into(),
            name: "PassthroughCluster".into(),
            namespace: String::new(),
        }),
        protocol: RequestProtocol::Tcp,
        security: Security::Unknown,
    }
}
