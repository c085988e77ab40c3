//! Keeping an `Arc` when its content did not change.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::snapshot::{Endpoint, Endpoints, Name};

/// Puts `value` in the map unless an equal one is there.
pub(super) fn share<K: Eq + Hash, V: PartialEq>(map: &mut HashMap<K, Arc<V>>, key: K, value: V) {
    if map.get(&key).is_none_or(|known| **known != value) {
        map.insert(key, Arc::new(value));
    }
}

/// The same for endpoints, each of which also keeps its own `Arc`.
pub(super) fn share_endpoints(
    map: &mut HashMap<Name, Arc<Endpoints>>,
    name: Name,
    mut endpoints: Endpoints,
) {
    if let Some(known) = map.get(&name) {
        let by_ip: HashMap<_, &Arc<Endpoint>> = known
            .endpoints
            .iter()
            .map(|known| (known.ip, known))
            .collect();
        for endpoint in &mut endpoints.endpoints {
            if let Some(known) = by_ip.get(&endpoint.ip)
                && **known == *endpoint
            {
                *endpoint = Arc::clone(known);
            }
        }
    }
    share(map, name, endpoints);
}
