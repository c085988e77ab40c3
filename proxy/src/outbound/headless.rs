//! A pod that is called by its own address and belongs to headless services of which something is said:
//! which of them a request names, or a connection can only be for, and where it goes if no rule says
//! so: to the pod that was called, as the service's policy says.

use std::rc::Rc;

use heddle_proxy_config::snapshot::{Headless, Named};

use super::Outbound;
use crate::cluster::Cluster;
use crate::view::{LocalPort, LocalService, View, Workload};

/// A headless service that is called at one of its pods.
pub(super) struct Called<'v> {
    pub(super) service: &'v Rc<LocalService>,
    pub(super) port: &'v LocalPort,
    workload: &'v Workload,
    headless: &'v Headless,
}

impl<'v> Called<'v> {
    fn new(view: &'v View, workload: &'v Workload, headless: &'v Headless) -> Option<Self> {
        let service = view.service(&headless.service)?;
        Some(Self {
            service,
            port: service.port(headless.port)?,
            workload,
            headless,
        })
    }

    /// What a request to this authority is for; whether the pod alone is named.
    pub(super) fn named(
        view: &'v View,
        workload: &'v Workload,
        number: u16,
        authority: &str,
    ) -> Option<(Self, Named)> {
        let (headless, named) = workload.pod.named(number, authority, &view.snapshot)?;
        Some((Self::new(view, workload, headless)?, named))
    }

    /// What a connection is for that names nothing.
    pub(super) fn only(view: &'v View, workload: &'v Workload, number: u16) -> Option<Self> {
        Self::new(view, workload, workload.pod.only(number)?)
    }

    /// The pod that was called.
    pub(super) fn pod(&self, outbound: &Outbound) -> Rc<Cluster> {
        outbound.worker.with_upstreams(|upstreams| {
            let service = &self.service.config;
            self.workload.cluster_of(service, self.headless, upstreams)
        })
    }
}
