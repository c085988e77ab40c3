//! gRPC streams both ways: small messages, each sent when the one before has come back.

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::Result;
use crate::figure::Measure;
use crate::load::streams::{self, Done};
use crate::peers::Peer;
use crate::stage::Stage;

const CONNECTIONS: u32 = 16;
const STREAMS: u32 = 4;
/// Of a message.
const BYTES: usize = 64;

pub(crate) struct Streams;

impl Case for Streams {
    fn name(&self) -> &'static str {
        "grpc-streams"
    }

    fn title(&self) -> &'static str {
        "gRPC streams"
    }

    fn about(&self) -> String {
        format!(
            "{CONNECTIONS} connections with {STREAMS} streams each, both ways, for the whole measurement: on \
             each a message of {BYTES} bytes is sent when the echo of the one before has come."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Grpc, App::Grpc)]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        let (done, spent): (Done, _) =
            stage.load(|at, seconds| streams::load(at, (CONNECTIONS, STREAMS), BYTES, seconds))?;
        let per_second = done.messages as f64 / (done.duration_us / 1e6);
        stage.record(Measure::more("messages", "/s").digits(0), per_second);
        for (what, took) in [
            ("there and back, p50", done.p50_us),
            ("there and back, p99", done.p99_us),
        ] {
            let aimed = Measure::less(what, "µs").digits(0).aim(0.5, Peer::Envoy);
            stage.record(aimed, took);
        }
        if stage.peer != Peer::Direct {
            let each = |seconds: f64| seconds * 1e6 / done.messages as f64;
            let cpu = |what| Measure::less(what, "µs/message");
            let both = cpu("CPU of both sidecars").aim(0.5, Peer::Envoy);
            stage.record(both, each(spent.sidecars()));
            stage.record(cpu("– the client's").uncharted(), each(spent.client));
            stage.record(cpu("– the servers'").uncharted(), each(spent.servers));
        }
        Ok(())
    }
}
