//! The own pod.

use std::collections::HashMap;
use std::sync::Arc;

use heddle_proto::mesh;

use super::{Problem, Refusal, object_name, optional_name, port_number, protocol, spiffe_id};
use crate::snapshot::{InboundPort, Locality, MtlsMode, Workload};

pub(super) fn workload(name: &str, workload: mesh::Workload) -> Result<Workload, Refusal> {
    let says = format!("{}/{}", workload.namespace, workload.name);
    if says != name {
        return Err(Problem::OtherName {
            name: name.to_owned(),
            says,
        }
        .into());
    }
    let mut ports = HashMap::with_capacity(workload.ports.len());
    let mut port_mtls_origins = HashMap::new();
    for (index, port) in workload.ports.into_iter().enumerate() {
        let at = |refusal: Refusal| refusal.within(format!("ports[{index}]"));
        let origin: Option<Arc<str>> =
            (port.mtls_origin != workload.mtls_origin).then(|| Arc::from(&*port.mtls_origin));
        let (number, port) = inbound_port(port).map_err(at)?;
        port_mtls_origins.extend(origin.map(|origin| (number, origin)));
        if ports.insert(number, port).is_some() {
            return Err(at(Problem::DuplicatePort(number).into()));
        }
    }
    let label = |key: &str| Arc::from(workload.labels.get(key).map_or("", String::as_str));
    Ok(Workload {
        name: object_name(name)?,
        identity: spiffe_id(&workload.identity).map_err(|refusal| refusal.within("identity"))?,
        ports,
        mtls: mtls(workload.mtls).map_err(|refusal| refusal.within("mtls"))?,
        mtls_origin: Arc::from(workload.mtls_origin),
        port_mtls_origins,
        app: label("app"),
        version: label("version"),
        owner: Arc::from(workload.owner),
        locality: Locality::new(workload.locality),
        priority_labels: workload
            .priority_labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
        registry_only: registry_only(workload.outbound)
            .map_err(|refusal| refusal.within("outbound"))?,
    })
}

/// Whether connections to addresses that the mesh does not know are refused.
fn registry_only(number: i32) -> Result<bool, Refusal> {
    use mesh::OutboundPolicy as Wire;
    let known = Wire::try_from(number).map_err(|_| Problem::Enum {
        number,
        of: "OutboundPolicy",
    })?;
    Ok(known == Wire::RegistryOnly)
}

fn inbound_port(port: mesh::InboundPort) -> Result<(u16, InboundPort), Refusal> {
    let number = port_number(port.number).map_err(|refusal| refusal.within("number"))?;
    let compiled = InboundPort {
        protocol: protocol(port.protocol).map_err(|refusal| refusal.within("protocol"))?,
        mtls: mtls(port.mtls).map_err(|refusal| refusal.within("mtls"))?,
        service: optional_name(&port.service).map_err(|refusal| refusal.within("service"))?,
    };
    Ok((number, compiled))
}

/// Unspecified is the mesh's default, permissive.
fn mtls(number: i32) -> Result<MtlsMode, Refusal> {
    use mesh::MtlsMode as Wire;
    Ok(
        match Wire::try_from(number).map_err(|_| Problem::Enum {
            number,
            of: "MtlsMode",
        })? {
            Wire::Unspecified | Wire::Permissive => MtlsMode::Permissive,
            Wire::Strict => MtlsMode::Strict,
            Wire::Disable => MtlsMode::Disable,
        },
    )
}
