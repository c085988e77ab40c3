//! Edits of a watched file are live at once, and nothing fails while they are made.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use heddle_tests::load::{Client, Load};
use heddle_tests::mesh::{Mesh, sample};

const EDITS: usize = 50;

#[test]
fn fifty_edits_under_load() {
    let mesh = Mesh::bookinfo();
    let reviews = format!("{}:9080", mesh.service_ip("reviews"));
    let load = Load::start(&mesh.netns("productpage-v1"), 2, true, move || {
        Client::new(&reviews, "reviews:9080", "/reviews/0", &[])
    });
    let (_, original) = sample("reviews.yaml");
    let weights = |v1: u32, v2: u32| {
        original
            .replace("weight: 90", &format!("weight: {v1}"))
            .replace("weight: 10\n", &format!("weight: {v2}\n"))
    };
    let mut edits = Vec::new();
    for edit in 0..EDITS {
        let (version, text) = match edit % 2 {
            0 => ("v2", weights(0, 100)),
            _ => ("v1", weights(100, 0)),
        };
        mesh.write("reviews.yaml", &text);
        edits.push((Instant::now(), version));
        // Editors are not machines: the pace is part of what is tested, not a wait for anything.
        std::thread::sleep(Duration::from_millis(300));
    }
    let report = load.stop();
    report.assert_whole();
    let mut delays: Vec<Duration> = edits
        .iter()
        .map(|edit| live_after(edit, &report.bodies))
        .collect();
    delays.sort();
    let p99 = delays[delays.len() - 1];
    println!(
        "{EDITS} edits live after {:?} (median), {p99:?} (worst); {} requests, none failed",
        delays[delays.len() / 2],
        report.ok
    );
    assert!(p99 < Duration::from_secs(1), "{delays:?}");
}

/// How long after an edit its version was first answered by.
fn live_after((at, version): &(Instant, &str), bodies: &[(Instant, String)]) -> Duration {
    let marker = format!("\"version\":\"{version}\"");
    let first = bodies
        .iter()
        .find(|(when, body)| when > at && body.contains(&marker));
    first.map_or(Duration::MAX, |(when, _)| *when - *at)
}
