//! Certificates that the identity service issues in a second of one core's time. No other peer has such
//! a service in what is compared here, so the aim is a number.

use std::net::SocketAddr;

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::Result;
use crate::figure::Measure;
use crate::load::certificates;
use crate::peers::{Peer, heddle};
use crate::stage::Stage;
use crate::world::Place;

/// Clients at a time.
const CONCURRENCY: u32 = 8;

pub(crate) struct Identity;

impl Case for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn title(&self) -> &'static str {
        "Certificates"
    }

    fn about(&self) -> String {
        format!(
            "Requests for certificates to heddle-identity, {CONCURRENCY} at a time, over gRPC and TLS: a token \
             whose ES256 signature is verified, a PKCS #10 request whose signature is verified, a P-256 \
             signature, a line in the log. A second is one of CPU time of the identity service (and of the \
             control plane, which is idle). Sidecars connect for each certificate, two a day."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Http1, App::Nginx)]
    }

    fn peers(&self) -> Vec<Peer> {
        vec![Peer::Heddle]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        let to = SocketAddr::from((Place::Node.ip(), heddle::IDENTITY_PORT));
        for (at, fresh) in [("kept connections", false), ("a connection each", true)] {
            let (done, spent) = stage.load(|ground, seconds| {
                certificates::load(ground, to, CONCURRENCY, fresh, seconds)
            })?;
            let rate = Measure::more("certificates", "/s and core")
                .at(at)
                .digits(0);
            let rate = if fresh { rate } else { rate.bound(3000.0) };
            stage.record(rate, done.certificates as f64 / spent.helpers);
        }
        Ok(())
    }
}
