//! Between discovery's messages and the store's: a response becomes a push, what was refused of it
//! a NACK. A NACK is bounded, whatever the response was.

use heddle_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use heddle_proto::google::rpc::Status as RpcStatus;
use heddle_proto::mesh::ResourceError;
use prost::Message;

use crate::compile::Problem;
use crate::kind::Kind;
use crate::store::{Push, Raw, Refused};

/// Refused resources that one NACK tells of; the count of all is in its message.
pub(super) const MAX_DETAILS: usize = 256;

/// Longest reason sent or logged, in bytes; a reason quotes what it refuses.
const MAX_REASON: usize = 1024;

/// Code INVALID_ARGUMENT of google.rpc.Status.
const INVALID_ARGUMENT: i32 = 3;

/// Splits a response into what may be applied and what is refused for its type alone: an Any that
/// names another type than its response would decode into nonsense.
pub(super) fn push(kind: Kind, response: DeltaDiscoveryResponse) -> (Push, Vec<Refused>) {
    let mut push = Push {
        kind,
        version: response.system_version_info,
        resources: Vec::with_capacity(response.resources.len()),
        removed: response.removed_resources,
    };
    let mut refused = Vec::new();
    for resource in response.resources {
        let (name, any) = (resource.name, resource.resource.unwrap_or_default());
        if any.type_url == kind.type_url() {
            push.resources.push(Raw {
                name,
                version: resource.version,
                value: any.value,
            });
        } else {
            refused.push(Refused {
                name,
                reason: Problem::UnknownType(any.type_url).to_string(),
            });
        }
    }
    (push, refused)
}

pub(super) fn nack(refused: &[Refused], total: usize) -> RpcStatus {
    let details = refused
        .iter()
        .take(MAX_DETAILS)
        .map(|Refused { name, reason }| prost_types::Any {
            type_url: "type.googleapis.com/heddle.mesh.v1.ResourceError".to_owned(),
            value: ResourceError {
                name: name.clone(),
                reason: shorten(reason).to_owned(),
            }
            .encode_to_vec(),
        });
    RpcStatus {
        code: INVALID_ARGUMENT,
        message: format!("refused {} of {total} resources", refused.len()),
        details: details.collect(),
    }
}

pub(super) fn shorten(reason: &str) -> &str {
    reason
        .get(..reason.floor_char_boundary(MAX_REASON))
        .unwrap_or(reason)
}
