//! How the cost of one change grows: counted in allocations, of which every encoding, every message
//! and every wake-up makes some, and which are the same on a loaded machine as on an idle one.

use allocation_counter::measure;

use crate::mesh::{Mesh, Proxy, Size, batch};

/// Proxies that use the service that changes.
const INTERESTED: u32 = 5;

/// Allocations of one change until the last proxy interested has it, and their bytes.
fn cost(services: u32, uninterested: u32) -> (u64, u64) {
    let mut mesh = Mesh::new(Size {
        services,
        pods_each: 4,
    });
    let hub = mesh.hub.clone();
    let connect = |uses| {
        let mut proxy = Proxy::connect(&hub, uses, [uses].into_iter());
        proxy.turn(&hub);
        proxy
    };
    let mut interested: Vec<_> = (0..INTERESTED).map(|_| connect(0)).collect();
    let others: Vec<_> = (0..uninterested)
        .map(|number| connect(1 + number % (services - 1)))
        .collect();
    let mut costs: Vec<_> = (0..9)
        .map(|round| {
            let change = batch(vec![mesh.pod(0, 1, round % 2 == 0)]);
            let used = measure(|| {
                hub.apply(change);
                for proxy in &mut interested {
                    // The first says what is already said: the pod is ready.
                    assert_eq!(proxy.turn(&hub), usize::from(round > 0));
                }
            });
            assert!(
                others
                    .iter()
                    .all(|other| other.registration.take_mail().is_empty())
            );
            (used.count_total, used.bytes_total)
        })
        .skip(1)
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

#[test]
fn proxies_that_are_not_interested_cost_nothing() {
    let (few, many) = (cost(500, 10), cost(500, 1000));
    println!("beside 10 and 1,000 others: {few:?}, {many:?} allocations and bytes");
    assert_eq!(few.0, many.0);
}

#[test]
fn services_that_do_not_change_cost_nothing() {
    let (few, many) = (cost(50, 10), cost(5000, 10));
    println!("in a mesh of 50 and 5,000 services: {few:?}, {many:?} allocations and bytes");
    assert!(many.0 <= few.0 + few.0 / 20, "{few:?}, {many:?}");
}
