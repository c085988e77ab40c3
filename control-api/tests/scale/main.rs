//! What a change costs in a large mesh: proportional to those interested, and to nothing else. The full
//! size is `cargo nextest run -p heddle-control --run-ignored only scale`.
#![allow(clippy::unwrap_used)]

mod growth;
mod mesh;
mod routes;

use std::time::{Duration, Instant};

use crate::mesh::{Mesh, Proxy, Size, batch, name};

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn run(size: Size, proxies: u32, services_used: u32) -> Vec<Duration> {
    let services = size.services;
    let started = Instant::now();
    let mut mesh = Mesh::new(size);
    let hub = mesh.hub.clone();
    println!("built in {:?}, {} MiB", started.elapsed(), resident_mib());

    let started = Instant::now();
    let mut all: Vec<Proxy> = (0..proxies)
        .map(|i| {
            let uses = (0..services_used).map(|n| (i * 7 + n * 13) % services);
            let mut proxy = Proxy::connect(&hub, i % services, uses);
            let sent = proxy.turn(&hub);
            assert_eq!(sent, services_used as usize * 4);
            proxy
        })
        .collect();
    println!(
        "{proxies} proxies served in {:?}, {} MiB",
        started.elapsed(),
        resident_mib()
    );

    let mut times = Vec::new();
    let mut told = 0;
    for round in 0..40 {
        let number = round * 37 % services;
        let change = mesh.pod(number, 1, false);
        let started = Instant::now();
        let dirty = hub.apply(batch(vec![change]));
        assert_eq!(dirty.services.len(), 1);
        let interested = name("svc", number, 0);
        for proxy in all
            .iter_mut()
            .filter(|proxy| proxy.state.needed().contains(&interested))
        {
            assert_eq!(proxy.turn(&hub), 1, "only the endpoints");
            told += 1;
        }
        times.push(started.elapsed());
        for proxy in all.iter_mut().take(20) {
            assert_eq!(proxy.turn(&hub), 0, "nobody else is told anything");
        }
    }
    assert!(told >= 40, "{told}");
    times.sort();
    println!(
        "one change, to the last one interested: median {:?}, longest {:?}",
        times[20], times[39]
    );
    times
}

#[test]
fn a_change_costs_only_those_interested() {
    let size = Size {
        services: 500,
        pods_each: 4,
    };
    run(size, 40, 20);
}

#[test]
#[ignore = "ten thousand services take a while to build without optimisation"]
fn the_full_size() {
    let size = Size {
        services: 10_000,
        pods_each: 10,
    };
    let times = run(size, 1_000, 20);
    assert!(resident_mib() <= 400, "{} MiB", resident_mib());
    assert!(times[38] < Duration::from_millis(50), "{times:?}");
}
