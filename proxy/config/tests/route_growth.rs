//! Finding a rule takes as much with ten thousand rules as with ten (counted, not timed), no
//! allocation, and a bounded amount of memory per rule.
#![allow(clippy::unwrap_used)]

mod shapes;

use allocation_counter::measure;
use heddle_proxy_config::route::Work;
use shapes::{SHAPES, Shape};

/// Matches that may be compared: those of one short list, and the catch-all.
const COMPARED: usize = 9;
/// All of a rule of these shapes: itself, its texts, and its place in the index.
const BYTES_PER_RULE: i64 = 750;

/// The work of the request that takes most.
fn most_work(shape: &Shape, size: usize) -> Work {
    let table = shape.table(size);
    let mut most = Work::default();
    for (index, asked) in shape.requests(size).iter().enumerate() {
        let (found, work) = asked.find(&table);
        assert!(found, "{}: request {index} of {size}", shape.name);
        most.compared = most.compared.max(work.compared);
        most.lookups = most.lookups.max(work.lookups);
    }
    most
}

#[test]
fn work_does_not_grow_with_the_number_of_rules() {
    for shape in &SHAPES {
        let few = most_work(shape, 10);
        for size in [1000, 10_000] {
            let work = most_work(shape, size.min(shape.most));
            assert!(
                work.compared <= COMPARED && work.lookups <= few.lookups.max(2),
                "{}, {size} rules: {work:?}, 10 rules: {few:?}",
                shape.name
            );
        }
    }
}

#[test]
fn finding_a_rule_allocates_nothing() {
    for shape in &SHAPES {
        let (table, requests) = (shape.table(200), shape.requests(200));
        let all = || requests.iter().all(|asked| asked.find(&table).0);
        // The first request of a thread warms the caches of its regexes.
        assert!(all());
        let mut found = false;
        let used = measure(|| found = all());
        assert_eq!((used.count_total, found), (0, true), "{}", shape.name);
    }
}

#[test]
fn a_rule_takes_a_bounded_amount_of_memory() {
    const SIZE: usize = 10_000;
    // A compiled regex is far larger than its place in the index.
    for shape in SHAPES.iter().filter(|shape| shape.most >= SIZE) {
        let mut table = None;
        let used = measure(|| table = Some(shape.table(SIZE)));
        let each = used.bytes_current / SIZE as i64;
        assert!(each <= BYTES_PER_RULE, "{}: {each}", shape.name);
    }
}
