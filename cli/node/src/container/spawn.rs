//! Starts `heddle container-init` and hears whether the container runs.

use std::{
    io::{self, Read as _},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdStream, process::ExitStatusExt as _},
    },
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{
    SUBCOMMAND,
    init::NAMESPACES_MADE,
    log::Log,
    spec::{EnterSpec, InitSpec},
};
use crate::{NodeError, netns::Mounts, status::Exit};

/// Mounts and an exec; far more than a loaded machine needs.
const START: Duration = Duration::from_secs(30);
/// What is kept of the output of a probe or hook.
const OUTPUT: usize = 4096;
/// For the last lines of a container that has ended, when a child of it still holds its pipe.
const LAST_LINES: Duration = Duration::from_millis(200);

/// A container's process.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its process id.
    pub(crate) pid: u32,
    child: Child,
    /// Its mount namespace, which tells its descendants from everybody else.
    mounts: Option<Mounts>,
    log: JoinHandle<()>,
}

/// Starts a container; an error says why it does not run.
pub(crate) async fn start(
    program: &Path,
    spec: &InitSpec,
    log: &Path,
) -> Result<Running, NodeError> {
    let failed = |what: &str| NodeError::system(format!("cannot {what} a container's process"));
    let log_file = Log::open(log).map_err(NodeError::file("open the log", log))?;
    let text = serde_json::to_vec(spec).map_err(|e| failed("describe")(io::Error::from(e)))?;
    let (ours, theirs) = StdStream::pair().map_err(failed("talk to"))?;
    let mut child = Command::new(program)
        .args([SUBCOMMAND, "start"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NodeError::file("run", program))?;
    let pid = child.id().unwrap_or_default();
    let (Some(out), Some(error)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("read the output of")(io::Error::from(
            io::ErrorKind::BrokenPipe,
        )));
    };
    let log = tokio::spawn(log_file.copy(out, error));
    let mut running = Running {
        pid,
        child,
        mounts: None,
        log,
    };
    let error = match timeout(START, converse(ours, text, pid)).await {
        Ok(Ok((mounts, complaint))) => {
            running.mounts = mounts;
            if complaint.is_empty() {
                return Ok(running);
            }
            NodeError::spec("cannot start", &complaint)
        }
        Ok(Err(error)) => failed("talk to")(error),
        Err(_) => failed("wait for")(io::Error::from(io::ErrorKind::TimedOut)),
    };
    running.end().await;
    Err(error)
}

/// Sends the specification; holds the mount namespace, if it makes one; then hears what went wrong,
/// if anything did, before the command runs.
async fn converse(
    socket: StdStream,
    mut text: Vec<u8>,
    pid: u32,
) -> io::Result<(Option<Mounts>, String)> {
    socket.set_nonblocking(true)?;
    let mut socket = BufReader::new(UnixStream::from_std(socket)?).take(OUTPUT as u64);
    text.push(b'\n');
    socket.get_mut().write_all(&text).await?;
    let mut answer = Vec::new();
    socket.read_until(b'\n', &mut answer).await?;
    let mut mounts = None;
    if answer == NAMESPACES_MADE {
        // It waits for the line below, so it is alive.
        mounts = Some(Mounts::of(pid)?);
        socket.get_mut().write_all(b"held\n").await?;
        answer.clear();
    }
    socket.read_to_end(&mut answer).await?;
    Ok((mounts, String::from_utf8_lossy(&answer).into_owned()))
}

impl Running {
    /// Waits for the end of the process.
    pub(crate) async fn wait(&mut self) -> Exit {
        let exit = match self.child.wait().await {
            Ok(status) => exit_of(status),
            Err(error) => Exit {
                code: -1,
                signal: None,
                at: SystemTime::now(),
                reason: Some(format!("cannot wait for it: {error}")),
            },
        };
        self.kill_descendants();
        if timeout(LAST_LINES, &mut self.log).await.is_err() {
            self.log.abort();
        }
        exit
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends the process and its children.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.kill_descendants();
    }

    /// Whatever it left behind goes with it, as with a container's own process ids. A system
    /// component shares our mount namespace, and nothing is found.
    fn kill_descendants(&self) {
        let Some(mounts) = &self.mounts else { return };
        for pid in mounts.processes() {
            // It may have ended by itself in the meantime.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    fn signal(&self, signal: Signal) {
        // `id` is empty once it has been waited for, so that no other process is ever hit.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    async fn end(&mut self) {
        self.kill();
        self.wait().await;
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    let signal = status.signal();
    let code = status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0));
    Exit {
        code,
        signal,
        at: SystemTime::now(),
        reason: None,
    }
}

/// Runs a command beside a container's process, for a probe or hook; returns its exit code and the
/// beginning of what it wrote.
pub(crate) async fn run_inside(
    program: &Path,
    spec: &EnterSpec,
    patience: Duration,
) -> Result<(i32, String), NodeError> {
    let text = serde_json::to_string(spec)
        .map_err(|error| NodeError::system("cannot describe a command")(io::Error::from(error)))?;
    let (read, write) = io::pipe().map_err(NodeError::system("cannot make a pipe"))?;
    let second = write
        .try_clone()
        .map_err(NodeError::system("cannot make a pipe"))?;
    let mut command = Command::new(program);
    command
        .args([SUBCOMMAND, "enter", &text])
        .stdin(Stdio::null())
        .stdout(write)
        .stderr(second)
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(NodeError::file("run", program))?;
    drop(command);
    let output = tokio::task::spawn_blocking(move || {
        let mut output = Vec::new();
        // Drained to the end, so that the command never stops for a full pipe; little is kept.
        let mut pipe = read;
        let _ = (&mut pipe).take(OUTPUT as u64).read_to_end(&mut output);
        let _ = io::copy(&mut pipe, &mut io::sink());
        String::from_utf8_lossy(&output).trim().to_owned()
    });
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let Ok(status) = timeout(patience, child.wait()).await else {
        if let Some(group) = group {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        return Err(NodeError::system(format!(
            "`{}` did not end",
            spec.argv.join(" ")
        ))(io::Error::from(io::ErrorKind::TimedOut)));
    };
    let status = status.map_err(NodeError::system("cannot wait for a command"))?;
    let output = timeout(LAST_LINES, output)
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default();
    Ok((exit_of(status).code, output))
}
