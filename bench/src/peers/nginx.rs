//! nginx as a relay with TLS: its configuration is in nginx/, complete but for addresses and paths.
//! Its proxy speaks HTTP/1.1 and gRPC to upstreams, not HTTP/2 in general.

use std::path::Path;

use crate::cases::{Setup, Traffic};
use crate::error::{Error, Result};
use crate::http;
use crate::peers::{SERVER_NAME, Sidecars, Tools};
use crate::process::Process;
use crate::programs::for_anybody;
use crate::template::fill;
use crate::world::{Place, SIDECAR_USER};

const CLIENT: &str = include_str!("../../nginx/client.conf");
const SERVER: &str = include_str!("../../nginx/server.conf");
const CLIENT_GRPC: &str = include_str!("../../nginx/client-grpc.conf");
const SERVER_GRPC: &str = include_str!("../../nginx/server-grpc.conf");
const CLIENT_TCP: &str = include_str!("../../nginx/client-tcp.conf");
const SERVER_TCP: &str = include_str!("../../nginx/server-tcp.conf");

/// Where packages put nginx's TCP proxy, a module of its own.
const STREAM_MODULES: &[&str] = &[
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
];

/// Starts one in each pod.
pub(crate) fn start(tools: Tools<'_>, setup: &Setup) -> Result<Sidecars> {
    if setup.tracing {
        return Err(Error::Unable("nginx exports no OTLP".into()));
    }
    let Tools {
        world,
        programs,
        certificates,
    } = tools;
    let module = STREAM_MODULES.iter().find(|path| Path::new(path).exists());
    let Some(module) = module else {
        return Err(Error::Missing {
            program: "nginx's TCP proxy".into(),
            remedy: "run `cargo xtask bench`, or `apt-get install libnginx-mod-stream`".into(),
        });
    };
    let dir = world.fresh_dir("nginx", SIDECAR_USER)?;
    certificates.write_named(
        world,
        "nginx",
        &[
            ("client", "client", "client"),
            ("server", "reviews", SERVER_NAME),
        ],
    )?;
    let nginx = for_anybody(world, &programs.nginx)?;
    let sidecars: Result<Vec<Process>> = Place::PODS
        .into_iter()
        .map(|pod| {
            let own = world.fresh_dir(&format!("nginx/{}", pod.name()), SIDECAR_USER)?;
            let text = configuration(setup.traffic, pod, module, &dir, &own)?;
            let name = format!("nginx/{}.conf", pod.name());
            let file = world.write(&name, &text, SIDECAR_USER)?;
            let args = [
                "-e".as_ref(),
                "stderr".as_ref(),
                "-p".as_ref(),
                own.as_os_str(),
                "-c".as_ref(),
                file.as_os_str(),
            ];
            Process::start(world, pod, SIDECAR_USER, "nginx", &nginx, args)
        })
        .collect();
    let mut sidecars = Sidecars::of(sidecars?, Vec::new());
    // Not by a request, because it counts them.
    sidecars.each_ready(|pod| http::listens(pod, 15090))?;
    Ok(sidecars)
}

fn configuration(
    traffic: Traffic,
    pod: Place,
    module: &str,
    certificates: &Path,
    own: &Path,
) -> Result<String> {
    Ok(fill(
        template(traffic, pod)?,
        &[
            ("CERTIFICATES", &certificates.to_string_lossy()),
            ("DIR", &own.to_string_lossy()),
            ("SERVER_NAME", SERVER_NAME),
            ("STREAM_MODULE", module),
            ("V1_IP", &Place::V1.ip().to_string()),
            ("V2_IP", &Place::V2.ip().to_string()),
            ("OWN_IP", &pod.ip().to_string()),
        ],
    ))
}

fn template(traffic: Traffic, pod: Place) -> Result<&'static str> {
    match (traffic, pod) {
        (Traffic::Http1, Place::Client) => Ok(CLIENT),
        (Traffic::Http1, _) => Ok(SERVER),
        (Traffic::Grpc, Place::Client) => Ok(CLIENT_GRPC),
        (Traffic::Grpc, _) => Ok(SERVER_GRPC),
        (Traffic::Tcp, Place::Client) => Ok(CLIENT_TCP),
        (Traffic::Tcp, _) => Ok(SERVER_TCP),
        (Traffic::Http2, _) => Err(Error::Unable(
            "nginx sends no HTTP/2 upstream but gRPC".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::peers::Peer;

    #[test]
    fn every_name_in_the_configuration_has_a_value() {
        for traffic in [Traffic::Http1, Traffic::Grpc, Traffic::Tcp] {
            assert!(Peer::able(traffic).contains(&Peer::Nginx));
            for pod in Place::PODS {
                let x = Path::new("x");
                let text = configuration(traffic, pod, "x", x, x).unwrap();
                assert!(!text.contains("${"), "{traffic:?} {}", pod.name());
            }
        }
    }

    #[test]
    fn http2_is_declined_before_anything_is_started() {
        assert!(!Peer::able(Traffic::Http2).contains(&Peer::Nginx));
        assert!(template(Traffic::Http2, Place::Client).is_err());
    }
}
