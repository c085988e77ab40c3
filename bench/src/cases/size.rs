//! How large the sidecar's program file is.

use std::fs;

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::{Error, Result};
use crate::figure::Measure;
use crate::peers::Peer;
use crate::stage::Stage;

pub(crate) struct Size;

impl Case for Size {
    fn name(&self) -> &'static str {
        "size"
    }

    fn title(&self) -> &'static str {
        "The program file"
    }

    fn about(&self) -> String {
        "The file that a pod starts, as it is shipped: stripped of symbols. Libraries that it loads besides \
         are not counted (HAProxy and nginx load OpenSSL; Heddle and Envoy have all within)."
            .to_owned()
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Http1, App::Nginx)]
    }

    fn peers(&self) -> Vec<Peer> {
        vec![
            Peer::Relay,
            Peer::Heddle,
            Peer::Envoy,
            Peer::Haproxy,
            Peer::Nginx,
        ]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        const BYTES_PER_MIB: f64 = 1_048_576.0;
        let programs = stage.tools.programs;
        let file = match stage.peer {
            Peer::Direct => return Ok(()),
            Peer::Relay => &programs.relay,
            Peer::Heddle => &programs.proxy,
            Peer::Envoy => &programs.envoy,
            Peer::Haproxy => &programs.haproxy,
            Peer::Nginx => &programs.nginx,
        };
        let length = fs::metadata(file)
            .map_err(Error::file("look at", file))?
            .len();
        let measure = Measure::less("program file", "MiB").bound(10.0);
        stage.record(measure, length as f64 / BYTES_PER_MIB);
        Ok(())
    }
}
