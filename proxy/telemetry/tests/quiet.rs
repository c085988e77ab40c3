//! The dispatcher of request spans enables no other callsite of the process: h2 and hyper have a
//! span or event per frame, and with those enabled every request would pay for them.
#![allow(clippy::unwrap_used)]

use heddle_proxy_telemetry::{Metrics, Tracer, Workload};
use tracing::level_filters::LevelFilter;

// One test in this file: it looks at the process's global level.
#[tokio::test]
async fn a_tracer_leaves_the_log_levels_of_the_process_alone() {
    let runtime = tokio::runtime::Handle::current();
    let _tracer = Tracer::new(&runtime, Workload::default(), None, &Metrics::default());
    assert_eq!(LevelFilter::current(), LevelFilter::INFO);
}
