//! HTTP/1.1, keep-alive, answers of 1 KiB, by wrk: throughput, latency and CPU at each number of
//! connections; memory before the first request and after the last.

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::Result;
use crate::load::{named, wrk};
use crate::stage::{Aims, Stage};

pub(crate) struct Http1;

impl Case for Http1 {
    fn name(&self) -> &'static str {
        "http1"
    }

    fn title(&self) -> &'static str {
        "HTTP/1.1"
    }

    fn about(&self) -> String {
        "Requests over kept-alive connections to nginx, which answers 1 KiB; made by wrk, one thread, a \
         closed loop."
            .to_owned()
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Http1, App::Nginx)]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        stage.record_memory("idle", 0.20)?;
        for connections in stage.connections() {
            let (load, spent) = stage.load(|at, seconds| wrk::run(at, connections, seconds))?;
            stage.record_requests(&named(connections), &load, &spent, aims(connections));
        }
        stage.record_memory("after the load", 0.25)
    }
}

fn aims(connections: u32) -> Aims {
    let many = connections >= 16;
    Aims {
        throughput: (connections >= 64).then_some(2.3),
        latency: Some(0.45),
        cpu: many.then_some(0.40),
        cpu_of_relay: many.then_some(1.15),
    }
}
