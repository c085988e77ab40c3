//! The bare relay: what hyper, tokio and rustls cost when nothing is decided. It sends every tenth
//! request to v2: a second server, seldom asked, costs more for a request, and everyone else has one.

use crate::cases::{Setup, Traffic};
use crate::error::{Error, Result};
use crate::http;
use crate::peers::{Sidecars, Tools};
use crate::process::Process;
use crate::programs::for_anybody;
use crate::world::{PORT, Place, SIDECAR_USER};

/// Starts one in each pod.
pub(crate) fn start(tools: Tools<'_>, setup: &Setup) -> Result<Sidecars> {
    if setup.traffic != Traffic::Http1 || setup.tracing {
        return Err(Error::Unable(
            "the bare relay speaks HTTP/1.1 and nothing else".into(),
        ));
    }
    let Tools {
        world,
        programs,
        certificates,
    } = tools;
    let dir = world.fresh_dir("relay", SIDECAR_USER)?;
    certificates.write(
        world,
        "relay",
        &[("client", "client"), ("server", "reviews")],
    )?;
    let relay = for_anybody(world, &programs.relay)?;
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let server_id = certificates.id("reviews")?;
    let sidecars: Result<Vec<Process>> = Place::PODS
        .into_iter()
        .map(|pod| {
            let at = |pod: Place| format!("{}:{PORT}", pod.ip());
            let (role, to) = match pod {
                Place::Client => ("client", format!("{},{}", at(Place::V1), at(Place::V2))),
                _ => ("server", at(pod)),
            };
            let mut args = vec![
                role.to_owned(),
                to,
                file(&format!("{role}-cert.pem")),
                file(&format!("{role}-key.pem")),
                file("root-cert.pem"),
            ];
            if pod == Place::Client {
                args.push(server_id.to_string());
            }
            Process::start(world, pod, SIDECAR_USER, "relay", &relay, args)
        })
        .collect();
    let mut sidecars = Sidecars::of(sidecars?, Vec::new());
    sidecars.each_ready(|pod| {
        let port = if pod == Place::Client { 15001 } else { 15006 };
        http::listens(pod, port)
    })?;
    Ok(sidecars)
}
