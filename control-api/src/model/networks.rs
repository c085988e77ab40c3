//! Ranges of addresses that ServiceEntries name. An address is that of a service if no service has
//! it as such, by the longest range that holds it.

use std::net::IpAddr;

use super::Model;
use crate::{name::NsName, resources::network::Network};

impl Model {
    /// The service of a range that holds the address, as clients in a namespace see it.
    pub(super) fn network_at(&self, ip: IpAddr, namespace: &str) -> Option<&NsName> {
        let holding = self
            .networks
            .iter()
            .filter(|(network, _)| network.holds(ip));
        let visible = holding.filter(|(_, service)| self.is_visible(service, namespace));
        let (_, service) = visible.min_by(|(a, of_a), (b, of_b)| {
            let claims = || {
                self.claim(of_a, namespace)
                    .cmp(&self.claim(of_b, namespace))
            };
            b.length.cmp(&a.length).then_with(claims)
        })?;
        Some(service)
    }

    /// Moves a service's ranges.
    pub(super) fn move_networks(&mut self, from: &[Network], to: &[Network], service: &NsName) {
        if from != to {
            let mut networks = self.networks.to_vec();
            networks.retain(|(_, owner)| owner != service);
            networks.extend(to.iter().map(|network| (*network, service.clone())));
            networks.sort_unstable();
            self.networks = networks.into();
        }
    }
}
