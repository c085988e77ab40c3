//! Envoy as a sidecar: its configuration is in envoy/, complete but for addresses and paths.

use crate::cases::{Setup, Traffic};
use crate::error::{Error, Result};
use crate::peers::{Sidecars, Tools};
use crate::process::Process;
use crate::programs::for_anybody;
use crate::template::fill;
use crate::world::{Place, SIDECAR_USER};

const CLIENT: &str = include_str!("../../envoy/client.yaml");
const SERVER: &str = include_str!("../../envoy/server.yaml");

/// One worker, as Istio starts it.
const FLAGS: &[&str] = &[
    "--concurrency",
    "1",
    "--disable-hot-restart",
    "--log-level",
    "warning",
];

/// Starts one in each pod.
pub(crate) fn start(tools: Tools<'_>, setup: &Setup) -> Result<Sidecars> {
    if setup.traffic != Traffic::Http1 || setup.tracing {
        return Err(Error::Unable(format!(
            "there is no configuration for {:?}, tracing {}",
            setup.traffic, setup.tracing
        )));
    }
    let Tools {
        world,
        programs,
        certificates,
    } = tools;
    let dir = world.fresh_dir("envoy", SIDECAR_USER)?;
    certificates.write(
        world,
        "envoy",
        &[("client", "client"), ("server", "reviews")],
    )?;
    let server = certificates.id("reviews")?;
    let values = [
        ("CERTIFICATES", &*dir.to_string_lossy()),
        ("V1_IP", &Place::V1.ip().to_string()),
        ("V2_IP", &Place::V2.ip().to_string()),
        ("SERVER_ID", server.as_str()),
        ("TRUST_DOMAIN", certificates.trust_domain().as_ref()),
    ];
    let client = world.write("envoy/client.yaml", &fill(CLIENT, &values), SIDECAR_USER)?;
    let server = world.write("envoy/server.yaml", &fill(SERVER, &values), SIDECAR_USER)?;
    let envoy = for_anybody(world, &programs.envoy)?;
    let sidecars: Result<Vec<Process>> = Place::PODS
        .into_iter()
        .map(|pod| {
            let config = if pod == Place::Client {
                &client
            } else {
                &server
            };
            let args = ["-c".as_ref(), config.as_os_str()];
            let args = args.into_iter().chain(FLAGS.iter().map(AsRef::as_ref));
            Process::start(world, pod, SIDECAR_USER, "envoy", &envoy, args)
        })
        .collect();
    let mut sidecars = Sidecars::of(sidecars?, Vec::new());
    sidecars.ready(15000, "/ready")?;
    Ok(sidecars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_configuration_has_a_value() {
        let values = [
            "CERTIFICATES",
            "V1_IP",
            "V2_IP",
            "SERVER_ID",
            "TRUST_DOMAIN",
        ]
        .map(|n| (n, "x"));
        for text in [CLIENT, SERVER] {
            assert!(!fill(text, &values).contains("${"));
        }
    }
}
