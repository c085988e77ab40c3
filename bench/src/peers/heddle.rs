//! Heddle put together by hand, as docs/servers.md says: identity and control plane on the node, a
//! sidecar in each pod.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cases::Setup;
use crate::certificates::NAMESPACE;
use crate::collector;
use crate::error::{Error, Result};
use crate::http;
use crate::peers::{Sidecars, Tools};
use crate::process::Process;
use crate::programs::for_anybody;
use crate::template::fill;
use crate::tokens::Minter;
use crate::world::{Place, SERVICE, SIDECAR_USER, World};

const MESH: &str = include_str!("../../mesh/mesh.yaml");

/// Of heddle-identity, on the node.
pub(crate) const IDENTITY_PORT: u16 = 15013;
const CONTROL_PORT: u16 = 15012;

/// What the sidecars are told with.
struct Mesh {
    minter: Minter,
    root: PathBuf,
    identity: Process,
    control: Process,
}

/// Identity, control plane, and a sidecar in each pod.
pub(crate) fn start(tools: Tools<'_>, setup: &Setup) -> Result<Sidecars> {
    let mesh = mesh(tools, setup)?;
    let all = sidecars(&mesh, tools)?;
    let mut helpers = collector::start(tools, setup)?;
    helpers.extend([mesh.identity, mesh.control]);
    let mut sidecars = Sidecars::of(all, helpers);
    sidecars.ready(15021, "/healthz/ready")?;
    Ok(sidecars)
}

fn mesh(tools: Tools<'_>, setup: &Setup) -> Result<Mesh> {
    let Tools {
        world,
        programs,
        certificates,
    } = tools;
    let minter = Minter::new()?;
    world.fresh_dir("heddle", SIDECAR_USER)?;
    world.fresh_dir("heddle/manifests", 0)?;
    let manifests = world.path("heddle/manifests");
    world.write("heddle/manifests/mesh.yaml", &manifest(setup), 0)?;
    world.write("heddle/manifests/routes.yaml", &setup.routes, 0)?;
    let jwks = world.write("heddle/jwks.json", minter.jwks(), 0)?;
    let root = world.write("heddle/root-cert.pem", &certificates.root(), SIDECAR_USER)?;

    let published = world.path("heddle/published-root-cert.pem");
    let mut identity = Process::start(
        world,
        Place::Node,
        0,
        "heddle-identity",
        &programs.identity,
        flags(&[
            ("--data-dir", certificates.data_dir()),
            ("--token-jwks", &jwks),
            ("--trust-bundle-out", &published),
        ]),
    )?;
    // It appears when it listens.
    identity.wait("listening", || published.exists())?;

    let token = minter.mint("heddle-system", "heddle-control")?;
    let token = world.write("heddle/control-token", &token, 0)?;
    let state = world.fresh_dir("heddle/control-state", 0)?;
    let address = format!("{}:{IDENTITY_PORT}", Place::Node.ip());
    // No flag would be no endpoint, and an empty one is as well.
    let spans = match setup.tracing {
        true => format!("http://{}", collector::endpoint()),
        false => String::new(),
    };
    let mut control = Process::start(
        world,
        Place::Node,
        0,
        "heddle-control",
        &programs.control,
        flags(&[
            ("--config-dir", &manifests),
            ("--identity-address", Path::new(&address)),
            ("--token-file", &token),
            ("--trust-bundle-file", &root),
            ("--state-dir", &state),
            ("--otlp-endpoint", Path::new(&spans)),
        ]),
    )?;
    control.wait("listening", || http::listens(Place::Node, CONTROL_PORT))?;
    Ok(Mesh {
        minter,
        root,
        identity,
        control,
    })
}

/// Starts one in each pod, the client's first.
fn sidecars(mesh: &Mesh, tools: Tools<'_>) -> Result<Vec<Process>> {
    let Tools {
        world, programs, ..
    } = tools;
    let proxy = for_anybody(world, &programs.proxy)?;
    let node = Place::Node.ip();
    Place::PODS
        .into_iter()
        .map(|pod| {
            let (name, account) = match pod {
                Place::Client => ("client".to_owned(), "client"),
                _ => (format!("reviews-{}", pod.name()), "reviews"),
            };
            let dir = format!("heddle/{name}");
            world.fresh_dir(&dir, SIDECAR_USER)?;
            let state = world.fresh_dir(&format!("{dir}/state"), SIDECAR_USER)?;
            std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700))
                .map_err(crate::error::Error::file("protect", &state))?;
            let token = mesh.minter.mint(NAMESPACE, account)?;
            let token = world.write(&format!("{dir}/token"), &token, SIDECAR_USER)?;
            let mut args = vec![OsString::from("run")];
            args.extend(flags(&[
                ("--pod-name", Path::new(&name)),
                ("--pod-namespace", Path::new(NAMESPACE)),
                ("--pod-ip", Path::new(&pod.ip().to_string())),
                ("--service-account", Path::new(account)),
                (
                    "--control-address",
                    Path::new(&format!("{node}:{CONTROL_PORT}")),
                ),
                (
                    "--identity-address",
                    Path::new(&format!("{node}:{IDENTITY_PORT}")),
                ),
                ("--token-file", &token),
                ("--trust-bundle-file", &mesh.root),
                ("--state-dir", &state),
                ("--workers", Path::new("1")),
                // Where it is asked to end at all (see `process`), nobody is left to wait for.
                ("--termination-grace-seconds", Path::new("1")),
                // As Envoy is told.
                ("--log-level", Path::new("warn")),
            ]));
            Process::start(world, pod, SIDECAR_USER, "heddle-proxy", &proxy, args)
        })
        .collect()
}

/// Tells the control plane other routes, at once, and whatever else is in the file.
pub(crate) fn replace_routes(world: &World, text: &str) -> Result<()> {
    let new = world.write("heddle/routes.yaml.new", text, 0)?;
    let file = world.path("heddle/manifests/routes.yaml");
    std::fs::rename(&new, &file).map_err(Error::file("replace", &file))
}

/// Between one request to a new destination and the answer of the control plane.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(10);

fn manifest(setup: &Setup) -> String {
    fill(
        MESH,
        &[
            ("PORT_NAME", setup.traffic.port_name()),
            ("SAMPLING", if setup.tracing { "100" } else { "0" }),
            ("SERVICE_IP", &SERVICE.to_string()),
            ("CLIENT_IP", &Place::Client.ip().to_string()),
            ("V1_IP", &Place::V1.ip().to_string()),
            ("V2_IP", &Place::V2.ip().to_string()),
        ],
    )
}

fn flags(pairs: &[(&str, &Path)]) -> Vec<OsString> {
    pairs
        .iter()
        .flat_map(|(flag, value)| [OsString::from(flag), value.as_os_str().to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::cases::Traffic;

    #[test]
    fn every_name_in_the_manifest_has_a_value() {
        let setup = Setup::new(Traffic::Http1, App::Nginx);
        assert!(!manifest(&setup).contains("${"));
    }
}
