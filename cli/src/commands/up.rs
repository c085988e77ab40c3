//! `heddle up`: starts the daemon, here or in the background, follows the mesh until it is ready and
//! says what there is and what to type next.

mod summary;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use self::summary::{flag, summary};
use super::progress::{explain, follow};
use super::{client, output, status};
use crate::api::{Client, ClientError, Query};
use crate::args::Up;
use crate::cluster::Workload;
use crate::daemon::{self, Options, guard};
use crate::failure::{Failure, Outcome};
use crate::manifests::{Problem, Source};
use crate::node::{MeshName, privilege};
use crate::terminal::{Style, safe, say, say_part};

/// How long a daemon may take until it answers: it starts the mesh's own parts before.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn run(mesh: &MeshName, up: Up) -> Outcome {
    privilege::require()?;
    let options = options(mesh, &up)?;
    if up.daemon {
        return daemon::run(options).await.map_err(Failure::from);
    }
    if let Some(pid) = guard::holder(mesh) {
        return Err(Failure::new(format!("mesh `{mesh}` is already running (process {pid})"))
            .advise("heddle apply -f PATH  changes it; heddle down  takes it down; --mesh NAME  starts another"));
    }
    if up.detach {
        detached(mesh, &up).await
    } else {
        here(mesh, &up, options).await
    }
}

fn options(mesh: &MeshName, up: &Up) -> Outcome<Options> {
    let mut paths = Vec::new();
    for path in up.paths() {
        if path == Path::new("-") {
            return Err(once("standard input"));
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Source::new(&path).map_err(|error| Failure::error(&error))?;
        if !(path.is_dir() || path.is_file()) {
            return Err(once(&format!("the pipe or device {}", path.display())));
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let data_dir = up
        .data_dir
        .as_ref()
        .map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    Ok(Options {
        mesh: mesh.clone(),
        paths,
        data_dir,
        otlp_endpoint: up.otlp_endpoint.clone(),
        sampling_percentage: up.sampling_percentage,
        trust_domain: up.trust_domain.clone(),
        log_level: up.log_level.clone(),
        cert_ttl_seconds: up.cert_ttl.unwrap_or(0),
        root_spread_seconds: up.root_spread,
    })
}

/// What can be read only once.
fn once(what: &str) -> Failure {
    Failure::new(format!(
        "`heddle up` cannot read {what}: what it reads it also watches"
    ))
    .advise("heddle up, then  … | heddle apply -f -")
}

/// In the foreground until a signal; then everything is taken down.
async fn here(mesh: &MeshName, up: &Up, options: Options) -> Outcome {
    let client = client(mesh);
    let mut daemon = tokio::spawn(daemon::run(options));
    let followed = async {
        wait_until_it_answers(&client, async { std::future::pending().await }).await?;
        let outcome = follow_and_tell(&client, up).await;
        if outcome.is_ok() {
            say!("{}", Style::stderr().dim("Ctrl-C takes it down"));
        }
        outcome
    };
    tokio::select! {
        ended = &mut daemon => return ended_daemon(ended),
        outcome = followed => if let Err(failure) = outcome {
            say_part!("{}", failure.render(Style::stderr()));
            say!("the mesh stays up for a look; Ctrl-C takes it down");
        }
    }
    ended_daemon(daemon.await)
}

fn ended_daemon(ended: Result<Result<(), daemon::StartError>, tokio::task::JoinError>) -> Outcome {
    match ended {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(error) => Err(Failure::new("the daemon ended abnormally").because(&error)),
    }
}

/// In the background: the same program again, in a session of its own.
async fn detached(mesh: &MeshName, up: &Up) -> Outcome {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new("cannot find my own program").because(&error))?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--daemon")
        .env("HEDDLE_MESH", mesh.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C and the end of this terminal are not for a mesh that was left running.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::new("cannot start the daemon").because(&error))?;
    let client = client(mesh);
    wait_until_it_answers(&client, failed(&mut child)).await?;
    follow_and_tell(&client, up).await
}

/// Returns when the daemon has ended, with what it said.
async fn failed(child: &mut Child) -> Failure {
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.read_to_string(&mut said).await;
    }
    let ended = child.wait().await;
    say_part!("{said}");
    match ended {
        Ok(status) if said.is_empty() => {
            Failure::new(format!("the daemon ended without a word ({status})"))
        }
        _ => Failure::silent(1),
    }
}

async fn wait_until_it_answers(client: &Client, ended: impl Future<Output = Failure>) -> Outcome {
    let started = Instant::now();
    let answers = async {
        loop {
            match client.status().await {
                Err(ClientError::NotRunning { .. }) if started.elapsed() < ANSWERS_WITHIN => {
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer.map(drop).map_err(Failure::from),
            }
        }
    };
    tokio::select! {
        answered = answers => answered,
        failure = ended => Err(failure),
    }
}

async fn follow_and_tell(client: &Client, up: &Up) -> Outcome {
    let (last, took) = follow(client, up.timeout).await?;
    let style = Style::stderr();
    if !last.ready {
        let said = explain(&last, style) + &status::troubles(&last, style);
        say_part!("\n{}", safe(&said));
        let late = last
            .pods
            .iter()
            .filter(|pod| !pod.ready && pod.phase != "Succeeded")
            .count();
        let what = match late {
            0 => "the mesh is not ready".to_owned(),
            late => format!(
                "{late} of {} pods are not ready after {:.0} s",
                last.pods.len(),
                took.as_secs_f64()
            ),
        };
        let mesh = flag(&last.mesh);
        return Err(Failure::new(what).advise(format!(
            "it stays up for a look: heddle status{mesh}; logs are in {}/logs; heddle down{mesh}  takes it down",
            last.state_dir
        )));
    }
    let workload =
        |problem: &&Problem| !problem.name.is_empty() && Workload::is_kind(&problem.kind);
    if let Some(refused) = last.refused.iter().find(workload) {
        say_part!("\n{}", safe(&status::troubles(&last, style)));
        return Err(Failure::new(format!(
            "{} was refused: it has no pods of this version",
            refused.subject()
        ))
        .advise("everything else runs; correct the file, it is watched"));
    }
    let objects = client
        .objects(&Query {
            kinds: "Service,VirtualService".to_owned(),
            ..Query::default()
        })
        .await
        .unwrap_or_default();
    output::write(&safe(&summary(&last, &objects, took, Style::stdout())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn what_can_be_read_only_once_is_refused_with_another_way() {
        for path in ["-", "/dev/null"] {
            let cli = Cli::try_parse_from(["heddle", "up", path]).unwrap();
            let Command::Up(up) = cli.command else {
                panic!("up")
            };
            let failure = options(&cli.mesh, &up).unwrap_err().render(Style::PLAIN);
            assert!(failure.contains("heddle apply -f -"), "{failure}");
        }
    }
}
