//! Named network namespaces: made, entered for one closure, found again, deleted.
//!
//! The names are those of `ip netns` (/run/netns/NAME). A namespace is only ever entered by a thread
//! of its own that ends with the closure, so that no thread of the program is left in one.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{NodeError, ip};

/// Where `ip netns` keeps its names.
pub(crate) const RUN_NETNS: &str = "/run/netns";
/// Where `ip netns exec` looks for a namespace's own resolv.conf and hosts.
pub(crate) const ETC_NETNS: &str = "/etc/netns";

/// The file that names a namespace.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(RUN_NETNS).join(name)
}

/// Makes the first namespace of a mesh; `ip` also prepares /run/netns itself.
pub(crate) fn create_with_ip(name: &str) -> Result<(), NodeError> {
    ip::output(&["netns", "add", name]).map(|_| ())
}

/// Makes a namespace and runs `setup` in it; /run/netns must be prepared already.
pub(crate) fn create<T: Send>(
    name: &str,
    setup: impl FnOnce() -> Result<T, NodeError> + Send,
) -> Result<T, NodeError> {
    let path = path(name);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(NodeError::file("make the network namespace", &path))?;
    let made = on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NodeError::system(format!(
            "cannot make network namespace {name}"
        )))?;
        let own = Path::new("/proc/thread-self/ns/net");
        mount(
            Some(own),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(NodeError::system(format!(
            "cannot name network namespace {name}"
        )))?;
        setup()
    });
    if made.is_err() {
        // The first error is the one to report.
        let _ = delete(name);
    }
    made
}

/// Runs `work` in a named namespace, on a thread of its own.
pub(crate) fn enter<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T, NodeError> + Send,
) -> Result<T, NodeError> {
    let file = open(name)?;
    on_thread(|| {
        setns(&file, CloneFlags::CLONE_NEWNET).map_err(NodeError::system(format!(
            "cannot enter network namespace {name}"
        )))?;
        work()
    })
}

/// Opens a namespace by name.
pub(crate) fn open(name: &str) -> Result<File, NodeError> {
    let path = path(name);
    File::open(&path).map_err(NodeError::file("open the network namespace", path))
}

/// Forgets a namespace and its /etc/netns directory; done when neither is there any more.
pub(crate) fn delete(name: &str) -> Result<(), NodeError> {
    let path = path(name);
    // Not mounted: an unfinished one. The unlink below also detaches it from other mount namespaces.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    gone(fs::remove_file(&path)).map_err(NodeError::file("remove", path))?;
    let etc = Path::new(ETC_NETNS).join(name);
    gone(fs::remove_dir_all(&etc)).map_err(NodeError::file("remove", etc))?;
    // Fails, rightly, while other namespaces have files there.
    let _ = fs::remove_dir(ETC_NETNS);
    Ok(())
}

/// Every name in /run/netns.
pub(crate) fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(RUN_NETNS) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The processes whose network namespace is one of `names`, except this one.
pub(crate) fn processes(names: &[String]) -> Vec<i32> {
    let inodes = names
        .iter()
        .filter_map(|name| Inode::of(path(name)))
        .collect();
    processes_in("net", inodes)
}

/// A mount namespace, kept alive: as long as this is, the kernel gives its number to no other.
#[derive(Debug)]
pub(crate) struct Mounts {
    _open: File,
    inode: Inode,
}

impl Mounts {
    /// That of a process which is alive.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let open = File::open(format!("/proc/{pid}/ns/mnt"))?;
        let inode = Inode::of_file(&open)?;
        Ok(Self { _open: open, inode })
    }

    /// The processes in it, except this one.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes_in("mnt", HashSet::from([self.inode]))
    }
}

/// What tells one namespace from another, while both exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Inode(u64, u64);

impl Inode {
    fn of(path: impl AsRef<Path>) -> Option<Self> {
        fs::metadata(path)
            .ok()
            .map(|meta| Self(meta.dev(), meta.ino()))
    }

    fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|meta| Self(meta.dev(), meta.ino()))
    }
}

fn processes_in(kind: &str, mut inodes: HashSet<Inode>) -> Vec<i32> {
    let own_pid = i32::try_from(std::process::id()).unwrap_or(0);
    // An unfinished namespace's file is not a namespace; ours must never be among those emptied.
    if let Some(own) = Inode::of(format!("/proc/self/ns/{kind}")) {
        inodes.remove(&own);
    }
    if inodes.is_empty() {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own_pid)
        .filter(|pid| {
            Inode::of(format!("/proc/{pid}/ns/{kind}")).is_some_and(|i| inodes.contains(&i))
        })
        .collect()
}

/// Sets a value below /proc/sys for this thread's network namespace.
pub(crate) fn sysctl(key: &str, value: &str) -> Result<(), NodeError> {
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    fs::write(&path, value).map_err(NodeError::file("set", path))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, NodeError> + Send) -> Result<T, NodeError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(NodeError::system("cannot start a thread"))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
