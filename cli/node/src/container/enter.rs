//! Runs a command in a pod that is there, as the container's own process would see it.
//!
//! Namespaces, environment, working directory and credentials are taken from the container's process;
//! that it is in the pod's network namespace is checked first, since process ids are reused.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::sched::{CloneFlags, setns, unshare};

use super::{
    BIN_DIR, DEFAULT_PATH, init,
    spec::{EnterSpec, ProcessSpec, User},
};
use crate::NodeError;

const CANNOT_RUN: u8 = 127;

/// `heddle container-init enter SPEC`.
pub(crate) fn enter(spec: Option<OsString>) -> ExitCode {
    let text = spec.unwrap_or_default();
    let spec = serde_json::from_slice::<EnterSpec>(text.as_encoded_bytes())
        .map_err(|error| NodeError::system("cannot read what to run")(io::Error::from(error)));
    let Err(error) = spec.and_then(|spec| run(&spec));
    eprintln!("heddle: {}", error.chain());
    ExitCode::from(CANNOT_RUN)
}

fn run(spec: &EnterSpec) -> Result<Infallible, NodeError> {
    match spec.pid {
        Some(pid) => run_beside(spec, pid),
        None => {
            let netns = open(&spec.netns)?;
            join(&netns, CloneFlags::CLONE_NEWNET)?;
            let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
            let process = ProcessSpec {
                argv: spec.argv.clone(),
                env: with_terminal(vec![("PATH".to_owned(), path)]),
                cwd: PathBuf::from("/"),
                user: spec.user.clone(),
            };
            init::run(&process)
        }
    }
}

fn run_beside(spec: &EnterSpec, pid: u32) -> Result<Infallible, NodeError> {
    let proc = Path::new("/proc").join(pid.to_string());
    let inode = |path: &Path| {
        let meta = fs::metadata(path).map_err(NodeError::file("look at", path))?;
        Ok((meta.dev(), meta.ino()))
    };
    if inode(&proc.join("ns/net"))? != inode(&spec.netns)? {
        let reason = "its process is gone; `heddle status` shows what runs";
        return Err(NodeError::spec("the container", reason));
    }
    let process = ProcessSpec {
        argv: spec.argv.clone(),
        env: with_terminal(environment(&proc)?),
        cwd: PathBuf::from("/"),
        user: credentials(&proc)?,
    };
    let files: Vec<(File, CloneFlags)> = [
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ]
    .into_iter()
    .map(|(kind, flag)| Ok((open(&proc.join("ns").join(kind))?, flag)))
    .collect::<Result<_, NodeError>>()?;
    // A process that shares its root and working directory may not change its mount namespace.
    unshare(CloneFlags::CLONE_FS).map_err(NodeError::system("cannot have a root of its own"))?;
    for (file, flag) in &files {
        join(file, *flag)?;
    }
    init::run(&process)
}

fn open(path: &Path) -> Result<File, NodeError> {
    File::open(path).map_err(NodeError::file("open", path))
}

fn join(file: &File, kind: CloneFlags) -> Result<(), NodeError> {
    setns(file, kind).map_err(NodeError::system("cannot enter the pod's namespaces"))
}

fn environment(proc: &Path) -> Result<Vec<(String, String)>, NodeError> {
    let path = proc.join("environ");
    let bytes = fs::read(&path).map_err(NodeError::file("read", path))?;
    let mut env: Vec<(String, String)> = bytes
        .split(|byte| *byte == 0)
        .filter_map(|pair| String::from_utf8_lossy(pair).split_once('=').map(owned))
        .collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".to_owned(), format!("{BIN_DIR}:{DEFAULT_PATH}")));
    }
    Ok(env)
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The terminal is the caller's.
fn with_terminal(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    if let Ok(term) = std::env::var("TERM") {
        env.retain(|(name, _)| name != "TERM");
        env.push(("TERM".to_owned(), term));
    }
    env
}

fn credentials(proc: &Path) -> Result<User, NodeError> {
    let path = proc.join("status");
    let text = fs::read_to_string(&path).map_err(NodeError::file("read", &path))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let ids = |name| -> Vec<u32> {
        let words = field(name).unwrap_or_default().split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    // Second column: the effective id.
    let (Some(uid), Some(gid)) = (ids("Uid:").get(1).copied(), ids("Gid:").get(1).copied()) else {
        return Err(NodeError::spec(
            path.display().to_string(),
            "has no Uid and Gid lines",
        ));
    };
    let mask = field("CapBnd:").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    Ok(User {
        uid,
        gid,
        groups: ids("Groups:"),
        capabilities: mask.unwrap_or(0),
        no_new_privileges: field("NoNewPrivs:").is_some_and(|value| value.trim() == "1"),
    })
}
