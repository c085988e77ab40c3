//! The real program in a pod: `heddle-proxy run` as uid 1337, killed with the test.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Netns;
use super::{PATIENCE, eventually, http};

/// The program under test; `HEDDLE_TEST_PROGRAM` names another build of it.
pub(crate) fn program() -> String {
    let built = env!("CARGO_BIN_EXE_heddle-proxy");
    std::env::var("HEDDLE_TEST_PROGRAM").unwrap_or_else(|_| built.to_owned())
}
const USER: &str = "1337";

/// What a pod's injected container would be told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) launcher: Vec<String>,
    pub(crate) state: PathBuf,
}

pub(crate) struct Sidecar {
    netns: Arc<Netns>,
    settings: Settings,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Sidecar {
    pub(crate) fn redirect(netns: &Netns) {
        netns.exec(&program(), &["redirect", "apply"]);
    }

    pub(crate) fn start(netns: &Arc<Netns>, settings: Settings) -> Self {
        let mut sidecar = Self {
            netns: Arc::clone(netns),
            settings,
            child: None,
            log: Arc::default(),
        };
        sidecar.spawn();
        sidecar
    }

    pub(crate) fn spawn(&mut self) {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
            // Of the thread that starts it, which lives as long as the namespace's runtime.
            .args(["--pdeathsig", "KILL"])
            .args(&self.settings.launcher)
            .args([&program(), "run"])
            .env_clear()
            .envs(self.settings.environment.iter().map(|(k, v)| (*k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = self.netns.run(async move { command.spawn().unwrap() });
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.child = Some(child);
    }

    pub(crate) fn wait_ready(&self) {
        eventually("the sidecar is ready", || self.is_ready());
    }

    pub(crate) fn is_ready(&self) -> bool {
        let asked = self.netns.run(http::get(
            (Ipv4Addr::LOCALHOST, 15021).into(),
            "/healthz/ready",
        ));
        asked.is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error: it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end; whether it was a success.
    pub(crate) fn ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let child = self.child.as_mut().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the sidecar does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a line of the log contains every one of the words.
    pub(crate) fn logs(&self, words: &[&str]) {
        eventually(&format!("the log says {words:?}"), || {
            let log = self.log.lock().unwrap();
            log.lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
        });
    }

    /// The sum of a metric's samples that contain every one of the labels.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let answer = self.netns.run(http::get(
            (Ipv4Addr::LOCALHOST, 15090).into(),
            "/stats/prometheus",
        ));
        let text = answer.unwrap().text();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
                    && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Whether the configuration on its volume names this.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        let kept = std::fs::read(self.settings.state.join("config.pb")).unwrap_or_default();
        kept.windows(name.len()).any(|w| w == name.as_bytes())
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let own = self.settings.environment.iter();
            let mut name = own.filter(|(k, _)| *k == "HEDDLE_POD_NAME").map(|(_, v)| v);
            let name = name.next().map_or("?", String::as_str);
            eprintln!("--- sidecar {name}\n{}", self.log());
        }
    }
}
