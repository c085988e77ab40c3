//! Prints what finding a rule costs, in nanoseconds, by shape and size of the route table.
//! `cargo run --release -p heddle-proxy-config --example route_match`
#![allow(clippy::unwrap_used)]

#[path = "../tests/shapes/mod.rs"]
mod shapes;

use std::hint::black_box;
use std::time::Instant;

use shapes::{SHAPES, Shape};

const FINDS: usize = 200_000;
const SIZES: [usize; 3] = [10, 1000, 10_000];

fn nanos(shape: &Shape, size: usize) -> f64 {
    let table = shape.table(size);
    let requests = shape.requests(size);
    let round = |finds: usize| {
        let started = Instant::now();
        for asked in requests.iter().cycle().take(finds) {
            assert!(black_box(asked.find(&table)).0);
        }
        started.elapsed().as_nanos() as f64 / finds as f64
    };
    round(FINDS / 10);
    (0..5).map(|_| round(FINDS / 5)).fold(f64::MAX, f64::min)
}

fn main() {
    println!(
        "{:42} {:>8} {:>8} {:>8}",
        "ns per match, by number of rules", SIZES[0], SIZES[1], SIZES[2]
    );
    for shape in &SHAPES {
        let cells = SIZES.map(|size| match size <= shape.most {
            true => format!("{:.0}", nanos(shape, size)),
            false => "-".into(),
        });
        println!(
            "{:42} {:>8} {:>8} {:>8}",
            shape.name, cells[0], cells[1], cells[2]
        );
    }
}
