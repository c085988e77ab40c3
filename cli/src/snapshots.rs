//! What the sidecar of a pod would hold, of a model: the resources that the control plane would send
//! it, read and compiled as a sidecar does. So what is decided of files is what a mesh would decide.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use heddle_control::model::{Client, Model};
use heddle_control::name::NsName;
use heddle_proxy_config::compile::{Compiled, HostEndpoint, compile};
use heddle_proxy_config::decision::{
    Admission, AskedInbound, Decision, Ejected, Hidden, Outcome as Fate, Question, admit, decide,
};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::names::DnsName;
use heddle_proxy_config::snapshot::{Endpoint, Endpoints, Name, Snapshot};

use crate::failure::{Failure, Outcome};

/// The address of an endpoint that is a name.
pub(crate) const UNRESOLVED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A pod that asks.
pub(crate) struct Asker {
    pub(crate) name: NsName,
    pub(crate) meshed: bool,
    client: Client,
}

impl Asker {
    /// The pod that is meant, or a pod of the workload that is.
    pub(crate) fn find(model: &Model, namespace: &str, pod: &str) -> Outcome<Self> {
        let none = || {
            Failure::new(format!(
                "there is no pod {namespace}/{pod}, nor a workload of that name"
            ))
            .advise("name a pod or a Deployment as NAMESPACE/NAME")
        };
        let asked = NsName::new(namespace, pod).ok_or_else(none)?;
        let exact = model.pod(&asked).map(|_| &asked);
        let of_workload = || {
            let of_workload = model.pod_names().filter(|known| {
                let rest = known.name().strip_prefix(pod);
                known.namespace() == namespace && rest.is_some_and(|rest| rest.starts_with('-'))
            });
            of_workload.min()
        };
        let name = exact.or_else(of_workload).ok_or_else(none)?;
        let found = model.pod(name).ok_or_else(none)?;
        Ok(Self {
            name: name.clone(),
            meshed: found.meshed,
            client: Client {
                namespace: name.namespace().into(),
                labels: found.labels.clone(),
            },
        })
    }
}

/// Decides a request of a pod's, and whether those that it may reach let it in.
pub(crate) fn explain(
    model: &Model,
    asker: &Asker,
    host: &str,
    port: u16,
    question: &Question,
) -> Outcome<Decision> {
    let Some(ip) = address(model, host, asker) else {
        let hidden = match named(model, host, asker) {
            Some(DnsName::Hidden(hidden)) => Some(Hidden::from(&*hidden)),
            _ => None,
        };
        return Ok(Decision {
            pod: asker.name.to_string(),
            called: format!("{host}:{port}"),
            hidden,
            outcome: Fate::NoSuchName,
            ..Decision::default()
        });
    };
    let snapshot = snapshot(model, asker, ip)?;
    let called = SocketAddr::new(ip, port);
    Ok(decide(&snapshot, called, question, &Ejected::new()))
}

/// What the sidecar of a server does with a connection; `None`: it has none.
pub(crate) fn admission(
    model: &Model,
    pod: &str,
    asked: AskedInbound,
) -> Outcome<Option<Admission>> {
    let Some(name) = NsName::parse(pod).filter(|n| model.pod(n).is_some_and(|pod| pod.meshed))
    else {
        return Ok(None);
    };
    let mut snapshot = Snapshot::default();
    workload(model, &name, &mut snapshot)?;
    Ok(Some(admit(&snapshot, asked)))
}

/// What a host stands for, as the pod's sidecar would answer its resolver.
pub(crate) fn address(model: &Model, host: &str, asker: &Asker) -> Option<IpAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let address = |host: &str| match named(model, host, asker) {
        Some(DnsName::Addresses { ips, .. }) => ips.first().copied(),
        _ => None,
    };
    // A resolver looks in the pod's own namespace too: `db-0.db` is a pod of the headless service `db` there.
    let searched = || address(&format!("{host}.{}", asker.name.namespace()));
    address(host).or_else(|| searched().filter(|_| host.contains('.') && !host.ends_with('.')))
}

/// What the pod's sidecar knows of a name; `None`: it is no name at all.
fn named(model: &Model, host: &str, asker: &Asker) -> Option<DnsName> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let body = model.dns_name(&name, &asker.client).body;
    match compile(Kind::DnsName, &name, &body) {
        Ok(Compiled::Name(_, named)) => Some(named),
        _ => None,
    }
}

/// What the pod's sidecar holds once it has asked for an address.
pub(crate) fn snapshot(model: &Model, asker: &Asker, ip: IpAddr) -> Outcome<Snapshot> {
    let client = &asker.client;
    let mut snapshot = Snapshot::default();
    workload(model, &asker.name, &mut snapshot)?;
    let (name, body) = (ip.to_string(), model.address(ip, client).body);
    if let Compiled::Address(ip, address) = read(Kind::Address, &name, &body)? {
        snapshot.addresses.insert(ip, Arc::new(address));
    }
    let mut open: Vec<NsName> = model.services_behind(ip, client).into();
    let mut reached = BTreeSet::new();
    while let Some(service) = open.pop() {
        if !reached.insert(service.clone()) {
            continue;
        }
        let name = Name::new(service.as_str());
        if let Some(encoded) = model.endpoints(&service, client)
            && let Compiled::Endpoints(_, endpoints, hosts) =
                read(Kind::Endpoints, service.as_str(), &encoded.body)?
        {
            let endpoints = with_hosts(endpoints, hosts);
            snapshot.endpoints.insert(name.clone(), Arc::new(endpoints));
        }
        if let Some(encoded) = model.service_resource(&service, client)
            && let Compiled::Service(_, known) =
                read(Kind::Service, service.as_str(), &encoded.body)?
        {
            snapshot.services.insert(name.clone(), Arc::new(known));
        }
        if let Some(view) = model.route_table(&service, client) {
            let body = &view.encoded.body;
            if let Compiled::Routes(_, table) = read(Kind::RouteTable, service.as_str(), body)? {
                snapshot.routes.insert(name, Arc::new(table));
            }
            open.extend(view.names.iter().cloned());
        }
    }
    Ok(snapshot)
}

/// Endpoints that are names, each as one: what they stand for is asked where a pod runs.
fn with_hosts(mut endpoints: Endpoints, hosts: Vec<HostEndpoint>) -> Endpoints {
    let unresolved = hosts.into_iter().map(|one| Endpoint {
        ip: UNRESOLVED,
        workload: Name::new(one.host.as_str()),
        ..one.like
    });
    endpoints.endpoints.extend(unresolved.map(Arc::new));
    endpoints
}

fn workload(model: &Model, name: &NsName, snapshot: &mut Snapshot) -> Outcome {
    if let Some(encoded) = model.workload(name)
        && let Compiled::Workload(own) = read(Kind::Workload, name.as_str(), &encoded.body)?
    {
        snapshot.workload = Some(Arc::new(own));
    }
    Ok(())
}

/// A resource as the sidecar reads it.
fn read(kind: Kind, name: &str, body: &[u8]) -> Outcome<Compiled> {
    compile(kind, name, body).map_err(|refusal| {
        Failure::new(format!("a sidecar would refuse the {kind} {name}")).because(&refusal)
    })
}
