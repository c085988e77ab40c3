//! The mesh's own processes: identity, control plane, injector. Each runs as it would in a cluster,
//! from its flags, with its own service-account token; here as a process in the node's network.

mod plan;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heddle_authority::ca;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) use self::plan::Plan;
use super::control::ControlAdmin;
use crate::api::{Failed, Part};
use crate::commands::progress::tail;
use crate::node::{ComponentStatus, Components, Node};

/// How long a part may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between looks at what no watch tells.
const LOOK: Duration = Duration::from_millis(5);
/// How long a part may take to end what it is at; streams of proxies end at once.
const GRACE: Duration = Duration::from_secs(10);
/// Tokens of the mesh's own parts; a kubelet's default for projected ones.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// A part of the mesh cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    #[error("{part} is not ready after {} s: {reason}", READY_WITHIN.as_secs())]
    NotReady {
        part: &'static str,
        reason: String,
        log: Vec<String>,
    },
    #[error("{program} is not beside heddle, in {}", dir.display())]
    Missing { program: &'static str, dir: PathBuf },
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
    /// Only for starting and stopping, one at a time; what is asked often is in `statuses`.
    components: Mutex<Components>,
    statuses: BTreeMap<&'static str, watch::Receiver<ComponentStatus>>,
    control: ControlAdmin,
    _tokens: JoinSet<Infallible>,
}

impl System {
    /// Starts the parts in the order in which they need each other, each when the one before is
    /// ready.
    pub(crate) async fn start(node: &Arc<Node>, plan: Plan) -> Result<Self, SystemError> {
        plan.prepare(node.bin_dir())?;
        let mut tokens = JoinSet::new();
        for (account, path) in plan.tokens() {
            let (node, subject) = (Arc::clone(node), plan::subject(account));
            tokens.spawn(async move {
                node.tokens
                    .keep_file(&subject, plan::AUDIENCE, TOKEN_LIFE, &path)
                    .await
            });
        }
        let mut system = Self {
            control: ControlAdmin::new(&plan.control_admin()),
            plan,
            components: Mutex::new(Components::new(node)),
            statuses: BTreeMap::new(),
            _tokens: tokens,
        };
        for part in plan::PARTS {
            let status = system
                .components
                .get_mut()
                .start(system.plan.component(part, node.bin_dir()));
            system.statuses.insert(part, status);
            system.wait(part).await?;
        }
        Ok(system)
    }

    async fn wait(&self, part: &'static str) -> Result<(), SystemError> {
        let ready = async {
            while !self.part(part).await.ready {
                tokio::time::sleep(LOOK).await;
            }
        };
        if timeout(READY_WITHIN, ready).await.is_ok() {
            return Ok(());
        }
        let state = self.part(part).await;
        let reason = state
            .reason
            .unwrap_or_else(|| "it does not answer".to_owned());
        Err(SystemError::NotReady {
            part,
            reason,
            log: tail(&state.log),
        })
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
        let Some(status) = self
            .statuses
            .get(part)
            .map(|status| status.borrow().clone())
        else {
            return Part::default();
        };
        let admin = (part == plan::CONTROL)
            .then(|| format!("unix:{}", self.plan.control_admin().display()));
        let mut state = Part {
            address: self.plan.address(part).to_string(),
            admin,
            pid: status.pid,
            ready: status.ready,
            reason: if status.stopped {
                Some("stopped".to_owned())
            } else {
                status.reason
            },
            restarts: status.restarts,
            log: status.log.display().to_string(),
        };
        if !state.ready {
            return state;
        }
        let more = match part {
            // A port can be open before there is anything to say.
            plan::CONTROL => self.control.status().await.map(drop),
            plan::IDENTITY if !self.plan.trust_bundle().exists() => {
                Err("its trust bundle is not there yet".to_owned())
            }
            _ => Ok(()),
        };
        if let Err(reason) = more {
            (state.ready, state.reason) = (false, Some(reason));
        }
        state
    }

    /// Announces a new root to the identity service, or drops those that sign no more.
    fn rotate(&self, action: &str) -> Result<String, Failed> {
        let dir = self.plan.data_dir();
        let done = match action {
            "rotate-root" => ca::announce(dir, self.plan.trust_domain()).map(|()| {
                let after = self.plan.root_spread_seconds();
                format!("announced a new root, which signs after {after} s")
            }),
            _ => ca::drop_retired(dir).map(|count| format!("dropped {count} retired roots")),
        };
        done.map_err(|error| Failed {
            error: error.to_string(),
            advice: None,
        })
    }

    /// Stops, starts or restarts a part by its name on the command line.
    pub(crate) async fn act(&self, component: &str, action: &str) -> Result<String, Failed> {
        if matches!(action, "rotate-root" | "drop-root") {
            return self.rotate(action);
        }
        let part = plan::by_name(component).ok_or_else(|| Failed {
            error: format!("`{component}` is no part of the mesh"),
            advice: None,
        })?;
        let mut components = self.components.lock().await;
        if action != "start" {
            components.stop(part, GRACE).await;
        }
        if action == "stop" {
            return Ok("stopped".to_owned());
        }
        components.start_again(part);
        drop(components);
        self.wait(part).await.map_err(|error| Failed {
            error: error.to_string(),
            advice: self
                .statuses
                .get(part)
                .map(|status| format!("its log: {}", status.borrow().log.display())),
        })?;
        Ok(if action == "start" {
            "started"
        } else {
            "restarted"
        }
        .to_owned())
    }

    /// Stops every part.
    pub(crate) async fn stop_all(&self) {
        self.components.lock().await.stop_all(GRACE).await;
    }
}
