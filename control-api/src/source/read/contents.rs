//! The typed contents of a document whose kind and name are known. What servers fill in is read
//! leniently, what people write strictly.

use crate::{
    name::Kind,
    resources::{
        endpoint_slice::SliceDocument, labels::Interner, metadata::Metadata, pod::PodDocument,
        service::ServiceSpec,
    },
    source::{
        Resource,
        decode::{Problem, Unknown, decode},
        node::{Node, Value},
    },
};

/// None: good, but of no use (an EndpointSlice of no service).
pub(super) fn contents(
    root: &Node,
    kind: Kind,
    namespace: &str,
    metadata: &Metadata,
    interner: &mut Interner,
) -> Result<Option<Resource>, Vec<Problem>> {
    let missing = Node {
        at: root.at,
        value: Value::Map(Vec::new()),
    };
    let spec = match root.get("spec") {
        Some(spec) if !spec.is_null() => spec,
        _ => &missing,
    };
    macro_rules! checked {
        ($variant:ident) => {{
            let spec = decode(spec, "spec", Unknown::Refuse)?;
            let resource = Resource::$variant(spec);
            let Resource::$variant(spec) = &resource else {
                return Ok(None);
            };
            let problems = spec.problems();
            if problems.is_empty() {
                Ok(Some(resource))
            } else {
                Err(problems)
            }
        }};
    }
    match kind {
        Kind::Namespace => Ok(Some(Resource::Namespace)),
        Kind::ServiceAccount => Ok(Some(Resource::ServiceAccount)),
        Kind::NetworkPolicy => Ok(Some(Resource::NetworkPolicy)),
        Kind::Service => {
            let spec: ServiceSpec = decode(spec, "spec", Unknown::Refuse)?;
            spec.build(interner)
                .map(|service| Some(Resource::Service(service)))
        }
        Kind::Pod => {
            let pod: PodDocument = decode(root, "pod", Unknown::Skip)?;
            Ok(Some(Resource::Pod(pod.build(metadata, interner))))
        }
        Kind::EndpointSlice => {
            let slice: SliceDocument = decode(root, "slice", Unknown::Skip)?;
            Ok(slice
                .build(namespace, metadata)
                .map(Resource::EndpointSlice))
        }
        Kind::DestinationRule => checked!(DestinationRule),
        Kind::VirtualService => checked!(VirtualService),
        Kind::PeerAuthentication => checked!(PeerAuthentication),
        Kind::Telemetry => checked!(Telemetry),
    }
}
