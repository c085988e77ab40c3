//! Connections to addresses that the mesh does not know, in a pod whose policy is REGISTRY_ONLY:
//! over HTTP the refusal is a response with its reason, anything else is reset.

use std::rc::Rc;
use std::sync::Arc;

use heddle_proxy_config::snapshot::Address;
use heddle_proxy_telemetry::{
    HttpSeries, Labels, Peer, Reporter, RequestProtocol, ResponseFlag, Security, Service,
};
use hyper::StatusCode;
use tokio::time::timeout;

use super::{Outbound, http};
use crate::detect::{self, Sniff};
use crate::io::Io;
use crate::limits;
use crate::reply::Failure;
use crate::upstream::Version;

/// Envoy's reason for what it knows no destination of.
const FLAG: ResponseFlag = ResponseFlag::NoCluster;

/// Refuses one connection, in the words that its client understands.
pub(super) async fn serve(outbound: Rc<Outbound>, mut io: Io) {
    let (worker, destination) = (&outbound.worker, outbound.destination);
    worker.refused("registry-only", || {
        tracing::info!(%destination, "refused: the mesh does not know this address, and this pod's outbound policy is REGISTRY_ONLY");
    });
    let version = match timeout(limits::REFUSED_FIRST, detect::ahead(&mut io)).await {
        Ok(Sniff::Http1) => Version::Http1,
        Ok(Sniff::Http2) => Version::Http2,
        Ok(_) | Err(_) => {
            let series = worker.shard.tcp(labels(&outbound, RequestProtocol::Tcp));
            series.opened();
            series.closed(FLAG);
            return io.reset_on_close();
        }
    };
    http::serve(outbound, io, version).await;
}

/// What a request there is told.
pub(super) fn failure(outbound: &Outbound) -> Failure {
    let destination = outbound.destination;
    let view = outbound.worker.view();
    let address = view
        .snapshot
        .addresses
        .get(&destination.ip().to_canonical());
    let text = match address.map(|address| &**address) {
        Some(Address::Hidden(hidden)) => format!(
            "{destination} is service {}, which {} hides from this pod, and its outbound policy is \
             REGISTRY_ONLY: add {} to the hosts of its egress",
            hidden.service, hidden.by, hidden.host
        ),
        _ => format!(
            "{destination} is outside the mesh's registry, and this pod's outbound policy is \
             REGISTRY_ONLY: add a ServiceEntry for it, or allow any destination"
        ),
    };
    Failure::new(FLAG, StatusCode::BAD_GATEWAY, text)
}

/// Where such requests are counted.
pub(super) fn series(outbound: &Outbound, grpc: bool) -> HttpSeries {
    let protocol = match grpc {
        true => RequestProtocol::Grpc,
        false => RequestProtocol::Http,
    };
    outbound.worker.shard.http(labels(outbound, protocol))
}

/// Under Istio's name for it.
fn labels(outbound: &Outbound, protocol: RequestProtocol) -> Labels {
    let worker = &outbound.worker;
    Labels {
        reporter: Reporter::Source,
        source: worker.own_peer(&worker.view()),
        destination: Arc::<Peer>::default(),
        service: Arc::new(Service {
            host: "BlackHoleCluster".into(),
            name: "BlackHoleCluster".into(),
            namespace: String::new(),
        }),
        protocol,
        security: Security::Unknown,
    }
}
