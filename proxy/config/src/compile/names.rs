//! What host names stand for.

use std::time::Duration;

use heddle_proto::mesh;

use super::{Problem, Refusal, each, hidden};
use crate::names::{DnsName, HostName};

/// Parses the name of a host: as it is asked for, so that one host has one name.
pub(crate) fn host_name(name: &str) -> Result<HostName, Refusal> {
    HostName::new(name).ok_or_else(|| {
        Problem::ResourceName {
            name: name.to_owned(),
            want: "a host name in lower case without its final dot",
        }
        .into()
    })
}

pub(super) fn dns_name(wire: mesh::DnsName) -> Result<DnsName, Refusal> {
    use mesh::dns_name::Kind;
    match wire.kind {
        None => Err(Refusal::from(Problem::Missing).within("kind")),
        Some(Kind::Unknown(mesh::Unknown {})) => {
            Ok(hidden(wire.hidden)?.map_or(DnsName::Unknown, DnsName::Hidden))
        }
        Some(Kind::Addresses(found)) => {
            let ip = |ip: String| match ip.parse::<std::net::IpAddr>() {
                Ok(ip) => Ok(ip.to_canonical()),
                Err(_) => Err(Problem::Ip(ip).into()),
            };
            Ok(DnsName::Addresses {
                ips: each(found.ips, "addresses.ips", ip)?,
                ttl: Duration::from_secs(found.ttl_seconds.into()),
            })
        }
    }
}
