//! Putting a compiled resource into the snapshot, and taking one out.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::share::share;
use super::{Answered, Resources, RootsSink, Subscribed};
use crate::compile::{Compiled, Problem};
use crate::kind::Kind;
use crate::names::DnsName;
use crate::snapshot::{Address, Name};

impl Resources {
    pub(super) fn install(
        &mut self,
        compiled: Compiled,
        roots: &RootsSink,
    ) -> Result<Option<Answered>, Problem> {
        let snapshot = &mut self.snapshot;
        match compiled {
            Compiled::Address(ip, address) => {
                share(&mut snapshot.addresses, ip, address);
                return Ok(Some(Answered::Address(ip)));
            }
            Compiled::Service(name, service) => share(&mut snapshot.services, name, service),
            Compiled::Name(name, means) => {
                share(&mut self.names, name.clone(), means);
                return Ok(Some(Answered::Name(name)));
            }
            Compiled::Endpoints(name, addresses, hosts) => {
                self.list_endpoints(name, addresses, hosts);
            }
            Compiled::Routes(name, table) => {
                snapshot.routes.insert(name, Arc::new(table));
            }
            Compiled::Workload(workload) => {
                if snapshot.workload.as_deref() != Some(&workload) {
                    snapshot.workload = Some(Arc::new(workload));
                }
            }
            Compiled::Telemetry(telemetry) => {
                if *snapshot.telemetry != telemetry {
                    snapshot.telemetry = Arc::new(telemetry);
                }
            }
            Compiled::Roots(list) => {
                roots(list.into_iter().map(CertificateDer::from).collect())
                    .map_err(Problem::Roots)?;
            }
        }
        Ok(None)
    }

    /// Removes one resource. The own workload and the trust roots stay: a pod that is being
    /// deleted still serves, under the policy it had. A wanted address or name becomes unknown.
    pub(super) fn remove(
        &mut self,
        kind: Kind,
        name: &str,
        wanted: &impl Subscribed,
    ) -> Option<Answered> {
        if matches!(kind, Kind::Workload | Kind::TrustBundle) {
            return None;
        }
        self.kept.remove(&(kind, Box::from(name)));
        let snapshot = &mut self.snapshot;
        let answered = Answered::of(kind, name);
        match &answered {
            Some(Answered::Address(ip)) if wanted.address(*ip) => {
                share(&mut snapshot.addresses, *ip, Address::Unknown);
                return answered;
            }
            Some(Answered::Address(ip)) => drop(snapshot.addresses.remove(ip)),
            Some(Answered::Name(name)) if wanted.name(name) => {
                share(&mut self.names, name.clone(), DnsName::Unknown);
                return answered;
            }
            Some(Answered::Name(name)) => drop(self.names.remove(name)),
            None => {}
        }
        match kind {
            Kind::Service => drop(snapshot.services.remove(&Name::new(name))),
            Kind::Endpoints => self.remove_endpoints(&Name::new(name)),
            Kind::RouteTable => drop(snapshot.routes.remove(&Name::new(name))),
            Kind::Telemetry => snapshot.telemetry = Arc::default(),
            Kind::Workload | Kind::TrustBundle | Kind::Address | Kind::DnsName => {}
        }
        None
    }
}
