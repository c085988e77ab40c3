//! From what a pod's manifest says of a container to what is run here.
//!
//! Where Kubernetes would ask the image, this machine has its own answer: no command is an error,
//! the user is 1000 and never root unless asked for, the working directory is `/`.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;

use super::{
    BIN_DIR, DEFAULT_PATH,
    credentials::credentials,
    spec::{InitSpec, MountSpec, ProcessSpec, View},
};
use crate::{
    NodeError,
    environment::{Environment, Facts},
    netns,
    pod::PodSandbox,
    volumes::Volumes,
};

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
            user: credentials(container, facts.pod.spec.as_ref())?,
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
    words.map(|word| env.expand(word)).collect()
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
            (_, Some(path)) => env.expand(path)?,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_container_without_a_command_is_told_what_to_do() {
        let container = Container {
            name: "c".into(),
            ..Container::default()
        };
        let error = argv(&container, &Environment::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("its image is not pulled: give it a `command`"),
            "{error}"
        );
    }
}
