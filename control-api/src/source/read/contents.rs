//! The typed contents of a document whose kind and name are known. What servers fill in is read
//! leniently, what people write strictly.

use std::sync::Arc;

use crate::{
    name::Kind,
    resources::{
        endpoint_slice::SliceDocument,
        gateway::{GrpcRouteSpec, HttpRouteSpec, Route},
        labels::Interner,
        metadata::Metadata,
        node::{self as kept, place},
        pod::PodDocument,
        service::ServiceSpec,
        virtual_service::{STICKY, Sticky, VirtualService},
    },
    source::{
        Resource,
        decode::{Problem, Unknown, decode},
        node::{Node, Position, Value},
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
                .map(|service| Some(Resource::Service(Arc::new(service))))
        }
        Kind::Node => {
            let none = Default::default();
            let labels = interner.labels(metadata.labels.as_ref().unwrap_or(&none));
            let locality = place(&labels).into();
            Ok(Some(Resource::Node(kept::Node { locality })))
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
        Kind::ServiceEntry => checked!(ServiceEntry),
        Kind::DestinationRule => checked!(DestinationRule),
        Kind::VirtualService => {
            let mut routes: Box<VirtualService> = decode(spec, "spec", Unknown::Refuse)?;
            let mut problems = routes.problems();
            if let Some(text) = metadata.annotation(STICKY) {
                match Sticky::parse(text, annotation_at(root)) {
                    Ok(sticky) => routes.sticky = Some(sticky),
                    Err(problem) => problems.push(problem),
                }
            }
            if problems.is_empty() {
                Ok(Some(Resource::VirtualService(routes)))
            } else {
                Err(problems)
            }
        }
        Kind::HttpRoute => {
            let spec: HttpRouteSpec = decode(spec, "spec", Unknown::Refuse)?;
            gateway_route(root, metadata, spec.problems(), || spec.build())
        }
        Kind::GrpcRoute => {
            let spec: GrpcRouteSpec = decode(spec, "spec", Unknown::Refuse)?;
            gateway_route(root, metadata, spec.problems(), || spec.build())
        }
        Kind::PeerAuthentication => checked!(PeerAuthentication),
        Kind::Telemetry => checked!(Telemetry),
        Kind::Sidecar => checked!(Sidecar),
    }
}

fn gateway_route(
    root: &Node,
    metadata: &Metadata,
    mut problems: Vec<Problem>,
    build: impl FnOnce() -> Route,
) -> Result<Option<Resource>, Vec<Problem>> {
    let sticky = metadata.annotation(STICKY);
    let sticky = sticky.map(|text| Sticky::parse(text, annotation_at(root)));
    match sticky.transpose() {
        Ok(sticky) if problems.is_empty() => Ok(Some(Resource::GatewayRoute(Box::new(Route {
            sticky,
            generation: metadata.generation.unwrap_or(0),
            ..build()
        })))),
        Ok(_) => Err(problems),
        Err(problem) => {
            problems.push(problem);
            Err(problems)
        }
    }
}

/// Where the annotation about sticky splits stands.
fn annotation_at(root: &Node) -> Position {
    let annotations = root.get("metadata").and_then(|m| m.get("annotations"));
    let annotation = annotations.and_then(|all| all.get(STICKY));
    annotation.map_or(root.at, |annotation| annotation.at)
}
