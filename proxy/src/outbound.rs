//! Connections of the pod's application, on their way out. Where they were going decides what
//! they are: a Service IP is a service and has routes, a pod IP is that pod (or a headless service of
//! its that is named), an address that the mesh does not know is passed through, or refused where the pod is kept to what is known. What the control plane cannot say in time is refused
//! rather than sent in the clear.

mod headless;
pub(crate) mod http;
mod refused;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use heddle_proxy_config::snapshot::{Address, Name, Protocol};
use heddle_proxy_config::store::AddressUse;
use tokio::net::TcpStream;

use crate::detect::{self, Sniff};
use crate::io::Io;
use crate::limits;
use crate::listener::original_destination;
use crate::upgrade::Upgraded;
use crate::upstream::Version;
use crate::worker::Worker;

/// What a connection is for.
#[derive(Clone)]
pub(crate) enum Target {
    Service(Name),
    Workload(IpAddr),
    Unknown,
    /// Unknown, and this pod may only call what is known.
    Refused,
}

/// One connection of the application.
pub(crate) struct Outbound {
    worker: Rc<Worker>,
    target: Target,
    destination: SocketAddr,
    /// Where it comes from.
    peer: IpAddr,
    upgraded: Upgraded,
    /// What the target stands for is kept known meanwhile.
    _in_use: Option<AddressUse>,
}

/// Serves one connection until it ends.
pub(crate) async fn connection(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // Boxed: what it takes to find out is not kept while the connection is served.
    if let Some((outbound, io, protocol)) = Box::pin(begin(worker, stream, peer)).await {
        outbound.serve(io, protocol).await;
    }
}

/// Finds out what a connection is for; `None`: it was refused, and the reason was logged.
async fn begin(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Rc<Outbound>, Io, Protocol)> {
    let destination = match original_destination(&stream) {
        Ok(Some(destination)) => destination,
        Ok(None) => {
            worker.refused("not-redirected", || {
                tracing::warn!(%peer, "refused: a connection to the outbound port that was not redirected to it");
            });
            return None;
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "connection ended before it began");
            return None;
        }
    };
    let ip = destination.ip().to_canonical();
    let in_use = worker.store.hold(ip);
    let target = match worker.store.resolve(ip).await.as_deref() {
        Ok(Address::Service(name)) => Target::Service(name.clone()),
        Ok(Address::Workload(..)) => Target::Workload(ip),
        Ok(Address::Unknown | Address::Hidden(_)) => match registry_only(&worker) {
            true => Target::Refused,
            false => Target::Unknown,
        },
        Err(error) => {
            worker.refused("unresolved", || {
                tracing::warn!(%destination, %error, "refused: what this address stands for is not known");
            });
            return None;
        }
    };
    let protocol = match declared(&worker, &target, destination.port()) {
        Ok(protocol) => protocol,
        Err(reason) => {
            worker.refused("no-such-port", || {
                tracing::warn!(%destination, reason, "refused");
            });
            return None;
        }
    };
    let outbound = Outbound {
        worker,
        target,
        destination,
        peer: peer.ip(),
        upgraded: Upgraded::default(),
        _in_use: Some(in_use),
    };
    Some((Rc::new(outbound), stream.into(), protocol))
}

fn registry_only(worker: &Worker) -> bool {
    let workload = &worker.view().snapshot.workload;
    workload.as_ref().is_some_and(|own| own.registry_only)
}

/// The declared protocol of a target's port.
fn declared(worker: &Worker, target: &Target, port: u16) -> Result<Protocol, &'static str> {
    let view = worker.view();
    match target {
        // Nothing is known of it, so nothing is done to it.
        Target::Unknown | Target::Refused => Ok(Protocol::Tcp),
        Target::Workload(ip) => Ok(view.workload(*ip).map_or(Protocol::Detect, |workload| {
            workload.pod.protocol(port, &view.snapshot)
        })),
        Target::Service(name) => view
            .service(name)
            .and_then(|service| service.port(port).map(|p| p.protocol))
            .ok_or("the service has no such port"),
    }
}

impl Outbound {
    #[cfg(test)]
    pub(crate) fn new(worker: Rc<Worker>, target: Target, destination: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            worker,
            target,
            destination,
            peer: destination.ip(),
            upgraded: Upgraded::default(),
            _in_use: None,
        })
    }

    /// Each way is boxed: a connection keeps room for the one that it goes.
    async fn serve(self: Rc<Self>, mut io: Io, protocol: Protocol) {
        if matches!(self.target, Target::Refused) {
            return Box::pin(refused::serve(self, io)).await;
        }
        let version = match protocol {
            Protocol::Http1 => Version::Http1,
            Protocol::Http2 | Protocol::Grpc => Version::Http2,
            Protocol::Tcp | Protocol::Tls => {
                let tls = protocol == Protocol::Tls;
                return Box::pin(tcp::serve(&self, io, None, tls)).await;
            }
            Protocol::Detect => match Box::pin(first_bytes(&mut io)).await {
                Some(Sniff::Http1) => Version::Http1,
                Some(Sniff::Http2) => Version::Http2,
                Some(other) => {
                    let tls = other == Sniff::Tls;
                    return Box::pin(tcp::serve(&self, io, None, tls)).await;
                }
                None => return Box::pin(self.serve_silent(io)).await,
            },
        };
        Box::pin(http::serve(self, io, version)).await;
    }

    /// The client says nothing: the server may be the one that speaks first. Whoever does decides.
    async fn serve_silent(self: Rc<Self>, mut io: Io) {
        let Some(mut ahead) = tcp::connect(&self, None).await else {
            return;
        };
        let client_first = tokio::select! {
            biased;
            sniffed = detect::ahead(&mut io) => Some(sniffed),
            _ = ahead.wait() => None,
        };
        let version = match client_first {
            Some(Sniff::Http1) => Version::Http1,
            Some(Sniff::Http2) => Version::Http2,
            Some(_) | None => return tcp::serve(&self, io, Some(ahead), false).await,
        };
        // Each request has its own connection, chosen by the routes.
        drop(ahead);
        Box::pin(http::serve(self, io, version)).await;
    }
}

/// Tells the protocol by the client's first bytes; `None` when it is silent.
async fn first_bytes(io: &mut Io) -> Option<Sniff> {
    tokio::time::timeout(limits::DETECT_SILENCE, detect::ahead(io))
        .await
        .ok()
}
