//! `heddle logs`: what the sidecars of pods have written, or their applications, as it stands in the node's
//! files. Bytes are passed on as they are; where there is more than one source, each line says whose it is.

mod tail;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use self::tail::Tail;
use super::exec::find;
use crate::api::{Client, Pod, Status};
use crate::args::Logs;
use crate::failure::{Failure, Outcome};
use crate::node::status::PROXY_CONTAINER;

/// Between two looks at files that are followed.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn run(client: &Client, args: &Logs) -> Outcome {
    let status = client.status().await?;
    let mut tails: Vec<_> = sources(&status, args)?
        .into_iter()
        .map(Source::open)
        .collect();
    let written = follow(&mut tails, args.follow).await;
    match written {
        // A reader that has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new("cannot show the log").because(&error)),
        Ok(()) => Ok(()),
    }
}

/// A container's log, and what its lines begin with.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    prefix: String,
    path: PathBuf,
}

fn sources(status: &Status, args: &Logs) -> Outcome<Vec<Named>> {
    let pods: Vec<&Pod> = match &args.pod {
        Some(asked) => vec![find(status, &args.namespace, asked)?],
        None => {
            let here = status.pods.iter();
            here.filter(|pod| pod.namespace == args.namespace).collect()
        }
    };
    let mut found = Vec::new();
    for pod in &pods {
        let containers = pod.containers.iter();
        for container in containers.filter(|one| is_meant(&one.name, &one.kind, args.app)) {
            found.push(Named {
                prefix: format!("{} {}: ", pod.name, container.name),
                path: container.log.clone().into(),
            });
        }
    }
    if found.is_empty() {
        let whose = match (&args.pod, pods.first()) {
            (Some(_), Some(pod)) => format!("pod `{}` has", pod.name),
            _ => format!("no pod of namespace `{}` has", args.namespace),
        };
        let (what, advice) = match args.app {
            true => (
                "container of an application",
                "heddle status  shows the pods",
            ),
            false => ("sidecar", "--app  shows what the application wrote"),
        };
        let negated = if args.pod.is_some() { "no" } else { "a" };
        return Err(Failure::new(format!("{whose} {negated} {what}")).advise(advice));
    }
    if found.len() == 1 {
        found[0].prefix.clear();
    }
    Ok(found)
}

fn is_meant(name: &str, kind: &str, app: bool) -> bool {
    match app {
        true => kind == "app" && name != PROXY_CONTAINER,
        false => name == PROXY_CONTAINER,
    }
}

struct Source {
    prefix: String,
    tail: Tail,
}

impl Source {
    fn open(named: Named) -> Self {
        Self {
            prefix: named.prefix,
            tail: Tail::of(named.path),
        }
    }
}

/// Writes what there is; and what comes, until all of the files are gone.
async fn follow(sources: &mut [Source], goes_on: bool) -> io::Result<()> {
    loop {
        let mut is_over = true;
        for source in &mut *sources {
            let is_there = source.tail.read(|lines| show(&source.prefix, lines))?;
            is_over &= !is_there;
        }
        if !goes_on || is_over {
            for source in sources {
                source.tail.rest(|lines| show(&source.prefix, lines))?;
            }
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(prefix: &str, lines: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match prefix.is_empty() {
        true => out.write_all(lines)?,
        false => {
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                out.write_all(prefix.as_bytes())?;
                out.write_all(line)?;
            }
        }
    }
    if !lines.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::Container;

    fn container(name: &str, kind: &str) -> Container {
        Container {
            name: name.to_owned(),
            kind: kind.to_owned(),
            state: String::new(),
            ready: true,
            restarts: 0,
            pid: None,
            reason: None,
            log: format!("/logs/{name}.log"),
        }
    }

    fn status() -> Status {
        let pod = |name: &str, containers: Vec<Container>| Pod {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            containers,
            ..Pod::default()
        };
        let meshed = || {
            vec![
                container("heddle-init", "init"),
                container(PROXY_CONTAINER, "app"),
                container("web", "app"),
                container("cache", "app"),
            ]
        };
        Status {
            pods: vec![pod("a", meshed()), pod("b", vec![container("db", "app")])],
            ..Status::default()
        }
    }

    fn asked(pod: Option<&str>, app: bool) -> Logs {
        Logs {
            namespace: "default".to_owned(),
            app,
            follow: false,
            pod: pod.map(str::to_owned),
        }
    }

    #[test]
    fn the_sidecar_is_meant_or_the_application_of_one_pod_or_of_all() {
        let status = status();
        let prefixes = |pod, app| -> Vec<String> {
            let found = sources(&status, &asked(pod, app)).unwrap();
            found.into_iter().map(|named| named.prefix).collect()
        };
        assert_eq!(prefixes(Some("a"), false), [""]);
        assert_eq!(prefixes(Some("a"), true), ["a web: ", "a cache: "]);
        assert_eq!(prefixes(Some("b"), true), [""]);
        assert_eq!(prefixes(None, false), [""]);
        assert_eq!(prefixes(None, true), ["a web: ", "a cache: ", "b db: "]);
    }

    #[test]
    fn a_pod_without_a_sidecar_is_told_with_what_there_is() {
        let style = crate::terminal::Style::PLAIN;
        let refused = sources(&status(), &asked(Some("b"), false)).unwrap_err();
        let said = refused.render(style);
        assert!(
            said.contains("pod `b` has no sidecar") && said.contains("--app"),
            "{said}"
        );
        let mut elsewhere = asked(None, false);
        elsewhere.namespace = "shop".to_owned();
        let said = sources(&status(), &elsewhere).unwrap_err().render(style);
        assert!(
            said.contains("no pod of namespace `shop` has a sidecar"),
            "{said}"
        );
    }
}
