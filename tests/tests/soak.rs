//! What a load opens is closed when it has gone: descriptors and tasks of every sidecar and server come
//! back to where they were. The long form, with memory and slopes, is `cargo xtask soak`.

use std::time::{Duration, Instant};

use heddle_tests::chaos::World;
use heddle_tests::soak::{self, Gauge, Sampler};
use heddle_tests::traffic::{Kind, Traffic};

const LOAD: Duration = Duration::from_secs(8);
/// Pooled connections may stay for a minute, which the long form waits for. Of the load's own there
/// are a hundred.
const POOLED: f64 = 10.0;

#[test]
fn descriptors_and_tasks_return_to_where_they_were() {
    let world = World::start(&["--cert-ttl", "10s"]);
    let sampler = Sampler::new(&world);
    let before = soak::idle(&world, &sampler);

    let started = Instant::now();
    let traffic = Traffic::start(&world.client_netns(), soak::plan(&world));
    traffic.more(100, &Kind::ALL);
    // It is open while there is load: what is compared is something.
    let sidecar = |values: &[(String, Gauge, f64)], wanted| {
        let of_client = |(process, gauge, _): &&(String, Gauge, f64)| {
            process == "sidecar of the client" && *gauge == wanted
        };
        let value = values.iter().find(of_client);
        value.map(|(_, _, value)| *value).expect("it is sampled")
    };
    let now = sampler.now();
    for gauge in [Gauge::Descriptors, Gauge::Tasks] {
        let (idle, loaded) = (sidecar(&before, gauge), sidecar(&now, gauge));
        assert!(idle > 0.0 && loaded > idle, "{gauge}: {idle}, {loaded}");
    }
    let mut edit = 0;
    while started.elapsed() < LOAD {
        edit += 1;
        world.edit_route(edit);
        traffic.more(20, &Kind::ALL);
    }
    let record = traffic.stop();
    let left = soak::wait_for_pools(&sampler, &before, POOLED);
    assert!(left.is_empty(), "left after the load: {left:#?}");
    for kind in Kind::ALL {
        let tally = record.between(kind, started, Instant::now());
        assert!(
            tally.failed.is_empty() && tally.broken.is_empty() && tally.moved == 0,
            "{kind}: {tally:?}"
        );
    }
}
