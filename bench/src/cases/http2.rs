//! HTTP/2 with prior knowledge, and unary gRPC calls, by h2load: what is measured for HTTP/1.1, and many
//! streams on one connection besides.

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::Result;
use crate::load::h2load::{self, Request, Shape};
use crate::stage::{Aims, Stage};

/// HTTP/2, answers of 1 KiB.
pub(crate) struct Http2;

/// Unary calls.
pub(crate) struct Unary;

/// At once on one connection, where a client multiplexes.
const STREAMS: u32 = 64;

impl Case for Http2 {
    fn name(&self) -> &'static str {
        "http2"
    }

    fn title(&self) -> &'static str {
        "HTTP/2"
    }

    fn about(&self) -> String {
        format!(
            "Requests to nginx over HTTP/2 without TLS on the pods' own side, which answers 1 KiB; made by \
             h2load, one thread, a closed loop: one stream at a time on each connection, then {STREAMS} on one."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Http2, App::NginxHttp2)]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        measure(stage, Request::Get)
    }
}

impl Case for Unary {
    fn name(&self) -> &'static str {
        "grpc-unary"
    }

    fn title(&self) -> &'static str {
        "gRPC, unary calls"
    }

    fn about(&self) -> String {
        format!(
            "Calls with a message of 100 bytes, which a server of `h2` sends back; made by h2load as for \
             HTTP/2: one call at a time on each connection, then {STREAMS} on one."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Grpc, App::Grpc)]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        measure(stage, Request::Grpc)
    }
}

fn measure(stage: &mut Stage<'_>, request: Request) -> Result<()> {
    let mut shapes: Vec<Shape> = stage
        .connections()
        .into_iter()
        .map(|connections| Shape {
            connections,
            streams: 1,
        })
        .collect();
    shapes.push(Shape {
        connections: 1,
        streams: STREAMS,
    });
    for shape in shapes {
        let (load, spent) = stage.load(|at, seconds| h2load::run(at, shape, request, seconds))?;
        stage.record_requests(&shape.name(), &load, &spent, aims(shape));
    }
    stage.record_memory("after the load", 0.25)
}

fn aims(shape: Shape) -> Aims {
    Aims {
        throughput: (shape.connections * shape.streams >= 64).then_some(2.0),
        latency: Some(0.50),
        cpu: Some(0.50),
        cpu_of_relay: None,
    }
}
