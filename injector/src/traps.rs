//! What in an app's pod does not go together with a sidecar: names that are taken are refused,
//! what works but not as its author expects is warned of.

use crate::context::PodContext;
use crate::error::InjectError;
use crate::names;
use crate::settings::Settings;
use crate::view::{ContainerView, Named, PodView};
use crate::volumes;

pub(crate) fn refuse_reserved_names(view: &PodView) -> Result<(), InjectError> {
    let refuse = |what, name: &str| {
        Err(InjectError::ReservedName {
            what,
            name: name.to_owned(),
        })
    };
    for (what, containers) in [
        ("init container", view.init_containers()),
        ("container", &view.spec.containers),
    ] {
        let reserved = |name: &str| matches!(name, names::INIT_CONTAINER | names::PROXY_CONTAINER);
        if let Some(container) = containers
            .iter()
            .find(|container| reserved(&container.name))
        {
            return refuse(what, &container.name);
        }
    }
    let is_ours = |volume: &&Named| volumes::NAMES.contains(&volume.name.as_str());
    if let Some(volume) = view.volumes().iter().find(is_ours) {
        return refuse("volume", &volume.name);
    }
    // The sidecar's key and token are not the app's to read.
    let mut mounts = view.all_containers().flat_map(ContainerView::mounts);
    match mounts.find(is_ours) {
        Some(mount) => refuse("volume mount", &mount.name),
        None => Ok(()),
    }
}

pub(crate) fn warn_of_traps(
    view: &PodView,
    context: &PodContext,
    settings: &Settings,
    warnings: &mut Vec<String>,
) {
    let pods = view.spec.security_context.as_ref();
    let pods = (
        pods.and_then(|context| context.run_as_user),
        pods.and_then(|context| context.run_as_group),
    );
    for container in view.all_containers() {
        let own = container.security_context.as_ref();
        let user = own.and_then(|context| context.run_as_user).or(pods.0);
        let group = own.and_then(|context| context.run_as_group).or(pods.1);
        if user == Some(names::PROXY_UID) || group == Some(names::PROXY_UID) {
            let name = &container.name;
            warnings.push(format!("container {name} runs as 1337, the sidecar's own user or group: its traffic goes past the mesh"));
        }
        let is_ours =
            |port: i32| u16::try_from(port).is_ok_and(|port| names::PROXY_PORTS.contains(&port));
        for port in container
            .ports()
            .iter()
            .map(|port| port.container_port)
            .filter(|port| is_ours(*port))
        {
            warnings.push(format!(
                "container {} uses port {port}, on which the sidecar listens",
                container.name
            ));
        }
    }
    if view.spec.share_process_namespace == Some(true) {
        warnings.push("shareProcessNamespace: containers that run as root can read the sidecar's memory, its key included".into());
    }
    if !settings.native_sidecar {
        if context.is_job() {
            warnings.push("the sidecar keeps this Job from completing: set heddle.io/native-sidecar: \"true\" (Kubernetes 1.29 or newer)".into());
        }
        if !view.init_containers().is_empty() {
            warnings.push(
                "init containers run before the sidecar: their traffic is not in the mesh".into(),
            );
        }
    }
}
