//! Becomes a container: namespaces, file system view, credentials, then the command.
//!
//! Standard input is a socket from the daemon: the specification comes in as one line, a line goes
//! out when the namespaces are made and one comes back when the daemon holds them, and a sentence
//! goes out when something fails. The socket closes by itself when the command is running; that is
//! how the daemon knows. Single-threaded on purpose: it runs before any runtime is started.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::stat::{Mode, umask},
    unistd::{dup2_stdin, sethostname, setsid},
};

use super::{
    mounts,
    spec::{InitSpec, ProcessSpec},
    user,
};
use crate::NodeError;

/// What this says when its namespaces are made, and then waits for a line.
pub(super) const NAMESPACES_MADE: &[u8] = b"namespaces made\n";

/// The socket to the daemon.
type Daemon = BufReader<File>;

/// As shells answer for a command that could not be run.
const CANNOT_RUN: u8 = 127;

/// `heddle container-init start`.
pub(crate) fn start() -> ExitCode {
    let mut daemon = match daemon() {
        Ok(daemon) => daemon,
        Err(error) => {
            eprintln!("heddle: {}", error.chain());
            return ExitCode::from(CANNOT_RUN);
        }
    };
    let Err(error) = read_spec(&mut daemon).and_then(|spec| become_container(&spec, &mut daemon));
    if daemon
        .get_mut()
        .write_all(error.chain().as_bytes())
        .is_err()
    {
        eprintln!("heddle: {}", error.chain());
    }
    ExitCode::from(CANNOT_RUN)
}

/// The socket moves off standard input, and closes when the command starts.
fn daemon() -> Result<Daemon, NodeError> {
    let failed = || NodeError::system("cannot talk to the daemon over standard input");
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned().map_err(failed())?;
    let null = File::open("/dev/null").map_err(NodeError::file("open", "/dev/null"))?;
    dup2_stdin(&null).map_err(NodeError::system("cannot close standard input"))?;
    Ok(BufReader::new(File::from(socket)))
}

fn read_spec(daemon: &mut Daemon) -> Result<InitSpec, NodeError> {
    let failed = || NodeError::system("cannot read the container's specification");
    let mut text = Vec::new();
    daemon.read_until(b'\n', &mut text).map_err(failed())?;
    serde_json::from_slice(&text).map_err(|error| failed()(io::Error::from(error)))
}

fn become_container(spec: &InitSpec, daemon: &mut Daemon) -> Result<Infallible, NodeError> {
    let netns = File::open(&spec.netns)
        .map_err(NodeError::file("open the network namespace", &spec.netns))?;
    setns(&netns, CloneFlags::CLONE_NEWNET).map_err(NodeError::system(
        "cannot enter the pod's network namespace",
    ))?;
    if let Some(view) = &spec.view {
        let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        unshare(own).map_err(NodeError::system("cannot make the container's namespaces"))?;
        show_mounts(daemon)?;
        sethostname(&view.hostname).map_err(NodeError::system("cannot set the host name"))?;
        mounts::build(view)?;
    }
    // Signals to the daemon's terminal are the daemon's; the container is stopped in order.
    let _ = setsid();
    umask(Mode::from_bits_truncate(0o022));
    run(&spec.process)
}

/// By its mount namespace the daemon knows the container's processes, whatever they do. It must hold
/// it before this process can end.
fn show_mounts(daemon: &mut Daemon) -> Result<(), NodeError> {
    let failed = || NodeError::system("cannot show the daemon the container's namespaces");
    daemon
        .get_mut()
        .write_all(NAMESPACES_MADE)
        .map_err(failed())?;
    let mut held = Vec::new();
    match daemon.read_until(b'\n', &mut held).map_err(failed())? {
        0 => Err(failed()(io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(()),
    }
}

/// Becomes the command; returns only when it cannot.
pub(crate) fn run(process: &ProcessSpec) -> Result<Infallible, NodeError> {
    std::env::set_current_dir(&process.cwd)
        .map_err(NodeError::file("enter the working directory", &process.cwd))?;
    user::assume(&process.user)?;
    let env: HashMap<&str, &str> = process
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let [command, arguments @ ..] = process.argv.as_slice() else {
        return Err(NodeError::spec("the container", "has no command"));
    };
    let program = find(command, env.get("PATH").copied().unwrap_or_default())?;
    let error = Command::new(&program)
        .arg0(command)
        .args(arguments)
        .env_clear()
        .envs(env)
        .exec();
    Err(NodeError::file("run", program)(error))
}

/// Looks a command up as a shell would, as the user who will run it.
fn find(command: &str, path: &str) -> Result<PathBuf, NodeError> {
    if command.contains('/') {
        return Ok(command.into());
    }
    let mut refused = None;
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = Path::new(dir).join(command);
        match nix::unistd::access(&candidate, nix::unistd::AccessFlags::X_OK) {
            Ok(()) if fs::metadata(&candidate).is_ok_and(|meta| meta.is_file()) => {
                return Ok(candidate);
            }
            Err(nix::errno::Errno::EACCES) => refused = Some(candidate),
            _ => {}
        }
    }
    Err(NodeError::spec(
        format!("command `{command}`"),
        match refused {
            Some(file) => format!("{} is there, but this user may not run it", file.display()),
            None => format!("not found on this machine in PATH ({path})"),
        },
    ))
}
