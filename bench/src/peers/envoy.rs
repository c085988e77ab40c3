//! Envoy as a sidecar: its configuration is in envoy/, complete but for addresses, paths, the protocol,
//! and what tracing adds.

use crate::cases::{Setup, Traffic};
use crate::collector;
use crate::error::{Error, Result};
use crate::peers::{Sidecars, Tools};
use crate::process::Process;
use crate::programs::for_anybody;
use crate::template::fill;
use crate::world::{Place, SIDECAR_USER, World};

const CLIENT: &str = include_str!("../../envoy/client.yaml");
const SERVER: &str = include_str!("../../envoy/server.yaml");
/// Of the client's, the routes of the example.
pub(crate) const ROUTES: &str = include_str!("../../envoy/routes.yaml");
const CLIENT_TCP: &str = include_str!("../../envoy/client-tcp.yaml");
const SERVER_TCP: &str = include_str!("../../envoy/server-tcp.yaml");
const TRACING: &str = include_str!("../../envoy/tracing.yaml");

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
        ("COLLECTOR_IP", &Place::Node.ip().to_string()),
        ("SERVER_ID", server.as_str()),
        ("TRUST_DOMAIN", certificates.trust_domain().as_ref()),
    ];
    let write = |pod: Place| {
        let text = fill(&shape(setup, pod), &values);
        world.write(&format!("envoy/{}.yaml", pod.name()), &text, SIDECAR_USER)
    };
    replace_routes(world, ROUTES)?;
    let helpers = collector::start(tools, setup)?;
    let envoy = for_anybody(world, &programs.envoy)?;
    let sidecars: Result<Vec<Process>> = Place::PODS
        .into_iter()
        .map(|pod| {
            let config = write(pod)?;
            let args = ["-c".as_ref(), config.as_os_str()];
            let args = args.into_iter().chain(FLAGS.iter().map(AsRef::as_ref));
            Process::start(world, pod, SIDECAR_USER, "envoy", &envoy, args)
        })
        .collect();
    let mut sidecars = Sidecars::of(sidecars?, helpers);
    sidecars.ready(15000, "/ready")?;
    Ok(sidecars)
}

/// Tells the client's Envoy other routes, at once: it looks at what is moved into its directory.
pub(crate) fn replace_routes(world: &World, text: &str) -> Result<()> {
    let new = world.write("envoy/routes.yaml.new", text, SIDECAR_USER)?;
    let file = world.path("envoy/routes.yaml");
    std::fs::rename(&new, &file).map_err(Error::file("replace", &file))
}

/// A pod's configuration, but for what is the same in all.
fn shape(setup: &Setup, pod: Place) -> String {
    let (template, service) = match (setup.traffic, pod) {
        (Traffic::Tcp, Place::Client) => return CLIENT_TCP.to_owned(),
        (Traffic::Tcp, _) => return SERVER_TCP.to_owned(),
        (_, Place::Client) => (CLIENT, "client"),
        (_, _) => (SERVER, "reviews"),
    };
    let (options, alpn) = match setup.traffic {
        Traffic::Http2 | Traffic::Grpc => ("http2_protocol_options: {}", "h2"),
        Traffic::Http1 | Traffic::Tcp => ("http_protocol_options: {}", "http/1.1"),
    };
    let tracing = if setup.tracing { TRACING } else { "" };
    let mut parts = tracing.split("---\n");
    let mut part = |indent| indented(parts.next().unwrap_or_default(), indent);
    let text = fill(
        template,
        &[
            ("HTTP_OPTIONS", options),
            ("ALPN", alpn),
            ("TRACING", &part(10)),
            ("COLLECTOR", &part(2)),
            ("RUNTIME", &part(0)),
        ],
    );
    fill(&text, &[("SERVICE_NAME", service)])
}

/// A block to be put where its first line already is at this depth.
fn indented(block: &str, by: usize) -> String {
    block.trim_end().replace('\n', &format!("\n{:by$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;

    #[test]
    fn every_name_in_the_configuration_has_a_value() {
        let values = [
            "CERTIFICATES",
            "V1_IP",
            "V2_IP",
            "COLLECTOR_IP",
            "SERVER_ID",
            "TRUST_DOMAIN",
        ]
        .map(|n| (n, "x"));
        for traffic in [Traffic::Http1, Traffic::Http2, Traffic::Grpc, Traffic::Tcp] {
            for pod in Place::PODS {
                let mut setup = Setup::new(traffic, App::Nginx);
                for tracing in [false, true] {
                    setup.tracing = tracing;
                    assert!(!fill(&shape(&setup, pod), &values).contains("${"));
                }
            }
        }
    }

    #[test]
    fn tracing_is_put_in_its_three_places() {
        let mut setup = Setup::new(Traffic::Http1, App::Nginx);
        assert!(!shape(&setup, Place::Client).contains("opentelemetry"));
        setup.tracing = true;
        let text = shape(&setup, Place::Client);
        for line in [
            "\n          tracing:",
            "\n            provider:",
            "\n  - name: opentelemetry_collector",
            "\n    type: STATIC",
            "\nlayered_runtime:",
        ] {
            assert!(text.contains(line), "{line:?}");
        }
    }
}
