//! HAProxy as a relay with TLS: its configuration is in haproxy/, complete but for addresses, paths
//! and the protocol.

use crate::cases::{Setup, Traffic};
use crate::error::{Error, Result};
use crate::peers::{SERVER_NAME, Sidecars, Tools};
use crate::process::Process;
use crate::programs::for_anybody;
use crate::template::fill;
use crate::world::{Place, SIDECAR_USER};

const CLIENT: &str = include_str!("../../haproxy/client.cfg");
const SERVER: &str = include_str!("../../haproxy/server.cfg");
const CLIENT_TCP: &str = include_str!("../../haproxy/client-tcp.cfg");
const SERVER_TCP: &str = include_str!("../../haproxy/server-tcp.cfg");

/// Starts one in each pod.
pub(crate) fn start(tools: Tools<'_>, setup: &Setup) -> Result<Sidecars> {
    if setup.tracing {
        return Err(Error::Unable("HAProxy exports no OTLP".into()));
    }
    let Tools {
        world,
        programs,
        certificates,
    } = tools;
    let dir = world.fresh_dir("haproxy", SIDECAR_USER)?;
    certificates.write_named(
        world,
        "haproxy",
        &[
            ("client", "client", "client"),
            ("server", "reviews", SERVER_NAME),
        ],
    )?;
    let haproxy = for_anybody(world, &programs.haproxy)?;
    let sidecars: Result<Vec<Process>> = Place::PODS
        .into_iter()
        .map(|pod| {
            let text = configuration(setup.traffic, pod, &dir.to_string_lossy());
            let name = format!("haproxy/{}.cfg", pod.name());
            let file = world.write(&name, &text, SIDECAR_USER)?;
            // In the foreground, one process.
            let args = ["-db".as_ref(), "-f".as_ref(), file.as_os_str()];
            Process::start(world, pod, SIDECAR_USER, "haproxy", &haproxy, args)
        })
        .collect();
    let mut sidecars = Sidecars::of(sidecars?, Vec::new());
    sidecars.ready(15090, "/healthz/ready")?;
    Ok(sidecars)
}

fn configuration(traffic: Traffic, pod: Place, certificates: &str) -> String {
    let template = match (traffic, pod) {
        (Traffic::Tcp, Place::Client) => CLIENT_TCP,
        (Traffic::Tcp, _) => SERVER_TCP,
        (_, Place::Client) => CLIENT,
        (_, _) => SERVER,
    };
    let (protocol, alpn) = match traffic {
        Traffic::Http1 | Traffic::Tcp => ("", "http/1.1"),
        Traffic::Http2 | Traffic::Grpc => ("proto h2", "h2"),
    };
    fill(
        template,
        &[
            ("CERTIFICATES", certificates),
            ("SERVER_NAME", SERVER_NAME),
            ("V1_IP", &Place::V1.ip().to_string()),
            ("V2_IP", &Place::V2.ip().to_string()),
            ("OWN_IP", &pod.ip().to_string()),
            ("DOWNSTREAM", protocol),
            ("UPSTREAM", protocol),
            ("ALPN", alpn),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_configuration_has_a_value() {
        for traffic in [Traffic::Http1, Traffic::Http2, Traffic::Grpc, Traffic::Tcp] {
            for pod in Place::PODS {
                assert!(!configuration(traffic, pod, "x").contains("${"));
            }
        }
    }
}
