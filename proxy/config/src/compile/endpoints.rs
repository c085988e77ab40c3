//! Addresses and endpoints. Texts that repeat over many endpoints (labels, identities) are kept once.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use heddle_identity::SpiffeId;
use heddle_proto::mesh;

use super::{
    Problem, Refusal, each, hidden, host_name, object_name, optional_port, port_number, ports,
    spiffe_id,
};
use crate::names::HostName;
use crate::snapshot::{Address, Endpoint, Endpoints, Headless, Locality, Name, Placement, Pod};

/// An endpoint whose addresses a host name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEndpoint {
    /// The name to resolve.
    pub host: HostName,
    /// What it is, but for the address.
    pub like: Endpoint,
}

/// What repeats within one resource.
#[derive(Default)]
struct Shared {
    texts: HashMap<String, Arc<str>>,
    identities: HashMap<String, SpiffeId>,
}

impl Shared {
    fn text(&mut self, text: Option<&String>) -> Arc<str> {
        let text = text.map_or("", String::as_str);
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(text.to_owned(), new.clone());
        new
    }

    fn labels(&mut self, labels: BTreeMap<String, String>) -> Vec<(Arc<str>, Arc<str>)> {
        let shared = |(key, value)| (self.text(Some(key)), self.text(Some(value)));
        labels.iter().map(shared).collect()
    }

    fn identity(&mut self, id: &str) -> Result<Option<SpiffeId>, Refusal> {
        if id.is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.identities.get(id) {
            return Ok(Some(known.clone()));
        }
        let new = spiffe_id(id).map_err(|refusal| refusal.within("identity"))?;
        self.identities.insert(id.to_owned(), new.clone());
        Ok(Some(new))
    }
}

/// Whether it is going away.
fn health(number: i32) -> Result<bool, Refusal> {
    let known = mesh::Health::try_from(number).map_err(|_| Problem::Enum {
        number,
        of: "Health",
    })?;
    Ok(known == mesh::Health::Draining)
}

pub(super) fn address(address: mesh::Address) -> Result<Address, Refusal> {
    use mesh::address::Kind;
    Ok(
        match address
            .kind
            .ok_or_else(|| Refusal::from(Problem::Missing).within("kind"))?
        {
            Kind::Service(name) => {
                Address::Service(object_name(&name).map_err(|refusal| refusal.within("service"))?)
            }
            Kind::Workload(workload) => {
                // A pod is called on its own ports; there is no service whose ports or subsets these
                // lists could run parallel to.
                let workload = mesh::Endpoint {
                    target_ports: Vec::new(),
                    subsets: Vec::new(),
                    ..workload
                };
                let endpoint = endpoint(workload, 0, 0, &mut Shared::default());
                let endpoint = endpoint.map_err(|refusal| refusal.within("workload"))?;
                Address::Workload(Arc::new(Pod {
                    endpoint: Arc::new(endpoint),
                    ports: ports(address.workload_ports, "workload_ports")?,
                    headless: each(address.headless, "headless", headless)?.into(),
                    hidden: hidden(address.hidden)?,
                }))
            }
            Kind::Unknown(mesh::Unknown {}) => {
                hidden(address.hidden)?.map_or(Address::Unknown, Address::Hidden)
            }
        },
    )
}

fn headless(wire: mesh::Headless) -> Result<Headless, Refusal> {
    let port = |number, field| port_number(number).map_err(|refusal| refusal.within(field));
    Ok(Headless {
        number: port(wire.number, "number")?,
        service: object_name(&wire.service).map_err(|refusal| refusal.within("service"))?,
        port: port(wire.service_port, "service_port")?,
        target: port(wire.target_port, "target_port")?,
        only: wire.only,
        own: wire.own,
    })
}

pub(super) fn endpoints(
    endpoints: mesh::Endpoints,
) -> Result<(Endpoints, Vec<HostEndpoint>), Refusal> {
    let service_ports = each(endpoints.service_ports, "service_ports", port_number)?;
    let subset_names: Vec<Arc<str>> = endpoints.subset_names.into_iter().map(Arc::from).collect();
    let mut shared = Shared::default();
    let mut hosts = Vec::new();
    let mut addresses = Vec::with_capacity(endpoints.endpoints.len());
    for (index, mut wire) in endpoints.endpoints.into_iter().enumerate() {
        let at = |refusal: Refusal| refusal.within(format!("endpoints[{index}]"));
        let host = host(&mut wire).map_err(at)?;
        let like = endpoint(wire, service_ports.len(), subset_names.len(), &mut shared);
        let like = like.map_err(at)?;
        match host {
            Some(host) => hosts.push(HostEndpoint { host, like }),
            None => addresses.push(Arc::new(like)),
        }
    }
    let addresses = Endpoints {
        service_ports,
        subset_names,
        endpoints: addresses,
    };
    Ok((addresses, hosts))
}

/// The name that stands in place of an address, which is then none; a host may be an address too.
fn host(wire: &mut mesh::Endpoint) -> Result<Option<HostName>, Refusal> {
    if !wire.address.is_empty() || wire.host.is_empty() {
        return Ok(None);
    }
    if wire.host.parse::<IpAddr>().is_ok() {
        wire.address = std::mem::take(&mut wire.host);
        return Ok(None);
    }
    wire.address = Ipv4Addr::UNSPECIFIED.to_string();
    let name = wire.host.trim_end_matches('.').to_ascii_lowercase();
    match host_name(&name) {
        Ok(host) => Ok(Some(host)),
        Err(refusal) => Err(refusal.within("host")),
    }
}

fn endpoint(
    wire: mesh::Endpoint,
    ports: usize,
    subsets: usize,
    shared: &mut Shared,
) -> Result<Endpoint, Refusal> {
    if wire.target_ports.len() > ports {
        return Err(
            Refusal::from(Problem::TooManyPorts(wire.target_ports.len(), ports))
                .within("target_ports"),
        );
    }
    let ip: std::net::IpAddr = wire
        .address
        .parse()
        .map_err(|_| Refusal::from(Problem::Ip(wire.address.clone())).within("address"))?;
    let mut target_ports = each(wire.target_ports, "target_ports", optional_port)?;
    target_ports.resize(ports, None);
    let subset = |index: u32| match usize::try_from(index) {
        Ok(position) if position < subsets => Ok(position),
        _ => Err(Problem::SubsetIndex(index, subsets).into()),
    };
    Ok(Endpoint {
        ip: ip.to_canonical(),
        target_ports,
        subsets: each(wire.subsets, "subsets", subset)?,
        identity: shared.identity(&wire.identity)?,
        plain_ports: each(wire.plain_ports, "plain_ports", port_number)?.into(),
        workload: Name::new(wire.workload),
        app: shared.text(wire.labels.get("app")),
        version: shared.text(wire.labels.get("version")),
        owner: shared.text(Some(&wire.owner)),
        placement: Placement {
            locality: Locality::new(shared.text(Some(&wire.locality))),
            weight: wire.weight.max(1),
            draining: health(wire.health).map_err(|refusal| refusal.within("health"))?,
            priority_labels: shared.labels(wire.priority_labels),
        },
    })
}
