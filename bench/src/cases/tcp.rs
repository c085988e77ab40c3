//! Opaque TCP: one stream of iperf3 through both sidecars, encrypted between them, each way.

use crate::app::App;
use crate::cases::{Case, Setup};
use crate::error::Result;
use crate::figure::Measure;
use crate::load::iperf3::{self, Direction};
use crate::peers::Peer;
use crate::stage::Stage;

pub(crate) struct Tcp;

impl Case for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn title(&self) -> &'static str {
        "Opaque TCP"
    }

    fn about(&self) -> String {
        "One stream of iperf3, towards the server and from it.".to_owned()
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::opaque(App::Iperf3)]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        for (direction, at) in [
            (Direction::Up, "to the server"),
            (Direction::Down, "from the server"),
        ] {
            let (done, spent) = stage.load(|at, seconds| iperf3::run(at, direction, seconds))?;
            let gigabits = done.bytes as f64 * 8.0 / done.seconds / 1e9;
            let throughput = Measure::more("throughput", "Gb/s").at(at).digits(2);
            stage.record(throughput.aim(1.2, Peer::Envoy), gigabits);
            if stage.peer != Peer::Direct {
                let each = |seconds: f64| seconds / (done.bytes as f64 / 1e9);
                let cpu = |what| Measure::less(what, "s/GB").at(at).digits(2);
                stage.record(cpu("CPU of both sidecars"), each(spent.sidecars()));
                stage.record(cpu("– the client's").uncharted(), each(spent.client));
                stage.record(cpu("– the server's").uncharted(), each(spent.servers));
            }
        }
        Ok(())
    }
}
