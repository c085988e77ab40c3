//! `heddle exec`: finds the pod, then runs the command inside it with this terminal's own input,
//! output and exit code.

use crate::api::{Client, Container, Pod, Status};
use crate::args::Exec;
use crate::failure::{Failure, Outcome};
use crate::manifests::{Key, resolve};
use crate::node::ExecTarget;
use crate::node::status::PROXY_CONTAINER;

pub(crate) async fn run(client: &Client, args: Exec) -> Outcome {
    let status = client.status().await?;
    let pod = find(&status, &args.namespace, &args.pod)?;
    let container = container(pod, args.container.as_deref())?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::new("cannot find my own program").because(&error))?;
    let target = ExecTarget {
        netns: pod.netns.clone(),
        pid: container.pid,
        argv: args.command,
    };
    // Only a failure comes back: the command has taken this process's place.
    Err(target.replace(&program).into())
}

/// The container asked for, else the first one of the app.
fn container<'a>(pod: &'a Pod, asked: Option<&str>) -> Outcome<&'a Container> {
    let apps = || {
        pod.containers
            .iter()
            .filter(|container| container.kind == "app" && container.name != PROXY_CONTAINER)
    };
    let found = match asked {
        Some(name) => pod
            .containers
            .iter()
            .find(|container| container.name == name),
        None => apps().next().or(pod.containers.first()),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = pod
            .containers
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        Failure::new(format!(
            "pod `{}` has no container `{}`",
            pod.name,
            asked.unwrap_or_default()
        ))
        .advise(format!("one of: {}", names.join(", ")))
    })
}

/// The pod of that name, else the first ready pod of a workload of that name.
pub(super) fn find<'a>(status: &'a Status, namespace: &str, asked: &str) -> Outcome<&'a Pod> {
    let (kind, name) = match asked.split_once('/') {
        None => (None, asked),
        Some((word, name)) => {
            let kind = resolve(word)
                .ok_or_else(|| Failure::new(format!("`{word}` is not a kind of `{asked}`")))?;
            (Some(kind.name), name)
        }
    };
    let here = || status.pods.iter().filter(|pod| pod.namespace == namespace);
    if kind.is_none_or(|kind| kind == "Pod")
        && let Some(pod) = here().find(|pod| pod.name == name)
    {
        return Ok(pod);
    }
    let kinds = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
    ];
    let owners: Vec<String> = kinds
        .iter()
        .filter(|known| kind.is_none_or(|kind| kind == **known))
        .map(|kind| Key::new(kind, namespace, name).to_string())
        .collect();
    let mut own: Vec<&Pod> = here().filter(|pod| owners.contains(&pod.owner)).collect();
    if own.is_empty() && kind.is_none() {
        own = here().filter(|pod| is_version_of(pod, name)).collect();
        // `reviews` says nothing where there are reviews-v1 and reviews-v2.
        if own.iter().any(|pod| pod.owner != own[0].owner) {
            let owners: std::collections::BTreeSet<_> =
                own.iter().map(|pod| workload(pod)).collect();
            let owners = owners.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Failure::new(format!("`{asked}` may be any of {owners}"))
                .advise("name one of them"));
        }
    }
    own.sort_by_key(|pod| (!pod.ready, pod.phase == "Terminating"));
    own.first().copied().ok_or_else(|| {
        let failure = Failure::new(format!(
            "no pod or workload `{asked}` in namespace `{namespace}`"
        ));
        let elsewhere = status
            .pods
            .iter()
            .find(|pod| pod.name == name || workload(pod) == name);
        match elsewhere {
            Some(pod) => failure.advise(format!(
                "there is one in namespace `{}`: -n {}",
                pod.namespace, pod.namespace
            )),
            None => failure.advise("heddle get pods -A  lists them"),
        }
    })
}

/// The name of what made a pod.
fn workload(pod: &Pod) -> &str {
    let owner = pod.owner.split(' ').next().unwrap_or_default();
    owner.split_once('/').map_or(owner, |(_, name)| name)
}

/// `productpage-v1` is what a person means by `productpage`, where there is no other.
fn is_version_of(pod: &Pod, name: &str) -> bool {
    let rest = workload(pod)
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix("-v"));
    rest.is_some_and(|version| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pods_are_found_by_name_and_by_workload() {
        let pod = |namespace: &str, name: &str, owner: Key, ready| Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            owner: owner.to_string(),
            ready,
            ..Pod::default()
        };
        let status = Status {
            pods: vec![
                pod(
                    "default",
                    "web-1-a",
                    Key::new("Deployment", "default", "web"),
                    false,
                ),
                pod(
                    "default",
                    "web-1-b",
                    Key::new("Deployment", "default", "web"),
                    true,
                ),
                pod("shop", "db-0", Key::new("StatefulSet", "shop", "db"), true),
            ],
            ..Status::default()
        };
        let found = |namespace, asked| find(&status, namespace, asked).map(|pod| pod.name.as_str());
        assert_eq!(found("default", "web-1-a").unwrap(), "web-1-a");
        assert_eq!(found("default", "web").unwrap(), "web-1-b");
        assert_eq!(found("default", "deploy/web").unwrap(), "web-1-b");
        assert_eq!(found("shop", "sts/db").unwrap(), "db-0");
        let mut versions = status.clone();
        versions.pods = vec![pod(
            "default",
            "a-v1-x",
            Key::new("Deployment", "default", "a-v1"),
            true,
        )];
        assert_eq!(find(&versions, "default", "a").unwrap().name, "a-v1-x");
        versions.pods.push(pod(
            "default",
            "a-v2-x",
            Key::new("Deployment", "default", "a-v2"),
            true,
        ));
        assert!(find(&versions, "default", "a").is_err());
        let style = crate::terminal::Style::PLAIN;
        assert!(
            found("default", "db")
                .unwrap_err()
                .render(style)
                .contains("-n shop")
        );
        assert!(found("default", "sts/web").is_err());
    }
}
