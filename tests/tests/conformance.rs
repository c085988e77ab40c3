//! Gateway API's conformance suite for meshes, over real network namespaces: its 23 cases as a table
//! (tests/conformance/cases.yaml), and what else must not depend on the address that is called. A case
//! counts when all of its requests were answered as written three times in a row, within 30 s.

#![allow(clippy::unwrap_used)]

#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/judge.rs"]
mod judge;
#[path = "conformance/world.rs"]
mod world;

use std::time::{Duration, Instant};

use self::case::{Case, Table};
use self::world::World;

/// As in the suite.
const CONVERGENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const IN_A_ROW: u32 = 3;
/// So often more, at once: without a route one of two pods is right by chance.
const AND_THEN: u32 = 5;
/// Cases that the suite has for meshes.
const CASES: usize = 23;

#[test]
fn a_mesh_conforms_and_the_address_that_is_called_changes_nothing() {
    let table = Table::read("cases.yaml");
    assert_eq!(table.cases.len(), CASES, "the suite has {CASES} cases");
    let more = Table::read("addresses.yaml");
    let world = World::start();
    let mut failed = Vec::new();
    for case in table.cases.iter().chain(&more.cases) {
        let started = Instant::now();
        world.route(&case.documents);
        let wrong = converged(&world, case).and_then(|()| split(&world, case));
        match wrong {
            Ok(()) => println!("{:>6.2?} {}", started.elapsed(), case.name),
            Err(why) => {
                println!("FAILED {}: {why}", case.name);
                failed.push(format!("{}: {why}", case.name));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn converged(world: &World, case: &Case) -> Result<(), String> {
    let deadline = Instant::now() + CONVERGENCE;
    let mut good = 0;
    loop {
        let wrong = judge::wrong(world, &case.requests);
        good = if wrong.is_empty() { good + 1 } else { 0 };
        if good == IN_A_ROW + AND_THEN {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(wrong.join("; "));
        }
        if good < IN_A_ROW {
            std::thread::sleep(POLL);
        }
    }
}

/// Nothing was drawn before these: the blocks of a split make their numbers exact, which is within
/// what the suite allows.
fn split(world: &World, case: &Case) -> Result<(), String> {
    let Some(split) = &case.split else {
        return Ok(());
    };
    let counts = judge::count(world, split)?;
    match counts == split.shares {
        true => Ok(()),
        false => Err(format!("wanted {:?}, got {counts:?}", split.shares)),
    }
}
