//! Who a proxy may say that it is.

use heddle_identity::SpiffeId;
use tonic::Status;
use tracing::warn;

use crate::{model::Model, name::NsName};

/// Longest NAMESPACE/POD, in bytes.
const MAX_NODE: usize = 63 + 1 + 253;

/// It is logged and shown, so it must look like one.
pub(super) fn pod_name(id: &str) -> Option<NsName> {
    let is_name = id.len() <= MAX_NODE && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| NsName::parse(id)).flatten()
}

/// The certificate must be of the pod's namespace and, once the pod is known, of its service account.
pub(super) fn check_identity(model: &Model, node: &NsName, peer: &SpiffeId) -> Result<(), Status> {
    let refuse = |what: String| {
        warn!(%node, peer = peer.as_str(), "refused a proxy: {what}");
        Err(Status::permission_denied(what))
    };
    let Some((namespace, account)) = peer.service_account() else {
        return refuse(format!(
            "{} is not the identity of a service account",
            peer.as_str()
        ));
    };
    if namespace != node.namespace() {
        return refuse(format!(
            "{} is not of the namespace of {node}",
            peer.as_str()
        ));
    }
    match model.pod(node) {
        Some(pod) if *pod.service_account != *account => refuse(format!(
            "{} is not the identity of {node}, whose service account is {}",
            peer.as_str(),
            pod.service_account
        )),
        _ => Ok(()),
    }
}
