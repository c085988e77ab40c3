//! Opaque outbound connections: by the service's TCP rules (which may ask for a name, if the
//! application speaks TLS) and weights, to the pod that was called, or as they are to where they were
//! going.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use heddle_proxy_config::key;
use heddle_proxy_telemetry::{Labels, RequestProtocol, ResponseFlag, TcpSeries};

use tokio::time::timeout;

use super::headless::Called;
use super::{Outbound, Target, http};
use crate::balance::Pick;
use crate::breaker::Overflow;
use crate::cluster::Cluster;
use crate::hello::{self, Hello};
use crate::io::Io;
use crate::limits;
use crate::relay::{Meter, relay};
use crate::upstream::ActiveRequest;
use crate::upstream::connect::{Alpn, Link};
use crate::view::{LocalPort, LocalService, View};

/// A connection opened for an opaque stream.
pub(super) struct Upstream {
    io: Io,
    series: TcpSeries,
    active: Option<ActiveRequest>,
}

impl Upstream {
    /// How long it may last.
    fn most(&self) -> Option<Duration> {
        let pool = self.active.as_ref()?.upstream().pool()?;
        pool.terms().max_connection_duration
    }

    /// Returns when the server has spoken, or closed.
    pub(super) async fn wait(&mut self) {
        // An error shows again when the relay reads.
        let _ = self.io.read_ahead(limits::SERVER_FIRST).await;
    }
}

/// Relays between the application and where its connection goes. `tls`: the client speaks first, and
/// speaks TLS.
pub(super) async fn serve(outbound: &Outbound, mut io: Io, ahead: Option<Upstream>, tls: bool) {
    let mut upstream = match ahead {
        Some(upstream) => upstream,
        // Boxed: what it takes to connect is not kept while bytes are relayed.
        None => match Box::pin(open(outbound, &mut io, tls)).await {
            Some(upstream) => upstream,
            None => return,
        },
    };
    let destination = outbound.destination;
    let relayed = match upstream.most() {
        None => relay(&mut io, &mut upstream.io, Meter::Series(&upstream.series)).await,
        Some(most) => {
            let relayed = relay(&mut io, &mut upstream.io, Meter::Series(&upstream.series));
            let old = |_| Err(io::Error::other("it is as old as it may be"));
            Box::pin(timeout(most, relayed)).await.unwrap_or_else(old)
        }
    };
    if let Err(error) = relayed {
        tracing::debug!(%destination, %error, "opaque connection ended");
    }
}

/// Opens the upstream connection, for the server that the client names if that matters.
async fn open(outbound: &Outbound, io: &mut Io, tls: bool) -> Option<Upstream> {
    let name = match tls && asks_for_names(outbound) {
        true => server_name(io).await,
        false => None,
    };
    connect(outbound, name.as_deref()).await
}

/// Whether a rule for the port names servers.
fn asks_for_names(outbound: &Outbound) -> bool {
    let view = outbound.worker.view();
    let number = outbound.destination.port();
    let (service, port) = match &outbound.target {
        Target::Service(name) => {
            let service = view.service(name);
            match service.and_then(|service| Some((service, service.port(number)?))) {
                Some(known) => known,
                None => return false,
            }
        }
        Target::Workload(ip) => match only(&view, *ip, number) {
            Some(called) => (called.service, called.port),
            None => return false,
        },
        Target::Unknown | Target::Refused => return false,
    };
    let Some(routes) = &service.routes else {
        return false;
    };
    let named = |place: usize| {
        let rule = routes.tcp.get(place);
        rule.is_some_and(|rule| !rule.sni_hosts.is_empty())
    };
    port.tcp.iter().any(|(place, _)| named(*place))
}

/// The headless service that a connection to a pod can only be for.
fn only(view: &View, ip: IpAddr, number: u16) -> Option<Called<'_>> {
    Called::only(view, view.workload(ip)?, number)
}

/// The server that the client asks for, if it says so in time.
async fn server_name(io: &mut Io) -> Option<Box<str>> {
    let told = hello::ahead(io, hello::server_name);
    match timeout(limits::HANDSHAKE, told).await {
        Ok(Hello::Tls(name)) => name,
        Ok(Hello::Other | Hello::Partial) | Err(_) => None,
    }
}

/// Opens the upstream connection; `None`: it could not be, and the reason was logged.
pub(super) async fn connect(outbound: &Outbound, name: Option<&str>) -> Option<Upstream> {
    let worker = &outbound.worker;
    let destination = outbound.destination;
    let cluster = match choose(outbound, name) {
        Chosen::Cluster(cluster) => cluster,
        Chosen::Called => return passthrough(outbound).await,
        Chosen::NoRule => {
            worker.refused("no-route", || {
                let name = name.unwrap_or("none");
                tracing::warn!(%destination, name, "refused: no rule takes the server's name");
            });
            return None;
        }
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
                    active: Some(active),
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
    worker.refused("no-endpoint", || {
        tracing::warn!(%destination, %cluster, "refused: no endpoint took the connection");
    });
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
    let destination = outbound.destination;
    outbound.worker.refused("overflow", || {
        tracing::warn!(%destination, %cluster, "refused: {overflow}");
    });
}

/// What the target means.
enum Chosen {
    Cluster(Rc<Cluster>),
    /// The address that was called.
    Called,
    /// There are rules for other names.
    NoRule,
}

fn choose(outbound: &Outbound, name: Option<&str>) -> Chosen {
    let view = outbound.worker.view();
    let number = outbound.destination.port();
    match &outbound.target {
        Target::Unknown | Target::Refused => Chosen::Called,
        Target::Workload(ip) => match (view.workload(*ip), only(&view, *ip, number)) {
            (Some(_), Some(called)) => {
                let pod = || called.pod(outbound);
                choose_by(outbound, called.service, called.port, name, pod)
            }
            (Some(workload), None) => {
                let worker = &outbound.worker;
                Chosen::Cluster(worker.with_upstreams(|all| workload.cluster(number, all)))
            }
            (None, _) => Chosen::Called,
        },
        Target::Service(service) => {
            let service = view.service(service);
            let Some((service, port)) = service.and_then(|s| Some((s, s.port(number)?))) else {
                return Chosen::Called;
            };
            let whole = || port.fallback.at(outbound.destination, &outbound.worker);
            choose_by(outbound, service, port, name, whole)
        }
    }
}

/// By the rules of a service; `whole`: where what no rule leads elsewhere goes.
fn choose_by(
    outbound: &Outbound,
    service: &LocalService,
    port: &LocalPort,
    name: Option<&str>,
    whole: impl FnOnce() -> Rc<Cluster>,
) -> Chosen {
    let takes = |place: usize| {
        let rule = service.routes.as_ref().and_then(|r| r.tcp.get(place));
        rule.is_some_and(|rule| rule.takes(name))
    };
    let rule = port.tcp.iter().find(|(place, _)| takes(*place));
    Chosen::Cluster(match rule.map(|(_, rule)| rule.draw()) {
        Some(Some(cluster)) => cluster.at(outbound.destination, &outbound.worker),
        None if !port.tcp.is_empty() => return Chosen::NoRule,
        Some(None) | None => whole(),
    })
}

async fn passthrough(outbound: &Outbound) -> Option<Upstream> {
    let worker = &outbound.worker;
    let destination = outbound.destination;
    if !matches!(outbound.target, Target::Unknown) {
        // The configuration moved on while the connection was being opened.
        worker.refused("no-endpoint", || {
            tracing::warn!(%destination, "refused: its service is gone");
        });
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
            active: None,
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
