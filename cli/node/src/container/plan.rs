//! From what a pod's manifest says of a container to what is run here.
//!
//! Where Kubernetes would ask the image, this machine has its own answer: no command is an error,
//! the user is 1000 and never root unless asked for, the working directory is `/`.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{
    BIN_DIR, DEFAULT_PATH,
    spec::{InitSpec, MountSpec, ProcessSpec, User, View},
    user::{DEFAULT_CAPABILITIES, capability},
};
use crate::{
    NodeError,
    environment::{Environment, Facts},
    netns,
    pod::PodSandbox,
    volumes::Volumes,
};

/// Who an app is when its manifest does not say.
pub(crate) const DEFAULT_UID: u32 = 1000;

/// Decides everything about one start of a container.
pub(crate) fn plan(
    container: &Container,
    facts: &Facts<'_>,
    volumes: &Volumes,
    sandbox: &PodSandbox,
    bin_dir: &Path,
) -> Result<InitSpec, NodeError> {
    let mut env = base_environment(&sandbox.names.hostname);
    env.extend(container, facts)?;
    let path = env.get("PATH").unwrap_or(DEFAULT_PATH);
    if !path.split(':').any(|dir| dir == BIN_DIR) {
        env.set("PATH", format!("{BIN_DIR}:{path}"));
    }
    let argv = argv(container, &env)?;
    let mounts = mounts(container, volumes, &env)?;
    let security = container.security_context.as_ref();
    Ok(InitSpec {
        netns: netns::path(&sandbox.netns),
        view: Some(View {
            hostname: sandbox.names.hostname.clone(),
            etc: sandbox.etc(),
            bin_dir: bin_dir.to_owned(),
            mounts,
            read_only_root: security
                .and_then(|s| s.read_only_root_filesystem)
                .unwrap_or(false),
        }),
        process: ProcessSpec {
            argv,
            env: env.into_pairs(),
            cwd: container
                .working_dir
                .as_deref()
                .filter(|d| !d.is_empty())
                .unwrap_or("/")
                .into(),
            user: user(container, facts.pod.spec.as_ref())?,
        },
    })
}

fn base_environment(hostname: &str) -> Environment {
    let mut env = Environment::default();
    env.set("PATH", DEFAULT_PATH);
    env.set("HOSTNAME", hostname);
    env.set("HOME", "/");
    env
}

fn argv(container: &Container, env: &Environment) -> Result<Vec<String>, NodeError> {
    let command = container.command.as_deref().unwrap_or_default();
    if command.is_empty() {
        return Err(NodeError::spec(
            format!("container {}", container.name),
            "its image is not pulled: give it a `command`, which is run from this machine",
        ));
    }
    let words = command.iter().chain(container.args.iter().flatten());
    Ok(words.map(|word| env.expand(word)).collect())
}

fn mounts(
    container: &Container,
    volumes: &Volumes,
    env: &Environment,
) -> Result<Vec<MountSpec>, NodeError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let what = || {
            format!(
                "volume mount {} of container {}",
                mount.name, container.name
            )
        };
        let Some(source) = volumes.path(&mount.name) else {
            return Err(NodeError::spec(
                what(),
                "the pod has no volume of that name",
            ));
        };
        let below = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => path.clone(),
            (_, Some(path)) => env.expand(path),
            _ => String::new(),
        };
        let inside = |path: &Path| {
            path.components()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
        };
        if !inside(Path::new(&below)) {
            return Err(NodeError::spec(
                what(),
                format!("subPath `{below}` leaves the volume"),
            ));
        }
        let mut path = source.to_owned();
        if !below.is_empty() {
            path.push(&below);
            if !path.exists() {
                std::fs::create_dir_all(&path).map_err(NodeError::file("make", &path))?;
            }
        }
        let target = PathBuf::from(&mount.mount_path);
        if !target.is_absolute() {
            let reason = format!("mountPath `{}` must begin with /", mount.mount_path);
            return Err(NodeError::spec(what(), reason));
        }
        let read_only = mount.read_only.unwrap_or(false);
        mounts.push(MountSpec {
            source: path,
            target,
            read_only,
        });
    }
    Ok(mounts)
}

/// The container's own security context, then the pod's, then ours.
pub(crate) fn user(container: &Container, pod: Option<&PodSpec>) -> Result<User, NodeError> {
    let refuse = |reason: String| {
        Err(NodeError::spec(
            format!("securityContext of container {}", container.name),
            reason,
        ))
    };
    let own = container.security_context.as_ref();
    let pod = pod.and_then(|spec| spec.security_context.as_ref());
    let asked = own
        .and_then(|s| s.run_as_user)
        .or(pod.and_then(|s| s.run_as_user));
    let group = own
        .and_then(|s| s.run_as_group)
        .or(pod.and_then(|s| s.run_as_group));
    let (Ok(uid), Ok(gid)) = (
        asked.map_or(Ok(DEFAULT_UID), u32::try_from),
        group.map(u32::try_from).transpose(),
    ) else {
        return refuse("runAsUser and runAsGroup must be 0 to 4294967295".into());
    };
    let non_root = own
        .and_then(|s| s.run_as_non_root)
        .or(pod.and_then(|s| s.run_as_non_root));
    if uid == 0 && non_root == Some(true) {
        return refuse("runAsNonRoot is true but runAsUser is 0".into());
    }
    let extra = pod.into_iter().flat_map(|s| {
        s.supplemental_groups
            .iter()
            .flatten()
            .copied()
            .chain(s.fs_group)
    });
    let privileged = own.and_then(|s| s.privileged) == Some(true);
    let mut capabilities = if privileged {
        u64::MAX
    } else {
        default_capabilities()
    };
    let changes = own.and_then(|s| s.capabilities.as_ref());
    for (names, add) in [
        (changes.and_then(|c| c.drop.as_ref()), false),
        (changes.and_then(|c| c.add.as_ref()), true),
    ] {
        for name in names.into_iter().flatten() {
            match capability(name) {
                Some(bits) if add => capabilities |= bits,
                Some(bits) => capabilities &= !bits,
                None => return refuse(format!("there is no capability `{name}`")),
            }
        }
    }
    let escalation = own
        .and_then(|s| s.allow_privilege_escalation)
        .unwrap_or(privileged);
    Ok(User {
        uid,
        gid: gid.unwrap_or(uid),
        groups: extra
            .filter_map(|group| u32::try_from(group).ok())
            .collect(),
        capabilities,
        no_new_privileges: !escalation,
    })
}

fn default_capabilities() -> u64 {
    DEFAULT_CAPABILITIES
        .iter()
        .filter_map(|name| capability(name))
        .fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn container(security: serde_json::Value) -> Container {
        serde_json::from_value(json!({"name": "c", "securityContext": security})).unwrap()
    }

    #[test]
    fn nobody_is_root_unless_asked() {
        let pod: PodSpec = serde_json::from_value(
            json!({"containers": [], "securityContext": {"runAsUser": 7, "fsGroup": 9}}),
        )
        .unwrap();
        let app = user(&container(json!({})), None).unwrap();
        assert_eq!(
            (app.uid, app.gid, app.no_new_privileges),
            (1000, 1000, true)
        );
        let app = user(&container(json!({})), Some(&pod)).unwrap();
        assert_eq!((app.uid, app.gid, app.groups), (7, 7, vec![9]));
        let init = json!({"runAsUser": 0, "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}});
        let init = user(&container(init), Some(&pod)).unwrap();
        assert_eq!((init.uid, init.capabilities), (0, 1 << 12 | 1 << 13));
        let contradiction = json!({"runAsUser": 0, "runAsNonRoot": true});
        assert!(user(&container(contradiction), None).is_err());
        let unknown = json!({"capabilities": {"add": ["FLY"]}});
        let error = user(&container(unknown), None).unwrap_err().to_string();
        assert!(error.contains("`FLY`"), "{error}");
    }

    #[test]
    fn a_container_without_a_command_is_told_what_to_do() {
        let error = argv(&container(json!({})), &Environment::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("its image is not pulled: give it a `command`"),
            "{error}"
        );
    }
}
