//! New mutual TLS connections: each of the application's is one between the sidecars.

use crate::app::App;
use crate::cases::{Case, Setup};
use crate::error::Result;
use crate::figure::Measure;
use crate::load::connections::{self, Done};
use crate::peers::Peer;
use crate::stage::Stage;

/// At a time.
const CONCURRENCY: u32 = 16;

pub(crate) struct Connections;

impl Case for Connections {
    fn name(&self) -> &'static str {
        "connections"
    }

    fn title(&self) -> &'static str {
        "New mutual TLS connections"
    }

    fn about(&self) -> String {
        format!(
            "Opaque TCP, {CONCURRENCY} connections at a time: connect, send 16 bytes, read them back, close. \
             Each is a new mutual TLS connection between the sidecars with a whole handshake. Resumption, \
             where a peer has it, is switched off: who resumes does not look at the certificate again."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::opaque(App::Echo)]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        let (done, spent): (Done, _) =
            stage.load(|at, seconds| connections::load(at, CONCURRENCY, seconds))?;
        let per_second = done.connections as f64 / (done.duration_us / 1e6);
        let new = Measure::more("connections", "/s").digits(0);
        stage.record(new.aim(1.3, Peer::Envoy), per_second);
        for (what, took) in [
            ("connect to echo, p50", done.p50_us),
            ("connect to echo, p99", done.p99_us),
        ] {
            stage.record(Measure::less(what, "µs").digits(0), took);
        }
        if stage.peer != Peer::Direct {
            let each = |seconds: f64| seconds * 1e6 / done.connections as f64;
            let cpu = |what| Measure::less(what, "µs/connection");
            stage.record(cpu("CPU of both sidecars"), each(spent.sidecars()));
            stage.record(cpu("– the client's").uncharted(), each(spent.client));
            stage.record(cpu("– the server's").uncharted(), each(spent.servers));
        }
        Ok(())
    }
}
