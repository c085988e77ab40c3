//! The commands: each asks the daemon or does its work, and says how it went.

mod apply;
mod check;
mod cluster;
mod down;
mod exec;
mod explain;
mod get;
mod inject;
mod install;
mod logs;
mod output;
pub(crate) mod progress;
mod rollout;
mod status;
mod system;
mod traces;
mod up;
mod what_if;

use std::path::PathBuf;

use crate::api::{Client, ClientError};
use crate::args::{Cli, Command};
use crate::daemon::guard;
use crate::failure::{Failure, Outcome};
use crate::node::MeshName;
use crate::node::layout::state_dir;

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let mesh = &cli.mesh;
    match cli.command {
        Command::Up(up) => up::run(mesh, up).await,
        Command::Down => down::run(mesh).await,
        Command::Check(check) if check.cluster => cluster::check(&check).await,
        Command::Check(check) => check::run(&client(mesh), &check).await,
        Command::Explain(explain) => explain::run(&client(mesh), &explain).await,
        Command::WhatIf(asked) => what_if::run(&client(mesh), &asked).await,
        Command::Apply(files) => apply::apply(&client(mesh), &files).await,
        Command::Delete(delete) => apply::delete(&client(mesh), &delete).await,
        Command::Get(get) => get::run(&client(mesh), &get).await,
        Command::Exec(exec) => exec::run(&client(mesh), exec).await,
        Command::Logs(args) => logs::run(&client(mesh), &args).await,
        Command::Status(output) => status::run(&client(mesh), output).await,
        Command::Inject(files) => inject::run(&files),
        Command::Install(install) => install::install(&install).await,
        Command::Uninstall(uninstall) => install::uninstall(&uninstall),
        Command::Traces(traces) => traces::run(&client(mesh), traces).await,
        Command::Rollout(rollout) => rollout::rollout(&client(mesh), &rollout).await,
        Command::Scale(scale) => rollout::scale(&client(mesh), &scale).await,
        Command::System { action, component } => {
            system::run(&client(mesh), action, component).await
        }
    }
}

/// The daemon's socket.
fn socket(mesh: &MeshName) -> PathBuf {
    state_dir(mesh).join("daemon.sock")
}

fn client(mesh: &MeshName) -> Client {
    Client::new(mesh, &socket(mesh))
}

/// Whether a daemon left its state without taking the mesh down.
fn was_killed(mesh: &str) -> bool {
    let mesh = mesh.parse::<MeshName>();
    mesh.is_ok_and(|mesh| state_dir(&mesh).exists() && guard::holder(&mesh).is_none())
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let advice = match &error {
            ClientError::NotRunning { mesh, .. } if was_killed(mesh) => Some(format!(
                "its daemon was killed: heddle down --mesh {mesh}  removes what it left"
            )),
            ClientError::NotRunning { mesh, .. } if mesh == "default" => {
                Some("heddle up PATH...  starts it".to_owned())
            }
            ClientError::NotRunning { mesh, .. } => {
                Some(format!("heddle up --mesh {mesh} PATH...  starts it"))
            }
            ClientError::NotAllowed { .. } => Some("the same command with sudo".to_owned()),
            ClientError::NoAnswer { .. } => {
                Some("heddle down, then heddle up again, if it does not come back".to_owned())
            }
            ClientError::Refused { advice, .. } => advice.clone(),
        };
        // That a socket is not there says nothing beyond "not running".
        let failure = match &error {
            ClientError::NotRunning { .. } => Self::new(error.to_string()),
            error => Self::error(error),
        };
        match advice {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}
