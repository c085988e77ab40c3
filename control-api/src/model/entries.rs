//! Services of ServiceEntries: who sees them, and their listed endpoints. Those outside of the mesh are
//! plain, whatever is at their addresses.

use std::collections::BTreeSet;

use heddle_identity::SpiffeId;
use heddle_proto::mesh::{Endpoint, Resolution};

use super::{Model, hosts::Host, hosts::is_external, workload::shown_of};
use crate::{
    name::NsName,
    resources::{
        export::closeness,
        labels::Labels,
        service::{Entry, EntryAddress, EntryEndpoint, Resolved, Service, TargetPort},
    },
};

impl Model {
    /// The service that a host names, as a resource in `namespace` means it. A cluster's name is that
    /// of a service whether there is one or not.
    pub(super) fn named(&self, host: &str, namespace: &str) -> Option<NsName> {
        match self.hosts().resolve(host, namespace) {
            Host::Service(name) => Some(name),
            Host::External(host) => self.external(&host, namespace),
            Host::Pattern(_) => None,
        }
    }

    /// The service of this host outside of the cluster that a namespace sees; its own first.
    pub(super) fn external(&self, host: &str, namespace: &str) -> Option<NsName> {
        let services = self.externals.get(host)?.iter();
        let visible = services.filter(|name| self.is_visible(name, namespace));
        visible
            .min_by(|a, b| self.claim(a, namespace).cmp(&self.claim(b, namespace)))
            .cloned()
    }

    /// Who wins where several services are told by the same thing: those of the client's own
    /// namespace, then the oldest, so that nobody takes over what another has had.
    pub(super) fn claim<'a>(
        &'a self,
        service: &'a NsName,
        namespace: &str,
    ) -> (bool, (i64, &'a NsName)) {
        let known = self.services.get(service);
        let seniority = known.map_or((i64::MAX, service), |known| known.object.seniority());
        (service.namespace() != namespace, seniority)
    }

    /// Whether clients in a namespace may know of a service.
    pub(super) fn is_visible(&self, service: &NsName, namespace: &str) -> bool {
        if !is_external(service) {
            return true;
        }
        let entry = self.service(service).and_then(|known| known.entry.as_ref());
        entry.is_some_and(|entry| {
            closeness(&entry.export_to, service.namespace(), namespace).is_some()
        })
    }

    /// The endpoints that an entry lists.
    pub(super) fn listed(
        &self,
        name: &NsName,
        service: &Service,
        entry: &Entry,
        subsets: &[(&str, Labels)],
        priorities: &BTreeSet<&str>,
    ) -> Vec<Endpoint> {
        let one = |endpoint: &EntryEndpoint| {
            self.one(name, service, entry, endpoint, subsets, priorities)
        };
        entry.endpoints.iter().map(one).collect()
    }

    fn one(
        &self,
        name: &NsName,
        service: &Service,
        entry: &Entry,
        endpoint: &EntryEndpoint,
        subsets: &[(&str, Labels)],
        priorities: &BTreeSet<&str>,
    ) -> Endpoint {
        let target_ports = service.ports.iter().map(|port| {
            let own = endpoint.ports.iter().find(|(name, _)| *name == port.name);
            let target = match port.target {
                TargetPort::Number(number) => number,
                TargetPort::Name(_) => port.number,
            };
            own.map_or(target, |(_, number)| *number).into()
        });
        let within = subsets
            .iter()
            .enumerate()
            .filter(|(_, (_, labels))| endpoint.labels.has_all(labels));
        let mut wire = Endpoint {
            target_ports: target_ports.collect(),
            subsets: within
                .filter_map(|(index, _)| u32::try_from(index).ok())
                .collect(),
            labels: shown_of(&endpoint.labels),
            locality: endpoint.locality.as_ref().into(),
            weight: endpoint.weight,
            priority_labels: self.priority_labels(&endpoint.labels, &endpoint.locality, priorities),
            ..Endpoint::default()
        };
        match &endpoint.address {
            EntryAddress::Ip(ip) => {
                wire.address = ip.to_string();
                let pod = self.pod_at(*ip).filter(|_| entry.is_internal);
                if let Some((pod_name, pod)) = pod.and_then(|name| Some((name, self.pod(name)?))) {
                    wire.identity = self.expected_identity(pod_name.namespace(), pod);
                    wire.plain_ports = self.plain_ports(pod_name.namespace(), pod);
                    wire.workload = pod_name.to_string();
                    wire.owner = pod.owner.as_ref().into();
                }
            }
            EntryAddress::Name(host) => wire.host = host.as_ref().into(),
        }
        if entry.is_internal && wire.workload.is_empty() && !endpoint.service_account.is_empty() {
            let (domain, account) = (&self.settings.trust_domain, &endpoint.service_account);
            let id = SpiffeId::for_service_account(domain, name.namespace(), account);
            wire.identity = id.map(|id| id.as_str().to_owned()).unwrap_or_default();
        }
        wire
    }
}

/// Where the endpoints of a service come from.
pub(super) fn resolution(service: &Service) -> Resolution {
    match service.entry.as_ref().map(|entry| entry.resolved) {
        None | Some(Resolved::Listed) => Resolution::Unspecified,
        Some(Resolved::Names) => Resolution::Dns,
        Some(Resolved::Called) => Resolution::None,
    }
}
