//! Takes a mesh away, whatever state it is in, with nothing but its name to go by.
//!
//! Works after `kill -9` and may be repeated: every step accepts that its work is already done. It
//! touches only what bears the mesh's name: a namespace that another mesh has noted as its own is
//! left alone, even when its name also begins like ours.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    MeshName, NodeError, ip,
    layout::{STATE_ROOT, root_veth, state_dir},
    lock::MeshLock,
    netns,
};

/// After SIGTERM; the daemon gives pods their full grace period, this is for what it left behind.
const POLITE: Duration = Duration::from_secs(2);
/// After SIGKILL, for the kernel to take a process down.
const FIRM: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Removes every process, namespace, link, route and file of a mesh.
pub fn destroy(mesh: &MeshName) -> Result<(), NodeError> {
    crate::privilege::require()?;
    // The slow part, before others have to wait for us.
    end_processes(&own_namespaces(mesh))?;
    let lock = MeshLock::take()?;
    let removed = remove(mesh);
    lock.release_last();
    removed
}

/// Notes that a namespace is this mesh's, before it is made.
pub(crate) fn claim_netns(mesh: &MeshName, name: &str) -> Result<(), NodeError> {
    let dir = claims(mesh);
    fs::create_dir_all(&dir).map_err(NodeError::file("make", &dir))?;
    let path = dir.join(name);
    fs::write(&path, "").map_err(NodeError::file("write", path))
}

/// Whether a namespace has been noted as this mesh's.
pub(crate) fn is_claimed(mesh: &MeshName, name: &str) -> bool {
    claims(mesh).join(name).exists()
}

/// The namespace is gone; so may the note be.
pub(crate) fn disclaim_netns(mesh: &MeshName, name: &str) {
    // What is left is removed with the mesh.
    let _ = fs::remove_file(claims(mesh).join(name));
}

/// Removes everything of a mesh, under the lock.
pub(crate) fn remove(mesh: &MeshName) -> Result<(), NodeError> {
    let names = own_namespaces(mesh);
    end_processes(&names)?;
    remove_link(mesh)?;
    for name in &names {
        netns::delete(name)?;
    }
    let dir = state_dir(mesh);
    unmount_below(&dir)?;
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NodeError::file("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Ends every process in these namespaces: asked first, then killed.
pub(crate) fn end_processes(names: &[String]) -> Result<(), NodeError> {
    for (signal, patience) in [(Signal::SIGTERM, POLITE), (Signal::SIGKILL, FIRM)] {
        let deadline = Instant::now() + patience;
        let mut told = HashSet::new();
        loop {
            let left = netns::processes(names);
            if left.is_empty() {
                return Ok(());
            }
            for pid in left.iter().filter(|pid| told.insert(**pid)) {
                // It may have ended by itself in the meantime.
                let _ = kill(Pid::from_raw(*pid), signal);
            }
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(POLL);
        }
    }
    let left = netns::processes(names);
    Err(NodeError::System {
        what: format!("processes {left:?} did not end although killed"),
        source: io::ErrorKind::TimedOut.into(),
    })
}

/// Deleting one end deletes the other, and the routes through them.
fn remove_link(mesh: &MeshName) -> Result<(), NodeError> {
    let veth = root_veth(mesh);
    if Path::new("/sys/class/net").join(&veth).exists() {
        ip::output(&["link", "delete", &veth])?;
    }
    Ok(())
}

fn claims(mesh: &MeshName) -> PathBuf {
    state_dir(mesh).join("netns")
}

fn own_namespaces(mesh: &MeshName) -> Vec<String> {
    let there = netns::names();
    let etc = fs::read_dir(netns::ETC_NETNS)
        .into_iter()
        .flatten()
        .flatten();
    let etc = etc.filter_map(|entry| entry.file_name().into_string().ok());
    let own = claimed(mesh);
    let others: Vec<MeshName> = other_meshes(mesh);
    let foreign: HashSet<String> = others.iter().flat_map(claimed).collect();
    let longer_owner = |name: &str| {
        others
            .iter()
            .any(|other| longer(other, mesh) && bears(name, other))
    };
    let orphan =
        |name: &String| bears(name, mesh) && !foreign.contains(name) && !longer_owner(name);
    let mut names: Vec<String> = there
        .into_iter()
        .chain(etc)
        .filter(|name| own.contains(name) || orphan(name))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn claimed(mesh: &MeshName) -> HashSet<String> {
    let entries = fs::read_dir(claims(mesh)).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn other_meshes(mesh: &MeshName) -> Vec<MeshName> {
    let entries = fs::read_dir(STATE_ROOT).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<MeshName>().ok());
    names.filter(|other| other != mesh).collect()
}

fn longer(other: &MeshName, mesh: &MeshName) -> bool {
    other.as_str().len() > mesh.as_str().len()
}

/// `heddle-MESH` itself, or `heddle-MESH-…`.
fn bears(name: &str, mesh: &MeshName) -> bool {
    name.strip_prefix("heddle-")
        .and_then(|rest| rest.strip_prefix(mesh.as_str()))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Memory volumes are mounts in the state directory; the deepest go first.
pub(crate) fn unmount_below(dir: &Path) -> Result<(), NodeError> {
    let table = "/proc/self/mountinfo";
    let text = fs::read_to_string(table).map_err(NodeError::file("read", table))?;
    let mut points: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(dir))
        .collect();
    points.sort();
    for point in points.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH)
            .map_err(|errno| NodeError::file("unmount", point)(errno.into()))?;
    }
    Ok(())
}

/// mountinfo writes space, tab, newline and backslash in octal.
pub(crate) fn unescape(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}
