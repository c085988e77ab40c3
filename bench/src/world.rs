//! The network: a node with a bridge and three pods on it, each a network namespace, the same ones
//! for every peer. Nothing is made in the machine's own namespace.
//!
//! Every name has the process id in it, so that whatever was left behind by a `kill -9` is found by
//! the next run.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::netns::within;
use crate::process::{self, run};

/// Of namespaces and of the directory in [`RUN`].
const PREFIX: &str = "hbench-";
const RUN: &str = "/run";

/// Who the sidecars run as; the redirect rules let it through.
pub(crate) const SIDECAR_USER: u32 = 1337;
/// Who the applications run as.
pub(crate) const APP_USER: u32 = 65534;
/// The application's port, and the Service's.
pub(crate) const PORT: u16 = 9080;
/// The Service's address: no interface has it, the redirect catches it.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 10);

/// A network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Node,
    Client,
    V1,
    V2,
}

impl Place {
    pub(crate) const PODS: [Place; 3] = [Place::Client, Place::V1, Place::V2];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Node => "node",
            Place::Client => "client",
            Place::V1 => "v1",
            Place::V2 => "v2",
        }
    }

    pub(crate) fn ip(self) -> Ipv4Addr {
        match self {
            Place::Node => Ipv4Addr::new(10, 77, 0, 1),
            Place::Client => Ipv4Addr::new(10, 77, 0, 10),
            Place::V1 => Ipv4Addr::new(10, 77, 0, 11),
            Place::V2 => Ipv4Addr::new(10, 77, 0, 12),
        }
    }

    pub(crate) fn app(self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip()), PORT)
    }

    /// The namespace's name.
    pub(crate) fn netns(self) -> String {
        format!("{PREFIX}{}-{}", std::process::id(), self.name())
    }
}

/// The namespaces and a directory for files; gone when dropped.
pub(crate) struct World {
    dir: PathBuf,
}

impl World {
    pub(crate) fn make() -> Result<Self> {
        let world = Self {
            dir: directory(std::process::id()),
        };
        // Others must get in (the sidecars' user), but nobody can list it.
        fs::create_dir(&world.dir).map_err(Error::file("make", &world.dir))?;
        fs::set_permissions(&world.dir, fs::Permissions::from_mode(0o711))
            .map_err(Error::file("open up", &world.dir))?;
        world.network()?;
        Ok(world)
    }

    fn network(&self) -> Result<()> {
        let node = Place::Node.netns();
        for place in [Place::Node, Place::Client, Place::V1, Place::V2] {
            ip(&["netns", "add", &place.netns()])?;
            ip(&["-n", &place.netns(), "link", "set", "lo", "up"])?;
        }
        ip(&["-n", &node, "link", "add", "pods", "type", "bridge"])?;
        ip(&["-n", &node, "address", "add", "10.77.0.1/24", "dev", "pods"])?;
        ip(&["-n", &node, "link", "set", "pods", "up"])?;
        for pod in Place::PODS {
            let (name, netns) = (pod.name(), pod.netns());
            ip(&[
                "-n", &node, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
                &netns,
            ])?;
            ip(&["-n", &node, "link", "set", name, "master", "pods", "up"])?;
            let address = format!("{}/24", pod.ip());
            ip(&["-n", &netns, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &netns, "link", "set", "eth0", "up"])?;
            ip(&["-n", &netns, "route", "add", "default", "via", "10.77.0.1"])?;
            within(&netns, tune)?;
        }
        Ok(())
    }

    /// An empty directory, for one user alone.
    pub(crate) fn fresh_dir(&self, name: &str, owner: u32) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("empty", &dir)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&dir).map_err(Error::file("make", &dir))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711))
            .map_err(Error::file("open up", &dir))?;
        chown(&dir, Some(owner), Some(owner)).map_err(Error::file("give away", &dir))?;
        Ok(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file that only this user can read.
    pub(crate) fn write(&self, name: &str, text: &str, owner: u32) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, "").map_err(Error::file("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(Error::file("protect", &path))?;
        fs::write(&path, text).map_err(Error::file("write", &path))?;
        chown(&path, Some(owner), Some(owner)).map_err(Error::file("give away", &path))?;
        Ok(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        sweep(std::process::id());
    }
}

/// Lets a pod make thousands of connections a second, and hold thousands: many ports, and neither
/// ports nor tracked connections kept long after their end.
fn tune() -> Result<()> {
    const SETTINGS: &[(&str, &str)] = &[
        ("ipv4/ip_local_port_range", "16384 65535"),
        ("ipv4/tcp_tw_reuse", "1"),
        ("netfilter/nf_conntrack_tcp_timeout_time_wait", "2"),
    ];
    SETTINGS.iter().try_for_each(|(name, value)| {
        let path = Path::new("/proc/sys/net").join(name);
        match fs::write(&path, value) {
            // Nothing has loaded connection tracking yet; its own defaults serve a first run.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(Error::file("set", &path)),
        }
    })
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args)).map(|_| ())
}

fn directory(pid: u32) -> PathBuf {
    Path::new(RUN).join(format!("{PREFIX}{pid}"))
}

/// Removes what a run of this program made: processes, namespaces, files. Does what it can.
pub(crate) fn sweep(pid: u32) {
    let ours = format!("{PREFIX}{pid}-");
    let names: Vec<String> = entries(crate::netns::NAMES)
        .into_iter()
        .filter(|name| name.starts_with(&ours))
        .collect();
    for name in &names {
        if let Ok(pids) = process::output(Command::new("ip").args(["netns", "pids", name])) {
            for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
                // Gone already: as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
    for name in &names {
        if let Err(error) = ip(&["netns", "delete", name]) {
            eprintln!("heddle-bench: {error}");
        }
    }
    let _ = fs::remove_dir_all(directory(pid));
}

/// Removes what was left by runs that are no more.
pub(crate) fn sweep_abandoned() {
    let names = entries(crate::netns::NAMES).into_iter().chain(entries(RUN));
    let pids: BTreeSet<u32> = names.filter_map(|name| owner(&name)).collect();
    for pid in pids {
        if !Path::new("/proc").join(pid.to_string()).exists() {
            sweep(pid);
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.split('-').next()?.parse().ok()
}

fn entries(dir: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The only test that makes a world: there is one for each process.
    #[test]
    fn a_world_connects_its_pods_and_leaves_nothing_behind() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let world = World::make().unwrap();
        let netns = Place::Client.netns();
        let listener = crate::netns::within(&Place::V2.netns(), || {
            Ok(std::net::TcpListener::bind(Place::V2.app()).unwrap())
        })
        .unwrap();
        let patience = std::time::Duration::from_secs(10);
        crate::http::Connection::open(Place::Client, Place::V2.app(), patience).unwrap();
        let secret = world.write("secret", "x", SIDECAR_USER).unwrap();
        assert_eq!(
            fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let sleeper = process::Process::start(
            &world,
            Place::V1,
            APP_USER,
            "sleep",
            Path::new("/bin/sleep"),
            ["1000"],
        )
        .unwrap();
        drop((listener, world));
        assert!(!Path::new(crate::netns::NAMES).join(netns).exists());
        assert!(!secret.exists());
        let mut sleeper = sleeper;
        let ended = sleeper.wait("dead", || false).unwrap_err();
        assert!(ended.to_string().contains("ended (signal: 9"), "{ended}");
    }

    #[test]
    fn names_tell_which_run_they_belong_to() {
        assert_eq!(owner(&Place::V1.netns()), Some(std::process::id()));
        assert_eq!(owner("hbench-12"), Some(12));
        for other in ["heddle-12", "hbench-", "hbench-x-node", "netns"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
