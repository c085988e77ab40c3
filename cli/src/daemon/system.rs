//! The mesh's own processes: identity, control plane, injector. Each runs as it would in a cluster,
//! from its flags, with its own service-account token; here as a process in the node's network.

mod plan;
mod process;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::plan::Plan;
use self::process::{Process, Supervisor};
use super::control::ControlAdmin;
use crate::api::{Failed, Part};
use crate::commands::progress::tail;
use crate::node::{Node, NodeError};

/// How long a part may take to be ready at the start.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to answer a connection.
const ANSWERS_WITHIN: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(10);
/// Tokens of the mesh's own parts; a kubelet's default for projected ones.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// A part of the mesh cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    #[error("{part} cannot be started")]
    Start {
        part: &'static str,
        source: NodeError,
    },
    #[error("{part} is not ready after {} s: {reason}", READY_WITHIN.as_secs())]
    NotReady {
        part: &'static str,
        reason: String,
        log: Vec<String>,
    },
    #[error("a file of the mesh's own parts cannot be written: {}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl SystemError {
    /// The last lines of the part's log.
    pub(crate) fn log(&self) -> &[String] {
        match self {
            Self::NotReady { log, .. } => log,
            _ => &[],
        }
    }
}

/// The processes.
#[derive(Debug)]
pub(crate) struct System {
    plan: Plan,
    supervisor: Supervisor,
    control: ControlAdmin,
    _tokens: JoinSet<Infallible>,
}

impl System {
    /// Starts the parts in the order in which they need each other, each when the one before is
    /// ready.
    pub(crate) async fn start(node: Arc<Node>, plan: Plan) -> Result<Self, SystemError> {
        plan.prepare()?;
        let mut tokens = JoinSet::new();
        for (account, path) in plan.tokens() {
            let (node, subject) = (Arc::clone(&node), plan::subject(account));
            tokens.spawn(async move {
                node.tokens
                    .keep_file(&subject, plan::AUDIENCE, TOKEN_LIFE, &path)
                    .await
            });
        }
        let control = ControlAdmin::new(&plan.control_admin());
        let system = Self {
            supervisor: Supervisor::new(node),
            plan,
            control,
            _tokens: tokens,
        };
        for part in [plan::IDENTITY, plan::CONTROL, plan::INJECTOR] {
            system.run(part)?;
            system.wait(part).await?;
        }
        Ok(system)
    }

    fn run(&self, part: &'static str) -> Result<(), SystemError> {
        let process = self.plan.process(part)?;
        self.supervisor
            .start(process)
            .map_err(|source| SystemError::Start { part, source })
    }

    async fn wait(&self, part: &'static str) -> Result<(), SystemError> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            let state = self.part(part).await;
            if state.ready {
                return Ok(());
            }
            if Instant::now() >= end {
                let reason = state
                    .reason
                    .unwrap_or_else(|| "it does not answer".to_owned());
                return Err(SystemError::NotReady {
                    part,
                    reason,
                    log: tail(&state.log),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn control_plane(&self) -> Part {
        self.part(plan::CONTROL).await
    }

    pub(crate) async fn identity(&self) -> Part {
        self.part(plan::IDENTITY).await
    }

    pub(crate) async fn injector(&self) -> Part {
        self.part(plan::INJECTOR).await
    }

    async fn part(&self, part: &'static str) -> Part {
        let process = self.supervisor.status(part);
        let address = self.plan.address(part);
        let (ready, reason) = match &process {
            None => (false, Some("stopped".to_owned())),
            Some(process) if process.pid.is_none() => (false, process.reason.clone()),
            Some(_) => match self.answers(part, address).await {
                Ok(()) => (true, None),
                Err(reason) => (false, Some(reason)),
            },
        };
        Part {
            address: address.to_string(),
            admin: (part == plan::CONTROL)
                .then(|| format!("unix:{}", self.plan.control_admin().display())),
            pid: process.as_ref().and_then(|process| process.pid),
            ready,
            reason,
            restarts: process.map_or(0, |process| process.restarts),
            log: self.plan.log(part).display().to_string(),
        }
    }

    async fn answers(&self, part: &'static str, address: SocketAddr) -> Result<(), String> {
        if part == plan::IDENTITY && !self.plan.trust_bundle().exists() {
            return Err("its trust bundle is not there yet".to_owned());
        }
        if part == plan::CONTROL {
            self.control.status().await?;
        }
        match tokio::time::timeout(ANSWERS_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("it does not answer: {error}")),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }

    /// Stops, starts or restarts a part by its name on the command line.
    pub(crate) async fn act(&self, component: &str, action: &str) -> Result<String, Failed> {
        let part = plan::by_name(component).ok_or_else(|| Failed {
            error: format!("`{component}` is no part of the mesh"),
            advice: None,
        })?;
        let failed = |error: SystemError| Failed {
            error: std::error::Error::source(&error)
                .map_or(error.to_string(), |source| format!("{error}: {source}")),
            advice: Some(format!("its log: {}", self.plan.log(part).display())),
        };
        if action != "start" {
            self.supervisor.stop(part).await;
        }
        if action == "stop" {
            return Ok("stopped".to_owned());
        }
        if self.supervisor.status(part).is_none() {
            self.run(part).map_err(failed)?;
        }
        self.wait(part).await.map_err(failed)?;
        Ok(if action == "start" {
            "started"
        } else {
            "restarted"
        }
        .to_owned())
    }

    /// Stops every part, the last started first.
    pub(crate) async fn stop_all(&self) {
        for part in [plan::INJECTOR, plan::CONTROL, plan::IDENTITY] {
            self.supervisor.stop(part).await;
        }
    }
}

/// What a part is run as.
pub(crate) type PartProcess = Process;
