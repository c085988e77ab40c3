//! Proof that interception works, before the app may start: listen where the sidecar will, dial an address that only a
//! redirect can answer, and expect SO_ORIGINAL_DST to be what was dialled. Anything else fails closed.
//!
//! The app's way (any user): a documentation address, or one of the pod's own network when there is no default route,
//! must arrive at the outbound port. The sidecar's user is let through there, so as that user 127.0.0.6 is dialled
//! instead, which must arrive at the inbound port.

mod dial;

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::check::dial::{Dialled, probe};
use crate::namespace::{self, families, routed};
use crate::rules::{Family, INBOUND_PORT, OUTBOUND_PORT};
use crate::settings::Settings;

/// Why interception is not proved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sidecar runs already.
    #[error(
        "cannot prove the redirect: port {port} is in use, perhaps by the sidecar; the check runs before the sidecar starts"
    )]
    PortInUse {
        /// The sidecar's port.
        port: u16,
    },
    /// It does not.
    #[error(
        "traffic is not intercepted: {dialled} was dialled and should have come to port {port}, but {found}; the pod \
         must not start, its traffic would pass the sidecar by; look at `iptables-save` in its network namespace for \
         rules of others that come before HEDDLE_OUTBOUND or HEDDLE_INBOUND"
    )]
    NotIntercepted {
        /// What was dialled.
        dialled: SocketAddr,
        /// Where it should have come.
        port: u16,
        /// What happened instead.
        found: String,
    },
    /// Nothing can be dialled.
    #[error(
        "cannot prove the redirect: this network namespace has no address and route to anything outside itself; run \
         this step after the pod's network is set up"
    )]
    NoRoute,
    /// A socket.
    #[error("cannot prove the redirect: cannot {what}")]
    Socket {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The namespace.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

/// Proves in the network namespace of the calling thread that the settings' redirect works.
pub fn check(settings: &Settings) -> Result<(), Error> {
    check_families(settings, &families(settings)?)
}

pub(crate) fn check_families(settings: &Settings, families: &[Family]) -> Result<(), Error> {
    let mut proved = false;
    let mut possible = false;
    for &family in families {
        let (port, source, candidates) = if is_proxy(settings) {
            (
                INBOUND_PORT,
                Some(family.localhost()),
                as_proxy(settings, family),
            )
        } else {
            (OUTBOUND_PORT, None, as_app(settings, family))
        };
        possible |= !candidates.is_empty();
        match probe(family, port, source, &candidates)? {
            Dialled::Intercepted(address) => {
                tracing::info!(%family, %address, port, "interception works");
                proved = true;
            }
            Dialled::NoRoute => {
                tracing::info!(%family, "nothing to dial in this family; interception not tried")
            }
        }
    }
    if proved || !possible {
        Ok(())
    } else {
        Err(Error::NoRoute)
    }
}

fn is_proxy(settings: &Settings) -> bool {
    nix::unistd::geteuid().as_raw() == settings.proxy_uid.value()
        || nix::unistd::getegid().as_raw() == settings.proxy_gid.value()
}

/// Ports to dial: any that the settings lead to the sidecar will do.
const PORTS: [u16; 4] = [80, 443, 8080, 65000];

fn as_proxy(settings: &Settings, family: Family) -> Vec<SocketAddr> {
    let listed = match &settings.include_inbound_ports {
        crate::PortChoice::Only(list) => list.ranges().iter().map(|range| range.first()).collect(),
        crate::PortChoice::All => vec![],
    };
    let ports = PORTS
        .into_iter()
        .chain(listed)
        .filter(|port| settings.redirects_inbound(*port));
    ports
        .map(|port| SocketAddr::new(family.inbound_source(), port))
        .collect()
}

fn as_app(settings: &Settings, family: Family) -> Vec<SocketAddr> {
    // RFC 5737 and RFC 3849: addresses that nobody has.
    let nobodys: &[&str] = match family {
        Family::V4 => &["192.0.2.1", "198.51.100.1", "203.0.113.1"],
        Family::V6 => &["2001:db8::1"],
    };
    let listed = match &settings.include_outbound_cidrs {
        crate::CidrChoice::Only(list) => list.networks().to_vec(),
        crate::CidrChoice::All => vec![],
    };
    let networks = listed
        .into_iter()
        .chain(routed(family))
        .filter(|net| family.has(&net.addr()));
    // Often a gateway's or the pod's own address, so both ends of the network.
    let within = networks
        .flat_map(|net| [net.hosts().next(), last_host(net)])
        .flatten();
    let ports = || {
        PORTS.into_iter().chain(
            settings
                .include_outbound_ports
                .ranges()
                .iter()
                .map(|range| range.first()),
        )
    };
    nobodys
        .iter()
        .filter_map(|address| address.parse().ok())
        .chain(within)
        .filter_map(|address: IpAddr| {
            ports()
                .map(|port| SocketAddr::new(address, port))
                .find(|to| settings.redirects_outbound(*to))
        })
        .collect()
}

fn last_host(net: ipnet::IpNet) -> Option<IpAddr> {
    match (net, net.broadcast()) {
        (ipnet::IpNet::V4(v4), IpAddr::V4(last)) if v4.prefix_len() < 31 => {
            Some(IpAddr::V4((u32::from(last) - 1).into()))
        }
        (_, last) => Some(last),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn an_address_that_nobody_has_is_dialled_first() {
        assert_eq!(
            as_app(&settings(&[]), Family::V4)[0],
            "192.0.2.1:80".parse().unwrap()
        );
        assert_eq!(
            as_app(&settings(&[]), Family::V6)[0],
            "[2001:db8::1]:80".parse().unwrap()
        );
    }

    #[test]
    fn only_what_the_settings_redirect_is_dialled() {
        let settings = settings(&[
            "--include-outbound-cidrs",
            "10.0.0.0/8",
            "--exclude-outbound-ports",
            "80",
        ]);
        let candidates = as_app(&settings, Family::V4);
        assert_eq!(candidates[0], "10.0.0.1:443".parse().unwrap());
        assert!(candidates.iter().all(|to| settings.redirects_outbound(*to)));
    }

    #[test]
    fn where_nothing_is_redirected_nothing_is_dialled() {
        let settings = settings(&["--include-outbound-cidrs=", "--include-inbound-ports="]);
        assert!(as_app(&settings, Family::V4).is_empty());
        assert!(as_proxy(&settings, Family::V4).is_empty());
    }

    #[test]
    fn with_listed_ports_one_of_them_is_dialled() {
        let settings = settings(&[
            "--include-outbound-cidrs=",
            "--include-outbound-ports",
            "9080",
        ]);
        assert_eq!(
            as_app(&settings, Family::V4)[0],
            "192.0.2.1:9080".parse().unwrap()
        );
    }
}
