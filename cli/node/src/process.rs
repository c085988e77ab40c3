//! The system components (identity, control plane, injector): ordinary processes in the node
//! namespace, started again when they die.
//!
//! A person may stop one and start it again by name, as they would scale a Deployment to zero. Each
//! has an owner task; nothing of a component outlives it but its log.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixStream,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    Node,
    container::{
        DEFAULT_PATH,
        spawn::{self, Running},
        spec::{InitSpec, ProcessSpec, User},
        user::capability,
    },
    lifecycle::RestartBackoff,
    netns,
    status::Exit,
};

/// What root needs for its own files wherever a person keeps them, and nothing for the machine.
const CAPABILITIES: [&str; 4] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE"];
/// The first wait between attempts to connect, and the longest.
const QUICK: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(1);
/// From SIGKILL to the end.
const FIRM: Duration = Duration::from_secs(10);

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

struct Supervisor {
    node: Arc<Node>,
    spec: ComponentSpec,
    status: Arc<watch::Sender<ComponentStatus>>,
    stop: watch::Receiver<Option<Instant>>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut backoff = RestartBackoff::new();
        loop {
            let begun = Instant::now();
            let exit = self.run_once().await;
            let stopping = self.stop.borrow().is_some();
            let wait = backoff.after(begun.elapsed());
            let why = if stopping {
                "was stopped; start it again by its name".to_owned()
            } else {
                format!(
                    "{}; started again in {:.1} s",
                    reason(&exit),
                    wait.as_secs_f32()
                )
            };
            if !stopping {
                tracing::warn!(component = %self.spec.name, %why, "a system component ended");
            }
            self.status.send_modify(|status| {
                (status.ready, status.pid, status.stopped) = (false, None, stopping);
                status.reason = Some(why);
                status.last_exit = Some(exit);
            });
            let asked = self.stop.wait_for(Option::is_some);
            if stopping || timeout(wait, asked).await.is_ok() {
                self.status.send_modify(|status| status.stopped = true);
                return;
            }
            self.status.send_modify(|status| status.restarts += 1);
        }
    }

    async fn run_once(&mut self) -> Exit {
        let spec = self.init_spec();
        let log = self.node.layout.component_log(&self.spec.name);
        let mut running = match spawn::start(&self.node.options.program, &spec, &log).await {
            Ok(running) => running,
            Err(error) => {
                let reason = Some(error.chain());
                return Exit {
                    code: 128,
                    signal: None,
                    at: SystemTime::now(),
                    reason,
                };
            }
        };
        self.status.send_modify(|status| {
            status.pid = Some(running.pid);
            status.started_at = Some(SystemTime::now());
            status.reason = Some("is starting".to_owned());
        });
        let mut stop = self.stop.clone();
        let serving = async {
            self.until_ready().await;
            self.status
                .send_modify(|status| (status.ready, status.reason) = (true, None));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            exit = running.wait() => return exit,
            _ = stop.wait_for(Option::is_some) => {}
            () = serving => {}
        }
        let deadline = stop.borrow().unwrap_or_else(Instant::now);
        end(&mut running, deadline).await
    }

    async fn until_ready(&self) {
        let mut wait = QUICK;
        while timeout(CONNECT, self.connect())
            .await
            .map_or(true, |answer| answer.is_err())
        {
            sleep(wait).await;
            wait = (wait * 2).min(SLOW);
        }
    }

    async fn connect(&self) -> io::Result<()> {
        match &self.spec.ready {
            Ready::Tcp(address) => self.node.sockets.connect(*address).await.map(drop),
            Ready::Unix(path) => UnixStream::connect(path).await.map(drop),
            Ready::Running => Ok(()),
        }
    }

    fn init_spec(&self) -> InitSpec {
        let mut argv = vec![self.spec.program.display().to_string()];
        argv.extend(self.spec.args.iter().cloned());
        let mut env = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())];
        env.extend(self.spec.env.iter().cloned());
        let bits = CAPABILITIES.iter().filter_map(|name| capability(name));
        InitSpec {
            netns: netns::path(&self.node.layout.node_netns()),
            view: None,
            process: ProcessSpec {
                argv,
                env,
                cwd: PathBuf::from("/"),
                user: User {
                    uid: 0,
                    gid: 0,
                    groups: Vec::new(),
                    capabilities: bits.fold(0, |all, bit| all | bit),
                    no_new_privileges: true,
                },
            },
        }
    }
}

async fn end(running: &mut Running, deadline: Instant) -> Exit {
    running.terminate();
    if let Ok(exit) = timeout_at(deadline, running.wait()).await {
        return exit;
    }
    running.kill();
    let killed = timeout(FIRM, running.wait()).await;
    killed.unwrap_or_else(|_| Exit {
        code: 137,
        signal: None,
        at: SystemTime::now(),
        reason: Some("did not end although killed".to_owned()),
    })
}

fn reason(exit: &Exit) -> String {
    match (&exit.reason, exit.signal) {
        (Some(reason), _) => reason.clone(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended with exit code {}", exit.code),
    }
}
