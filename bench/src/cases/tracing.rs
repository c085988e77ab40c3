//! HTTP/1.1 with every request traced by both sidecars and exported over OTLP to a collector, which
//! counts the spans: two for each request, or some are lost.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::collector::{self, Counts};
use crate::error::Result;
use crate::figure::Measure;
use crate::load::wrk;
use crate::peers::Peer;
use crate::stage::{Aims, Stage};
use crate::stop;

pub(crate) struct Tracing;

impl Case for Tracing {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn title(&self) -> &'static str {
        "HTTP/1.1, every request traced"
    }

    fn about(&self) -> String {
        "As HTTP/1.1 above, but every request is traced: a client span and a server span, exported over OTLP \
         (gRPC) to a collector on the node, by Envoy with its OpenTelemetry tracer. CPU includes that of \
         exporting what is left when the load ends."
            .to_owned()
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup {
            tracing: true,
            ..Setup::new(Traffic::Http1, App::Nginx)
        }]
    }

    fn peers(&self) -> Vec<Peer> {
        vec![Peer::Heddle, Peer::Envoy]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        // Those of the checks.
        settled()?;
        let connections = stage.connections().into_iter().filter(|n| *n >= 16);
        for connections in connections {
            let ((load, spans), spent) = stage.load(|at, seconds| {
                let before = collector::counts()?;
                let load = wrk::run(at, connections, seconds)?;
                Ok((load, settled()?.since(before)))
            })?;
            let at = format!("{connections} connections");
            let aims = Aims {
                cpu: Some(0.50),
                ..Aims::default()
            };
            stage.record_requests(&at, &load, &spent, aims);
            // Requests that were under way when the load ended are traced and not counted by wrk: at
            // most one for each connection.
            let lost = (load.requests.saturating_sub(spans.client))
                + (load.requests.saturating_sub(spans.server));
            let lost = 100.0 * lost as f64 / (2 * load.requests) as f64;
            let lost_measure = Measure::less("spans lost", "%").at(&*at).bound(0.0);
            stage.record(lost_measure.digits(2).uncharted(), lost);
        }
        stage.record_memory("after the load", 0.50)
    }
}

/// What has come when nothing comes any more.
fn settled() -> Result<Counts> {
    /// More than the second for which the slower exporter keeps what is left.
    const SILENCE: Duration = Duration::from_millis(1500);
    const PATIENCE: Duration = Duration::from_secs(15);
    let begun = Instant::now();
    let mut last = (collector::counts()?, begun);
    while last.1.elapsed() < SILENCE && begun.elapsed() < PATIENCE {
        stop::sleep(Duration::from_millis(100))?;
        let now = collector::counts()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    Ok(last.0)
}
