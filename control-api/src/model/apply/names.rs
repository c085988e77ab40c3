//! Which host names a change may give another meaning.

use std::net::IpAddr;

use super::Touched;
use crate::{
    model::{Model, hosts::is_external},
    name::NsName,
};

impl Touched {
    /// Every name of a service; `below`: those of single endpoints too.
    pub(super) fn touch_names(&mut self, service: &NsName, cluster_domain: &str, below: bool) {
        let (name, namespace) = (service.name(), service.namespace());
        let dirty = &mut self.dirty;
        if let Some(suffix) = name.strip_prefix('*') {
            dirty.suffixes.insert(suffix.into());
            return;
        }
        dirty.names.insert(name.into());
        if is_external(service) {
            return;
        }
        for end in ["", ".svc", &format!(".svc.{cluster_domain}")] {
            let full = format!("{name}.{namespace}{end}");
            if below {
                dirty.suffixes.insert(format!(".{full}").into());
            }
            dirty.names.insert(full.into());
        }
    }
}

impl Model {
    /// Names of headless services stand for their endpoints.
    pub(super) fn touch_headless(&self, touched: &mut Touched) {
        let headless = |name: &&NsName| self.service(name).is_some_and(|s| s.headless);
        let services: Vec<NsName> = touched.endpoints.iter().filter(headless).cloned().collect();
        for service in services {
            touched.touch_names(&service, &self.settings.cluster_domain, true);
        }
        // What is said of them is told with the addresses of their pods.
        let said = touched.routes.iter().chain(&touched.policies);
        let said = said.chain(&touched.dirty.services);
        let addresses: Vec<IpAddr> = said
            .flat_map(|service| self.headless_addresses(service))
            .collect();
        touched.dirty.addresses.extend(addresses);
    }
}
