//! How many places each address takes, so that one cannot take them all. Only addresses that hold
//! a place now are remembered, so this is bounded by the places there are.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts places by address.
#[derive(Debug, Clone)]
pub struct Shares {
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub struct Share {
    address: IpAddr,
    shares: Shares,
}

impl Shares {
    /// At most so many for each address.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    /// None: this address has its share already.
    pub fn take(&self, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        let mut taken = self.taken();
        let count = taken.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Share {
            address,
            shares: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        match taken.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = taken.remove(&self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_address_has_its_share_and_none_is_remembered_without_one() {
        let shares = Shares::new(2);
        let [one, other, mapped]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1"].map(|text| text.parse().unwrap());
        let first = shares.take(one).unwrap();
        let second = shares.take(mapped).unwrap();
        assert!(shares.take(one).is_none() && shares.take(mapped).is_none());
        drop(shares.take(other).unwrap());
        drop(first);
        let third = shares.take(one).unwrap();
        drop((second, third));
        assert!(shares.taken().is_empty());
    }
}
