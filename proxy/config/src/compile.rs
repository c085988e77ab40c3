//! Wire to domain, once, at the edge.
//!
//! Each resource converts whole or is refused with the field and the reason; nothing here panics,
//! whatever the bytes. What a name or a number may be is decided here, so that the data path need
//! not ask again: ports fit, weights add up to something, indexes are in range, patterns compile.

mod endpoints;
mod names;
mod policy;
mod refusal;
mod routes;
mod service;
mod telemetry;
mod workload;

use std::net::IpAddr;
use std::sync::Arc;

use heddle_proto::mesh;
use prost::Message;

use crate::kind::Kind;
use crate::names::{DnsName, HostName};
use crate::snapshot::{
    Address, Endpoints, Hidden, Name, Port, Protocol, RouteTable, Service, Telemetry, Workload,
};
pub use endpoints::HostEndpoint;
pub(crate) use names::host_name;
pub use refusal::{Problem, Refusal};

/// A converted resource.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// What an IP stands for.
    Address(IpAddr, Address),
    /// A service.
    Service(Name, Service),
    /// Endpoints of a service: those that are addresses, and those that are hosts.
    Endpoints(Name, Endpoints, Vec<HostEndpoint>),
    /// Routes of a service.
    Routes(Name, RouteTable),
    /// The own pod.
    Workload(Workload),
    /// Roots of the trust domain, DER.
    Roots(Vec<Vec<u8>>),
    /// How much to trace.
    Telemetry(Telemetry),
    /// What a host name stands for.
    Name(HostName, DnsName),
}

/// Decodes and converts a resource.
///
/// # Errors
/// When it is refused: which field, and why.
pub fn compile(kind: Kind, name: &str, bytes: &[u8]) -> Result<Compiled, Refusal> {
    Ok(match kind {
        Kind::Address => {
            Compiled::Address(address_name(name)?, endpoints::address(decode(bytes)?)?)
        }
        Kind::Service => {
            Compiled::Service(object_name(name)?, service::service(name, decode(bytes)?)?)
        }
        Kind::Endpoints => {
            let (addresses, hosts) = endpoints::endpoints(decode(bytes)?)?;
            Compiled::Endpoints(object_name(name)?, addresses, hosts)
        }
        Kind::RouteTable => Compiled::Routes(object_name(name)?, routes::table(decode(bytes)?)?),
        Kind::Workload => Compiled::Workload(workload::workload(name, decode(bytes)?)?),
        Kind::TrustBundle => Compiled::Roots(telemetry::roots(decode(bytes)?)?),
        Kind::Telemetry => Compiled::Telemetry(telemetry::telemetry(decode(bytes)?)?),
        Kind::DnsName => Compiled::Name(host_name(name)?, names::dns_name(decode(bytes)?)?),
    })
}

/// Parses the name of an address: canonical text, so that one IP has one name.
pub(crate) fn address_name(name: &str) -> Result<IpAddr, Refusal> {
    name.parse::<IpAddr>()
        .ok()
        .filter(|ip| ip.to_canonical().to_string() == name)
        .ok_or_else(|| {
            Problem::ResourceName {
                name: name.to_owned(),
                want: "an IP in canonical form",
            }
            .into()
        })
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Refusal> {
    M::decode(bytes).map_err(|error| Problem::Undecodable(error.to_string()).into())
}

/// Checks a `NAMESPACE/NAME`.
fn object_name(name: &str) -> Result<Name, Refusal> {
    match name.split_once('/') {
        Some((namespace, rest))
            if !namespace.is_empty() && !rest.is_empty() && !rest.contains('/') =>
        {
            Ok(Name::new(name))
        }
        _ => Err(Problem::ObjectName(name.to_owned()).into()),
    }
}

/// An optional `NAMESPACE/NAME`, empty when absent.
fn optional_name(name: &str) -> Result<Option<Name>, Refusal> {
    (!name.is_empty()).then(|| object_name(name)).transpose()
}

/// A port number, 1 to 65535.
fn port_number(number: u32) -> Result<u16, Refusal> {
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Problem::Port(number).into())
}

/// A port number where 0 means none.
fn optional_port(number: u32) -> Result<Option<u16>, Refusal> {
    (number != 0).then(|| port_number(number)).transpose()
}

fn port(port: mesh::Port) -> Result<Port, Refusal> {
    Ok(Port {
        number: port_number(port.number).map_err(|refusal| refusal.within("number"))?,
        name: Arc::from(port.name),
        protocol: protocol(port.protocol).map_err(|refusal| refusal.within("protocol"))?,
    })
}

fn ports(list: Vec<mesh::Port>, field: &str) -> Result<Vec<Port>, Refusal> {
    each(list, field, port)
}

fn protocol(number: i32) -> Result<Protocol, Refusal> {
    use mesh::Protocol as Wire;
    Ok(
        match Wire::try_from(number).map_err(|_| Problem::Enum {
            number,
            of: "Protocol",
        })? {
            Wire::Unspecified => Protocol::Detect,
            Wire::Http1 => Protocol::Http1,
            Wire::Http2 => Protocol::Http2,
            Wire::Grpc => Protocol::Grpc,
            Wire::Tcp => Protocol::Tcp,
            Wire::Tls => Protocol::Tls,
        },
    )
}

fn hidden(hidden: Option<mesh::Hidden>) -> Result<Option<Arc<Hidden>>, Refusal> {
    let one = |hidden: mesh::Hidden| -> Result<_, Refusal> {
        Ok(Arc::new(Hidden {
            service: object_name(&hidden.service)?,
            host: hidden.host.into(),
            by: hidden.by.into(),
        }))
    };
    let hidden = hidden.map(one).transpose();
    hidden.map_err(|refusal| refusal.within("hidden"))
}

fn spiffe_id(id: &str) -> Result<heddle_identity::SpiffeId, Refusal> {
    id.parse().map_err(|error| {
        Problem::SpiffeId {
            id: id.to_owned(),
            reason: format!("{error}"),
        }
        .into()
    })
}

/// Converts a list; a refusal names the element.
fn each<T, U>(
    list: Vec<T>,
    field: &str,
    convert: impl Fn(T) -> Result<U, Refusal>,
) -> Result<Vec<U>, Refusal> {
    // Kept for long and in great numbers, most with one element: no room to spare.
    let mut converted = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let item = convert(item);
        converted.push(item.map_err(|refusal| refusal.within(format!("{field}[{index}]")))?);
    }
    Ok(converted)
}
