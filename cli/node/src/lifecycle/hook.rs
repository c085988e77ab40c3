//! Asks checks for one container: over the network, or beside its process.

use std::{sync::Arc, time::Duration};

use super::{check::Check, context::PodContext, dial};
use crate::container::{
    spawn::run_inside,
    spec::{EnterSpec, User},
};

/// Asks for one run of a container.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) context: Arc<PodContext>,
    pub(crate) netns: std::path::PathBuf,
    pub(crate) pid: u32,
    pub(crate) user: User,
}

impl Asker {
    /// The answer, or why there is none; a command is ended after `patience`.
    pub(crate) async fn ask(&self, check: &Check, patience: Duration) -> Result<(), String> {
        let sockets = &self.context.node.sockets;
        match check {
            Check::Http(http) => dial::http(sockets, http).await,
            Check::Tcp(address) => dial::tcp(sockets, *address).await,
            Check::Grpc { address, service } => dial::grpc(sockets, *address, service).await,
            Check::Exec(argv) => self.exec(argv, patience).await,
            Check::Sleep(seconds) => {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                Ok(())
            }
        }
    }

    async fn exec(&self, argv: &[String], patience: Duration) -> Result<(), String> {
        let spec = EnterSpec {
            netns: self.netns.clone(),
            pid: Some(self.pid),
            argv: argv.to_vec(),
            user: self.user.clone(),
        };
        match run_inside(&self.context.node.options.program, &spec, patience).await {
            Ok((0, _)) => Ok(()),
            Ok((code, output)) if output.is_empty() => Err(format!("exit code {code}")),
            Ok((code, output)) => Err(format!("exit code {code}: {output}")),
            Err(error) => Err(error.chain()),
        }
    }
}
