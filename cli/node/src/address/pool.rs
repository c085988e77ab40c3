//! Hands out the addresses of a range, each to one holder at a time.
//!
//! An address that is given back is reused as late as possible, so that who still remembers its last
//! holder has forgotten by then.

use std::{collections::BTreeSet, net::IpAddr};

use super::{AddressPlan, DualIp, FIRST_FREE_POD, FIRST_FREE_SERVICE, LAST_FREE};

/// Which of a mesh's ranges.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    Pods,
    Services,
}

/// Addresses of one range that are still free.
#[derive(Debug)]
pub struct AddressPool {
    plan: AddressPlan,
    range: Range,
    next: u16,
    taken: BTreeSet<u16>,
}

impl AddressPool {
    pub(super) fn new(plan: AddressPlan, range: Range) -> Self {
        let mut pool = Self {
            plan,
            range,
            next: 0,
            taken: BTreeSet::new(),
        };
        pool.next = pool.first();
        pool
    }

    /// A free address; `None` when all of the range (65,000) are in use.
    pub fn take(&mut self) -> Option<DualIp> {
        let first = self.first();
        for _ in first..LAST_FREE {
            let offset = self.next;
            self.next = if offset + 1 >= LAST_FREE {
                first
            } else {
                offset + 1
            };
            if self.taken.insert(offset) {
                return Some(self.address(offset));
            }
        }
        None
    }

    /// Takes a particular address, as one asked for by name; false when it is taken or not ours.
    pub fn claim(&mut self, ip: IpAddr) -> bool {
        self.offset(ip)
            .is_some_and(|offset| self.taken.insert(offset))
    }

    /// Gives an address back.
    pub fn release(&mut self, ip: DualIp) {
        if let Some(offset) = self.offset(IpAddr::V4(ip.v4)) {
            self.taken.remove(&offset);
        }
    }

    /// The pair that `ip` belongs to, when it is in this range.
    pub fn pair_of(&self, ip: IpAddr) -> Option<DualIp> {
        self.offset(ip).map(|offset| self.address(offset))
    }

    fn first(&self) -> u16 {
        match self.range {
            Range::Pods => FIRST_FREE_POD,
            Range::Services => FIRST_FREE_SERVICE,
        }
    }

    fn address(&self, offset: u16) -> DualIp {
        match self.range {
            Range::Pods => self.plan.pod(offset),
            Range::Services => self.plan.service(offset),
        }
    }

    fn offset(&self, ip: IpAddr) -> Option<u16> {
        let (v4, v6) = match self.range {
            Range::Pods => (self.plan.pods_v4(), self.plan.pods_v6()),
            Range::Services => (self.plan.services_v4(), self.plan.services_v6()),
        };
        let offset = match ip {
            IpAddr::V4(ip) if v4.contains(&ip) => u32::from(ip) - u32::from(v4.network()),
            IpAddr::V6(ip) if v6.is_some_and(|n| n.contains(&ip)) => {
                u32::try_from(u128::from(ip) & u128::from(u64::MAX)).ok()?
            }
            _ => return None,
        };
        u16::try_from(offset)
            .ok()
            .filter(|o| (self.first()..LAST_FREE).contains(o))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_released_address_is_reused_last_and_a_claimed_one_never_twice() {
        let mut pool = AddressPlan::new(3, true).pod_pool();
        let first = pool.take().unwrap();
        assert_eq!(first.v4.to_string(), "10.70.0.2");
        assert_eq!(first.v6.unwrap().to_string(), "fd68:6564:646c:6::2");
        pool.release(first);
        assert_ne!(pool.take().unwrap(), first);
        assert!(pool.claim("10.70.9.9".parse().unwrap()));
        assert!(!pool.claim("10.70.9.9".parse().unwrap()));
        assert!(
            !pool.claim("10.71.9.9".parse().unwrap()),
            "a Service address"
        );
        let total = std::iter::from_fn(|| pool.take()).count();
        assert_eq!(total, usize::from(LAST_FREE - FIRST_FREE_POD) - 2);
        pool.release(first);
        assert_eq!(pool.take(), Some(first), "the range wraps");
    }
}
