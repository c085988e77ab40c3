//! Putting a compiled resource into the snapshot, and taking one out.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::share::{share, share_endpoints};
use super::{Resources, RootsSink};
use crate::compile::{Compiled, Problem, address_name};
use crate::kind::Kind;
use crate::snapshot::{Address, Name};

impl Resources {
    pub(super) fn install(
        &mut self,
        compiled: Compiled,
        roots: &RootsSink,
    ) -> Result<Option<IpAddr>, Problem> {
        let snapshot = &mut self.snapshot;
        match compiled {
            Compiled::Address(ip, address) => {
                share(&mut snapshot.addresses, ip, address);
                return Ok(Some(ip));
            }
            Compiled::Service(name, service) => share(&mut snapshot.services, name, service),
            Compiled::Endpoints(name, endpoints) => {
                share_endpoints(&mut snapshot.endpoints, name, endpoints)
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
    /// deleted still serves, under the policy it had. A wanted address becomes unknown.
    pub(super) fn remove(
        &mut self,
        kind: Kind,
        name: &str,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        if matches!(kind, Kind::Workload | Kind::TrustBundle) {
            return None;
        }
        self.kept.remove(&(kind, Box::from(name)));
        let snapshot = &mut self.snapshot;
        match kind {
            Kind::Address => {
                let ip = address_name(name).ok()?;
                if wanted(ip) {
                    share(&mut snapshot.addresses, ip, Address::Unknown);
                    return Some(ip);
                }
                snapshot.addresses.remove(&ip);
            }
            Kind::Service => drop(snapshot.services.remove(&Name::new(name))),
            Kind::Endpoints => drop(snapshot.endpoints.remove(&Name::new(name))),
            Kind::RouteTable => drop(snapshot.routes.remove(&Name::new(name))),
            Kind::Telemetry => snapshot.telemetry = Arc::default(),
            Kind::Workload | Kind::TrustBundle => {}
        }
        None
    }
}
