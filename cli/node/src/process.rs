//! The system components (identity, control plane, injector): ordinary processes in the node
//! namespace, started again when they die.
//!
//! A person may stop one and start it again by name, as they would scale a Deployment to zero. Each
//! has an owner task; nothing of a component outlives it but its log.

mod supervisor;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use self::supervisor::Supervisor;
use crate::{Node, status::Exit};

/// How one sees that a component serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It accepts connections at an address of the node.
    Tcp(SocketAddr),
    /// It accepts connections at a socket file.
    Unix(PathBuf),
    /// It runs.
    Running,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentSpec {
    /// What people call it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside PATH.
    pub env: Vec<(String, String)>,
    /// How one sees that it serves.
    pub ready: Ready,
}

/// What a component does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// It serves.
    pub ready: bool,
    /// A person stopped it.
    pub stopped: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// When its process was started.
    pub started_at: Option<SystemTime>,
    /// How its last process ended.
    pub last_exit: Option<Exit>,
    /// Why it does not serve: for people.
    pub reason: Option<String>,
    /// What it wrote.
    pub log: PathBuf,
}

/// The components of one mesh, by name.
#[derive(Debug)]
pub struct Components {
    node: Arc<Node>,
    members: BTreeMap<String, Component>,
}

#[derive(Debug)]
struct Component {
    spec: ComponentSpec,
    status: Arc<watch::Sender<ComponentStatus>>,
    run: Option<(watch::Sender<Option<Instant>>, JoinHandle<()>)>,
}

impl Components {
    /// None yet.
    pub fn new(node: &Arc<Node>) -> Self {
        Self {
            node: node.clone(),
            members: BTreeMap::new(),
        }
    }

    /// Starts a component; one of the same name must have been stopped.
    pub fn start(&mut self, spec: ComponentSpec) -> watch::Receiver<ComponentStatus> {
        let node = &self.node;
        let log = node.layout.component_log(&spec.name);
        let component = self
            .members
            .entry(spec.name.clone())
            .or_insert_with(|| Component {
                status: Arc::new(watch::Sender::new(ComponentStatus {
                    name: spec.name.clone(),
                    ready: false,
                    stopped: false,
                    pid: None,
                    restarts: 0,
                    started_at: None,
                    last_exit: None,
                    reason: None,
                    log,
                })),
                spec: spec.clone(),
                run: None,
            });
        if component.run.is_none() {
            component.spec = spec;
            component.start(node);
        }
        component.status.subscribe()
    }

    /// Starts a stopped component again as it was; false when there is none of that name.
    pub fn start_again(&mut self, name: &str) -> bool {
        let Some(component) = self.members.get_mut(name) else {
            return false;
        };
        if component.run.is_none() {
            component.start(&self.node);
        }
        true
    }

    /// Stops a component, which then stays stopped; false when there is none of that name.
    pub async fn stop(&mut self, name: &str, grace: Duration) -> bool {
        let Some(component) = self.members.get_mut(name) else {
            return false;
        };
        component.stop(grace).await;
        true
    }

    /// Stops them all at once.
    pub async fn stop_all(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let runs: Vec<_> = self
            .members
            .values_mut()
            .filter_map(|c| c.run.take())
            .collect();
        for (stop, _) in &runs {
            stop.send_replace(Some(deadline));
        }
        for (_, task) in runs {
            // A panic in it was logged; `destroy` ends what is left.
            let _ = task.await;
        }
    }

    /// The names, and what each does.
    pub fn status(&self) -> Vec<ComponentStatus> {
        self.members
            .values()
            .map(|component| component.status.borrow().clone())
            .collect()
    }

    /// One component's status and its changes.
    pub fn watch(&self, name: &str) -> Option<watch::Receiver<ComponentStatus>> {
        self.members
            .get(name)
            .map(|component| component.status.subscribe())
    }
}

impl Component {
    fn start(&mut self, node: &Arc<Node>) {
        let (stop, stopped) = watch::channel(None);
        let supervisor = Supervisor {
            node: node.clone(),
            spec: self.spec.clone(),
            status: self.status.clone(),
            stop: stopped,
        };
        self.status.send_modify(|status| status.stopped = false);
        self.run = Some((stop, tokio::spawn(supervisor.run())));
    }

    async fn stop(&mut self, grace: Duration) {
        let Some((stop, task)) = self.run.take() else {
            return;
        };
        stop.send_replace(Some(Instant::now() + grace));
        let _ = task.await;
    }
}
