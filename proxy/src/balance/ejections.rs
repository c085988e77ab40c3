//! Who is left out at the moment, by any worker: for whoever asks at the admin endpoint. Workers write
//! when they eject an endpoint or let one return, and never on any other request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heddle_proxy_config::decision::Ejected;

/// Clusters by name, their endpoints, and how many workers leave each out.
#[derive(Clone, Default)]
pub(crate) struct Ejections(Arc<Mutex<HashMap<(String, SocketAddr), u32>>>);

impl Ejections {
    /// One worker's view of one cluster has changed.
    pub(super) fn replace(&self, cluster: &str, before: &[SocketAddr], now: &[SocketAddr]) {
        if before.is_empty() && now.is_empty() {
            return;
        }
        let mut all = self.all();
        for addr in now {
            *all.entry((cluster.to_owned(), *addr)).or_insert(0) += 1;
        }
        for addr in before {
            let key = (cluster.to_owned(), *addr);
            match all.get_mut(&key) {
                Some(workers) if *workers > 1 => *workers -= 1,
                _ => _ = all.remove(&key),
            }
        }
    }

    /// Whoever is left out by any worker.
    pub(crate) fn ejected(&self) -> Ejected {
        self.all().keys().cloned().collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(String, SocketAddr), u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_left_out_while_any_worker_leaves_it_out() {
        let (one, two): (SocketAddr, SocketAddr) =
            (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into());
        let board = Ejections::default();
        board.replace("a", &[], &[one]);
        board.replace("a", &[], &[one, two]);
        board.replace("a", &[one], &[]);
        let left = [("a".to_owned(), one), ("a".to_owned(), two)];
        assert_eq!(board.ejected(), left.clone().into());
        board.replace("a", &[one, two], &[two]);
        assert_eq!(board.ejected(), [left[1].clone()].into());
        board.replace("a", &[two], &[]);
        assert!(board.ejected().is_empty());
    }
}
