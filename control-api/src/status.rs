//! What operators ask: proxies and how they are doing, what was refused and why. Served on the admin
//! listener only, which is this machine's.

use std::sync::Arc;

use heddle_proto::admin::{
    Nack, Proxy, Refused, RouteStatus, RoutesRequest, RoutesResponse, StatusRequest,
    StatusResponse,
    control_plane_server::{ControlPlane, ControlPlaneServer},
};
use tonic::{Request, Response, Status};

use crate::{
    model::Model,
    push::{
        Hub,
        hub::{ProxyStatus, type_url},
    },
    source::Refusal,
};

/// The admin service.
#[derive(Clone)]
pub struct Admin {
    hub: Arc<Hub>,
}

impl Admin {
    /// Tells about `hub`.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// As a tonic service.
    pub fn into_server(self) -> ControlPlaneServer<Self> {
        ControlPlaneServer::new(self)
    }
}

#[tonic::async_trait]
impl ControlPlane for Admin {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let model = self.hub.model();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Response::new(StatusResponse {
            proxies: self.hub.proxies().into_iter().map(proxy).collect(),
            refused: self.hub.refusals().into_iter().map(refused).collect(),
            model_version: model.version,
            services: count(model.service_count()),
            endpoints: count(model.endpoint_count()),
        }))
    }

    async fn routes(&self, _: Request<RoutesRequest>) -> Result<Response<RoutesResponse>, Status> {
        let routes = routes(&self.hub.model());
        Ok(Response::new(RoutesResponse { routes }))
    }
}

fn routes(model: &Model) -> Vec<RouteStatus> {
    let told = model.route_statuses().filter_map(|(key, status)| {
        Some(RouteStatus {
            kind: key.kind.to_string(),
            namespace: key.name.namespace().to_owned(),
            name: key.name.name().to_owned(),
            status: serde_json::to_string(&status).ok()?,
        })
    });
    told.collect()
}

fn proxy(status: ProxyStatus) -> Proxy {
    let nack = |(kind, name, reason): (_, Arc<str>, _)| Nack {
        type_url: type_url(kind).to_owned(),
        name: name.to_string(),
        reason,
    };
    Proxy {
        namespace: status.node.namespace().to_owned(),
        pod: status.node.name().to_owned(),
        identity: status.identity,
        config_version: status.summary.model.to_string(),
        synced: status.summary.synced,
        nacks: status.summary.nacks.into_iter().map(nack).collect(),
        connected_unix: status.since,
        resources: u32::try_from(status.summary.resources).unwrap_or(u32::MAX),
    }
}

fn refused(refusal: Refusal) -> Refused {
    Refused {
        kind: refusal.kind,
        namespace: refusal.namespace,
        name: refusal.name,
        file: refusal.file,
        line: refusal.at.line,
        column: refusal.at.column,
        reason: refusal.reason,
        suggestion: refusal.suggestion,
        code: refusal.code.to_string(),
        severity: refusal.severity.to_string(),
        consequence: refusal.consequence,
    }
}
