//! The program itself: its flags, its files, its log, its end.

use std::process::{Child, Command, Output, Stdio};

use crate::support::{Cluster, LONG, eventually, mode};
use heddle_identity::Workload;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{net::TcpStream, time::timeout};

const PROGRAM: &str = env!("CARGO_BIN_EXE_heddle-identity");

/// The running program; killed when the test ends early.
pub(crate) struct Process(Option<Child>);

impl Process {
    /// Starts the program under a limit of open files.
    pub(crate) fn start(cluster: &Cluster, files: u32, log_level: &str) -> Self {
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -n {files}; exec {} \"$0\" \"$@\"",
                plain_user()
            ))
            .arg(PROGRAM)
            .args([
                "--listen",
                &cluster.address.to_string(),
                "--log-level",
                log_level,
            ])
            .arg("--data-dir")
            .arg(cluster.path("data"))
            .arg("--token-jwks")
            .arg(cluster.path("jwks.json"))
            .arg("--trust-bundle-out")
            .arg(cluster.bundle())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(cluster.path("log")).unwrap())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub(crate) async fn terminate(mut self) -> Output {
        let child = self.0.take().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let wait = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
        timeout(LONG, wait).await.unwrap().unwrap()
    }
}

/// Before a command: root without the right to look into every process, which is what containers get.
fn plain_user() -> &'static str {
    match nix::unistd::geteuid().is_root() {
        true => "setpriv --bounding-set=-sys_ptrace",
        false => "",
    }
}

#[tokio::test]
async fn its_memory_and_files_are_closed_to_other_processes_of_its_user() {
    let cluster = Cluster::new();
    let process = Process::start(&cluster, 1024, "info");
    eventually("the trust bundle", || cluster.bundle().exists()).await;
    let pid = process.id();
    let look = |what: &str| {
        let command = format!("{} ls /proc/{pid}/{what}", plain_user());
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for what in ["root/", "cwd/"] {
        let said = look(what);
        assert!(
            said.contains("ermission denied"),
            "/proc/{pid}/{what}: {said}"
        );
    }
    assert!(process.terminate().await.status.success());
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn it_issues_ends_on_sigterm_and_keeps_its_root_and_its_secrets() {
    let cluster = Cluster::new();
    let process = Process::start(&cluster, 1024, "trace");
    eventually("the trust bundle", || cluster.bundle().exists()).await;
    let root = std::fs::read(cluster.bundle()).unwrap();
    assert_eq!(mode(&cluster.bundle()), 0o644);
    assert_eq!(mode(&cluster.path("data/root-key.pem")), 0o600);

    let workload = Workload::start(cluster.settings("shop", "a"));
    timeout(LONG, workload.ready()).await.unwrap();
    let mut settings = cluster.settings("shop", "b");
    settings.token_file = cluster.token_file("bank", "thief");
    let thief = Workload::start(settings);
    let mut status = thief.status();
    timeout(LONG, status.wait_for(|status| status.last_error.is_some()))
        .await
        .unwrap()
        .unwrap();
    drop(thief);

    let output = process.terminate().await;
    assert!(output.status.success(), "{output:?}");
    let log = std::fs::read_to_string(cluster.path("log")).unwrap();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("issued a certificate"), 1);
    assert!(lines("refused a certificate") >= 1);
    assert!(log.contains("spiffe://cluster.local/ns/bank/sa/thief"));
    for account in [("shop", "a"), ("bank", "thief")] {
        let token = std::fs::read_to_string(cluster.token_file(account.0, account.1)).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        assert!(
            !log.contains(claims),
            "a token is in the log, at the level trace"
        );
    }
    assert!(!log.contains("PRIVATE KEY"));

    let again = Process::start(&cluster, 1024, "info");
    workload.renew();
    let mut status = workload.status();
    timeout(LONG, status.wait_for(|status| status.generation == 2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(std::fs::read(cluster.bundle()).unwrap(), root);
    assert!(again.terminate().await.status.success());
}

#[tokio::test]
async fn running_out_of_file_descriptors_is_survived() {
    let cluster = Cluster::new();
    let process = Process::start(&cluster, 40, "info");
    eventually("the trust bundle", || cluster.bundle().exists()).await;
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(TcpStream::connect(cluster.address).await.unwrap());
    }
    let log = cluster.path("log");
    eventually("the pause", || {
        std::fs::read_to_string(&log)
            .unwrap()
            .contains("cannot accept connections for the moment")
    })
    .await;
    drop(flood);
    let workload = Workload::start(cluster.settings("shop", "a"));
    timeout(LONG, workload.ready()).await.unwrap();
    assert!(process.terminate().await.status.success());
}

#[test]
fn mistakes_in_flags_are_told_before_anything_is_made() {
    let cluster = Cluster::new();
    let run = |extra: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(["--listen", &cluster.address.to_string()])
            .arg("--data-dir")
            .arg(cluster.path("none"))
            .arg("--token-jwks")
            .arg(cluster.path("jwks.json"))
            .args(extra)
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(!cluster.path("none").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    for (flags, expected) in [
        (
            ["--trust-domain", "UPPER"],
            "'U' is not allowed in a trust domain",
        ),
        (["--default-ttl", "5"], "30s, 90m, 24h or 7d"),
        (["--log-level", "a=b=c"], "--log-level"),
        (["--system-namespace", "a/b"], "--system-namespace"),
    ] {
        let text = run(&flags);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn help_has_an_example() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("Example:") && text.contains("HEDDLE_DATA_DIR"),
        "{text}"
    );
}
