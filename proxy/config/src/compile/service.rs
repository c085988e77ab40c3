//! Services.

use std::sync::Arc;

use heddle_proto::mesh;

use super::policy::scoped;
use super::{Problem, Refusal, each, object_name, ports};
use crate::snapshot::{Resolution, Service};

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
        policies: each(service.policies, "policies", scoped)?,
        resolution: resolution(service.resolution)
            .map_err(|refusal| refusal.within("resolution"))?,
    })
}

fn resolution(number: i32) -> Result<Resolution, Refusal> {
    use mesh::Resolution as Wire;
    Ok(
        match Wire::try_from(number).map_err(|_| Problem::Enum {
            number,
            of: "Resolution",
        })? {
            Wire::Unspecified => Resolution::Listed,
            Wire::Dns => Resolution::Dns,
            Wire::None => Resolution::Called,
        },
    )
}
