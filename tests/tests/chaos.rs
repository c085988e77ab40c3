//! What users see while things go wrong, in the short form of `cargo xtask chaos`; each row judges
//! itself (`heddle_tests::chaos::row`): nothing may fail but what the fault must show, flagged and counted.

use std::time::Duration;

use heddle_tests::chaos::{self, Scenario, World, table::table};

/// Of a fault; some take as long as they take.
const SHORT: Duration = Duration::from_secs(4);

fn in_turn(world: &World, short_certificates: bool) {
    let scenarios = Scenario::ALL
        .into_iter()
        .filter(|scenario| scenario.short_certificates() == short_certificates);
    let rows: Vec<_> = scenarios
        .map(|scenario| chaos::run(world, scenario, SHORT))
        .collect();
    println!("{}", table(&rows));
    let bad: Vec<_> = rows.iter().filter(|row| !row.is_good()).collect();
    let problems: Vec<_> = bad
        .iter()
        .map(|row| (row.scenario, &row.problems))
        .collect();
    assert!(bad.is_empty(), "not good: {problems:#?}");
}

#[test]
fn nothing_fails_but_what_the_fault_must_show() {
    in_turn(&World::start(&[]), false);
}

#[test]
fn renewals_and_rotations_keep_every_stream() {
    let flags = ["--cert-ttl", "10s", "--root-spread", "3s"];
    in_turn(&World::start(&flags), true);
}
