//! Services.

use std::sync::Arc;

use heddle_proto::mesh;

use super::{Problem, Refusal, object_name, ports};
use crate::snapshot::Service;

pub(super) fn service(name: &str, service: mesh::Service) -> Result<Service, Refusal> {
    let says = format!("{}/{}", service.namespace, service.name);
    if says != name {
        return Err(Problem::OtherName {
            name: name.to_owned(),
            says,
        }
        .into());
    }
    Ok(Service {
        name: object_name(name)?,
        hosts: service.hosts.into_iter().map(Arc::from).collect(),
        ports: ports(service.ports, "ports")?,
    })
}
