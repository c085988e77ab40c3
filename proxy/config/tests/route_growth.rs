//! Finding a rule takes as much with ten thousand rules as with ten: counted, not timed.
#![allow(clippy::unwrap_used)]

mod shapes;

use heddle_proxy_config::route::Work;
use shapes::{SHAPES, Shape};

/// Matches that may be compared: those of one short list, and the catch-all.
const COMPARED: usize = 9;

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
