//! Which addresses a mesh uses: everything follows from one small index.
//!
//! Each index owns two neighbouring /16 (pods, Services) and two IPv6 ULA /64. The ranges are private
//! ones that few networks use; who picks the index checks that the machine does not.

mod pool;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use self::pool::AddressPool;
use self::pool::Range;

/// How many indexes there are: 32 pairs in 10.64.0.0/10 and 32 in 100.64.0.0/10.
pub const INDEXES: u8 = 64;
/// Offsets below this one in the Service range are the mesh's own.
const FIRST_FREE_SERVICE: u16 = 256;
/// .0 is the network, .1 the gateway.
const FIRST_FREE_POD: u16 = 2;
/// Above lie the link between root and node namespaces and the broadcast address.
const LAST_FREE: u16 = 0xfe00;
const DNS: u16 = 10;
const CONTROL: u16 = 11;
const IDENTITY: u16 = 12;
const INJECTOR: u16 = 13;
const TELEMETRY: u16 = 14;
const LINK_HOST: u16 = 0xfffd;
const LINK_NODE: u16 = 0xfffe;

/// An IPv4 address and, when the machine has IPv6, its IPv6 companion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DualIp {
    /// Always there; the one named `podIP` or `clusterIP`.
    pub v4: Ipv4Addr,
    /// Absent where the kernel has no IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl DualIp {
    /// Both, IPv4 first.
    pub fn all(self) -> Vec<IpAddr> {
        let mut all = vec![IpAddr::V4(self.v4)];
        all.extend(self.v6.map(IpAddr::V6));
        all
    }
}

/// The addresses of one mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPlan {
    /// The number everything else follows from.
    pub index: u8,
    /// Whether pods get an IPv6 address too.
    pub ipv6: bool,
}

impl AddressPlan {
    /// The plan of `index` (below [`INDEXES`]).
    pub fn new(index: u8, ipv6: bool) -> Self {
        Self {
            index: index % INDEXES,
            ipv6,
        }
    }

    /// The pods' IPv4 range, a /16.
    pub fn pods_v4(&self) -> Ipv4Net {
        slash_16(self.base(), self.pair())
    }

    /// The Services' IPv4 range, a /16.
    pub fn services_v4(&self) -> Ipv4Net {
        slash_16(self.base(), self.pair() + 1)
    }

    /// The pods' IPv6 range, a /64.
    pub fn pods_v6(&self) -> Option<Ipv6Net> {
        self.ipv6.then(|| ula(u16::from(self.index) * 2))
    }

    /// The Services' IPv6 range, a /64.
    pub fn services_v6(&self) -> Option<Ipv6Net> {
        self.ipv6.then(|| ula(u16::from(self.index) * 2 + 1))
    }

    /// The node's address on the pods' bridge: their default route.
    pub fn gateway(&self) -> DualIp {
        self.pod(1)
    }

    /// The root namespace's end of its link to the node; how pods reach programs on this machine.
    pub fn link_host(&self) -> DualIp {
        self.service(LINK_HOST)
    }

    /// The node's end of that link.
    pub fn link_node(&self) -> DualIp {
        self.service(LINK_NODE)
    }

    /// Where cluster DNS answers.
    pub fn dns(&self) -> DualIp {
        self.service(DNS)
    }

    /// The control plane's Service IP, bound in the node namespace.
    pub fn control(&self) -> DualIp {
        self.service(CONTROL)
    }

    /// The identity service's Service IP, bound in the node namespace.
    pub fn identity(&self) -> DualIp {
        self.service(IDENTITY)
    }

    /// The injector's Service IP, bound in the node namespace.
    pub fn injector(&self) -> DualIp {
        self.service(INJECTOR)
    }

    /// The trace collector's Service IP, bound in the node namespace.
    pub fn telemetry(&self) -> DualIp {
        self.service(TELEMETRY)
    }

    /// Every Service IP that the node namespace itself answers on.
    pub fn system_services(&self) -> [DualIp; 5] {
        [
            self.dns(),
            self.control(),
            self.identity(),
            self.injector(),
            self.telemetry(),
        ]
    }

    /// A pool of this mesh's pod addresses.
    pub fn pod_pool(&self) -> AddressPool {
        AddressPool::new(self.clone(), Range::Pods)
    }

    /// A pool of this mesh's Service addresses.
    pub fn service_pool(&self) -> AddressPool {
        AddressPool::new(self.clone(), Range::Services)
    }

    fn pod(&self, offset: u16) -> DualIp {
        DualIp {
            v4: nth_v4(self.pods_v4(), offset),
            v6: self.pods_v6().map(|n| nth_v6(n, offset)),
        }
    }

    fn service(&self, offset: u16) -> DualIp {
        DualIp {
            v4: nth_v4(self.services_v4(), offset),
            v6: self.services_v6().map(|n| nth_v6(n, offset)),
        }
    }

    fn base(&self) -> (u8, u8) {
        if self.index < 32 { (10, 64) } else { (100, 64) }
    }

    fn pair(&self) -> u8 {
        (self.index % 32) * 2
    }
}

fn slash_16((first, second): (u8, u8), step: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(first, second + step, 0, 0), 16)
}

/// `fd68:6564:646c` spells `hedl`-like letters; the next group tells meshes and ranges apart.
fn ula(subnet: u16) -> Ipv6Net {
    Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd68, 0x6564, 0x646c, subnet, 0, 0, 0, 0),
        64,
    )
}

fn nth_v4(net: Ipv4Net, offset: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + u32::from(offset))
}

fn nth_v6(net: Ipv6Net, offset: u16) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(net.network()) + u128::from(offset))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_indexes_share_an_address() {
        let mut seen = BTreeSet::new();
        for index in 0..INDEXES {
            let plan = AddressPlan::new(index, true);
            assert!(seen.insert(plan.pods_v4().to_string()));
            assert!(seen.insert(plan.services_v4().to_string()));
            assert!(seen.insert(plan.pods_v6().unwrap().to_string()));
            assert!(seen.insert(plan.services_v6().unwrap().to_string()));
            assert!(plan.services_v4().contains(&plan.dns().v4));
        }
    }
}
