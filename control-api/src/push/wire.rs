//! Discovery's protobuf types to the state machine's and back. Bounds what a peer may send.

use std::sync::Arc;

use heddle_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource},
    mesh::{ResourceError, type_url},
};
use prost::Message;
use prost_types::Any;

use super::state::{Kind, Nack, Request, Response};

/// Longest reason that is kept of a NACK, in bytes.
const MAX_REASON: usize = 512;

/// Refused resources that are read of a NACK.
const MAX_REFUSED: usize = 10_000;

/// None: a type that is not ours.
pub(super) fn request(message: DeltaDiscoveryRequest) -> Option<Request> {
    let nack = message.error_detail.map(|status| {
        let errors = status
            .details
            .iter()
            .take(MAX_REFUSED)
            .filter_map(|any| ResourceError::decode(&*any.value).ok());
        Nack {
            message: shorten(&status.message),
            resources: errors
                .map(|error| (shorten(&error.name), shorten(&error.reason)))
                .collect(),
        }
    });
    Some(Request {
        kind: kind(&message.type_url)?,
        subscribe: message.resource_names_subscribe,
        unsubscribe: message.resource_names_unsubscribe,
        initial: message.initial_resource_versions.into_iter().collect(),
        nonce: message.response_nonce,
        nack,
    })
}

pub(super) fn response(response: Response, model: u64) -> DeltaDiscoveryResponse {
    let url = url(response.kind);
    let resource = |(name, encoded): (Arc<str>, Arc<crate::model::Encoded>)| Resource {
        version: encoded.version.to_string(),
        resource: Some(Any {
            type_url: url.to_owned(),
            value: encoded.body.to_vec(),
        }),
        name: name.to_string(),
        aliases: Vec::new(),
    };
    DeltaDiscoveryResponse {
        system_version_info: model.to_string(),
        resources: response.resources.into_iter().map(resource).collect(),
        type_url: url.to_owned(),
        nonce: response.nonce,
        removed_resources: response
            .removed
            .iter()
            .map(|name| name.to_string())
            .collect(),
    }
}

/// The type URL of a type.
pub fn url(kind: Kind) -> &'static str {
    match kind {
        Kind::Endpoints => type_url::ENDPOINTS,
        Kind::Service => type_url::SERVICE,
        Kind::Routes => type_url::ROUTE_TABLE,
        Kind::Address => type_url::ADDRESS,
        Kind::Workload => type_url::WORKLOAD,
        Kind::Trust => type_url::TRUST_BUNDLE,
        Kind::Telemetry => type_url::TELEMETRY,
        Kind::DnsName => type_url::DNS_NAME,
    }
}

fn kind(type_url: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| url(*kind) == type_url)
}

fn shorten(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
