//! Keeps one system component running: start, readiness, restarts, an orderly end.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{ComponentSpec, ComponentStatus, Ready};
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

/// Owns one component's process.
pub(super) struct Supervisor {
    pub(super) node: Arc<Node>,
    pub(super) spec: ComponentSpec,
    pub(super) status: Arc<watch::Sender<ComponentStatus>>,
    pub(super) stop: watch::Receiver<Option<Instant>>,
}

impl Supervisor {
    /// Until it is told to stop.
    pub(super) async fn run(mut self) {
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
