//! Connections to this pod, on their way in: mutual TLS as its policy says, then the protocol that
//! the peer's ALPN or the port declares, then the application on the pod's own address. A
//! connection that the policy refuses is closed with the reason logged and counted.

mod first;
pub(crate) mod http;
mod plain;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use heddle_identity::SpiffeId;
use heddle_proxy_config::snapshot::{Endpoint, InboundPort, MtlsMode, Name, Protocol};
use heddle_proxy_redirect::{INBOUND_PORT, OUTBOUND_PORT};
use heddle_proxy_telemetry::{
    Labels, Peer, Reporter, RequestProtocol, ResponseFlag, Security, Service,
};
use tokio::net::TcpStream;

use self::first::First;
pub(crate) use self::plain::Plain;
use self::tls::{Admitted, Refusal};
use crate::balance::Pick;
use crate::cluster::{Cluster, Member};
use crate::detect::{self, Sniff};
use crate::io::Io;
use crate::listener::original_destination;
use crate::relay::{Meter, relay};
use crate::upgrade::Upgraded;
use crate::upstream::Version;
use crate::upstream::connect::{Alpn, Link};
use crate::worker::Worker;

/// Ports of the application that this worker has connected to, and callers that it has counted.
#[derive(Default)]
pub(crate) struct Ports(RefCell<HashMap<Caller, Rc<Cluster>>>);

/// A port of the application and who calls it.
type Caller = (SocketAddr, Option<SpiffeId>);

/// Callers times ports that are counted apart; beyond it, the table starts anew.
const MAX_PORTS: usize = 4096;

/// One connection to this pod.
pub(crate) struct Inbound {
    worker: Rc<Worker>,
    destination: SocketAddr,
    peer: SocketAddr,
    /// Verified identity of the caller; `None`: plain text.
    identity: Option<SpiffeId>,
    port: InboundPort,
    cluster: Rc<Cluster>,
    upgraded: Upgraded,
}

/// Serves one connection until it ends.
pub(crate) async fn connection(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // Boxed: what it takes to admit it is not kept while the connection is served.
    let Some((inbound, io, protocol, app)) = Box::pin(begin(worker, stream, peer)).await else {
        return;
    };
    match (&inbound.identity, app) {
        (Some(_), None) => inbound.serve(io, protocol).await,
        (_, app) => Box::pin(inbound.serve_plain(io, protocol, app)).await,
    }
}

/// Admits a connection, and says what it speaks, with the application's where that was opened
/// already; `None`: it was refused, and the reason was logged.
async fn begin(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Rc<Inbound>, Io, Protocol, Option<Io>)> {
    let destination = match original_destination(&stream) {
        Ok(Some(destination)) => destination,
        Ok(None) => {
            worker.refused("not-redirected", || {
                tracing::warn!(%peer, "refused: a connection to the inbound port that was not redirected to it");
            });
            return None;
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "connection ended before it began");
            return None;
        }
    };
    if matches!(destination.port(), OUTBOUND_PORT | INBOUND_PORT) {
        // It would come back here for ever.
        worker.refused("loop", || {
            tracing::warn!(%peer, %destination, "refused: a connection to the sidecar's own port");
        });
        return None;
    }
    let port = policy(&worker, destination.port());
    let admitted = match tls::admit(&worker, stream, destination, &port).await {
        Ok(admitted) => admitted,
        Err(Refusal::Ended(error)) => {
            tracing::debug!(%peer, %destination, %error, "connection ended before it began");
            return None;
        }
        Err(refusal) => {
            worker.refused(refusal.label(), || {
                tracing::warn!(%peer, %destination, mode = ?port.mtls, "refused: {refusal}");
            });
            return None;
        }
    };
    let Admitted {
        io,
        identity,
        protocol,
        app,
    } = admitted;
    let protocol = match protocol {
        // What speaks HTTP is read as HTTP: as mere bytes a caller could say who it is itself.
        Some(Protocol::Tcp) if is_http(port.protocol) => port.protocol,
        // The pod's own word goes before the caller's.
        Some(told) if !worker.opaque_ports.contains(destination.port()) => told,
        _ => port.protocol,
    };
    let cluster = worker
        .inbound
        .cluster(&worker, destination, identity.as_ref());
    let inbound = Rc::new(Inbound {
        worker,
        destination,
        peer,
        identity,
        port,
        cluster,
        upgraded: Upgraded::default(),
    });
    Some((inbound, io, protocol, app))
}

fn is_http(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Http1 | Protocol::Http2 | Protocol::Grpc)
}

/// What applies to a port of this pod. Until the first configuration nothing is let in without a
/// certificate.
fn policy(worker: &Worker, port: u16) -> InboundPort {
    let view = worker.view();
    let unknown = |mtls| InboundPort {
        protocol: Protocol::Detect,
        mtls,
        service: None,
    };
    let mut told = match &view.snapshot.workload {
        None => unknown(MtlsMode::Strict),
        Some(workload) => match workload.ports.get(&port) {
            Some(known) => known.clone(),
            None => unknown(workload.mtls),
        },
    };
    if worker.opaque_ports.contains(port) {
        told.protocol = Protocol::Tcp;
    }
    told
}

impl Ports {
    /// The application's port as a cluster of one, for one caller.
    fn cluster(
        &self,
        worker: &Worker,
        destination: SocketAddr,
        caller: Option<&SpiffeId>,
    ) -> Rc<Cluster> {
        let mut ports = self.0.borrow_mut();
        let key = (destination, caller.cloned());
        if let Some(known) = ports.get(&key) {
            return Rc::clone(known);
        }
        if ports.len() >= MAX_PORTS {
            ports.clear();
        }
        let view = worker.view();
        let own = view.snapshot.workload.as_ref();
        let endpoint = Endpoint {
            ip: destination.ip(),
            target_ports: Vec::new(),
            subsets: Vec::new(),
            identity: None,
            plain_ports: Box::default(),
            workload: own.map_or_else(|| Name::new(""), |w| w.name.clone()),
            app: "".into(),
            version: "".into(),
            owner: "".into(),
            placement: Default::default(),
        };
        let upstream = worker.with_upstreams(|all| all.upstream(destination, Link::App));
        let member = Member::new(upstream, Arc::new(endpoint));
        let made = Rc::new(Cluster::new(None, None, destination.port(), vec![member]));
        ports.insert(key, Rc::clone(&made));
        made
    }
}

impl Inbound {
    /// Until the policy denies it.
    async fn serve_plain(self: Rc<Self>, io: Io, protocol: Protocol, app: Option<Io>) {
        let (worker, port) = (Rc::clone(&self.worker), self.destination.port());
        let (peer, destination) = (self.peer, self.destination);
        let served = async {
            match app {
                Some(app) => Box::pin(self.relay(io, Some(app))).await,
                None => self.serve(io, protocol).await,
            }
        };
        tokio::select! {
            () = served => {}
            () = worker.plain.denied(&worker, port) => {
                worker.refused("policy-changed", || {
                    tracing::warn!(%peer, %destination, "closed: plain text, and by now this port takes only mutual TLS of the mesh (STRICT)");
                });
            }
        }
    }

    /// Each way is boxed: a connection keeps room for the one that it goes.
    async fn serve(self: Rc<Self>, mut io: Io, protocol: Protocol) {
        let version = match protocol {
            Protocol::Http1 => Version::Http1,
            Protocol::Http2 | Protocol::Grpc => Version::Http2,
            Protocol::Tcp | Protocol::Tls => return Box::pin(self.relay(io, None)).await,
            Protocol::Detect => {
                let first = first::words(&self.worker, &mut io, self.destination, detect::LIMIT);
                if let Ok(First::Server(app)) = Box::pin(first).await {
                    return Box::pin(self.relay(io, Some(app))).await;
                }
                match detect::ahead(&mut io).await {
                    Sniff::Http1 => Version::Http1,
                    Sniff::Http2 => Version::Http2,
                    _ => return Box::pin(self.relay(io, None)).await,
                }
            }
        };
        Box::pin(http::serve(self, io, version)).await;
    }

    /// Carries bytes between the caller and the application, which may be connected already.
    async fn relay(&self, mut io: Io, app: Option<Io>) {
        let _serving = self.worker.tracer.serve_opaque();
        let (peer, destination) = (self.peer, self.destination);
        let Some(member) = self.cluster.pick(Pick::default()) else {
            return;
        };
        let series = member.tcp_series(&self.worker.shard, |protocol| self.labels(protocol));
        let connected = match app {
            Some(app) => Ok(app),
            None => {
                let dialer = &self.worker.dialer;
                dialer.dial(destination, &Link::App, Alpn::Tcp).await
            }
        };
        match connected {
            Ok(mut app) => {
                if let Err(error) = relay(&mut io, &mut app, Meter::Series(&series)).await {
                    tracing::debug!(%peer, %destination, %error, "opaque connection broke off");
                }
            }
            Err(error) => {
                io.reset_on_close();
                series.opened();
                series.closed(ResponseFlag::UpstreamConnectFailure);
                tracing::warn!(%peer, %destination, %error, "cannot connect to the application");
            }
        }
    }

    /// Labels of what a caller asks of this pod.
    fn labels(&self, protocol: RequestProtocol) -> Labels {
        let view = self.worker.view();
        let service = self.port.service.as_ref().map(|name| Service {
            host: view
                .service(name)
                .and_then(|s| s.config.hosts.first().map(ToString::to_string))
                .unwrap_or_else(|| format!("{}.{}.svc", name.name(), name.namespace())),
            name: name.name().to_owned(),
            namespace: name.namespace().to_owned(),
        });
        Labels {
            reporter: Reporter::Destination,
            source: Arc::new(
                self.identity
                    .as_ref()
                    .map(Peer::from_identity)
                    .unwrap_or_default(),
            ),
            destination: self.worker.own_peer(&view),
            service: Arc::new(service.unwrap_or_default()),
            protocol,
            security: match self.identity {
                Some(_) => Security::MutualTls,
                None => Security::None,
            },
        }
    }
}
