//! Who runs a mesh: one daemon at a time, told by an abstract unix socket. The kernel frees it with
//! the process, however that ends, and it leaves no file; so what it does not cover is stale.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, geteuid};

use crate::node::MeshName;

/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(20);

/// Held by the daemon for as long as it lives.
#[derive(Debug)]
pub(crate) struct Guard {
    _listener: UnixListener,
}

/// Another daemon has the mesh.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    #[error("mesh `{mesh}` is already running (process {pid})")]
    Taken { mesh: MeshName, pid: Pid },
    #[error(
        "cannot claim mesh `{mesh}`: a process of another user may hold its name (`ss -xlp | grep heddle/`)"
    )]
    System { mesh: MeshName, source: io::Error },
}

fn address(mesh: &MeshName) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("heddle/{mesh}"))
}

impl Guard {
    pub(crate) fn take(mesh: &MeshName) -> Result<Self, GuardError> {
        let bound = address(mesh).and_then(|address| UnixListener::bind_addr(&address));
        match bound {
            Ok(listener) => Ok(Self {
                _listener: listener,
            }),
            Err(source) => match holder(mesh) {
                Some(pid) => Err(GuardError::Taken {
                    mesh: mesh.clone(),
                    pid,
                }),
                None => Err(GuardError::System {
                    mesh: mesh.clone(),
                    source,
                }),
            },
        }
    }
}

/// The daemon of a mesh, if one lives. Anybody can listen there: only a process of our own user is
/// believed, since it will be told to end.
pub(crate) fn holder(mesh: &MeshName) -> Option<Pid> {
    let stream = UnixStream::connect_addr(&address(mesh).ok()?).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    (peer.uid() == geteuid().as_raw()).then(|| Pid::from_raw(peer.pid()))
}

/// Waits until a daemon that was told to end has, to its last thread; false when it has not after
/// `patience`. Its socket is free a moment earlier.
pub(crate) async fn ended(mesh: &MeshName, daemon: Pid, patience: Duration) -> bool {
    let ended = async {
        while holder(mesh).is_some() || lives(daemon) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(patience, ended).await.is_ok()
}

/// A process that nobody has waited for yet has ended all the same.
fn lives(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state stands behind the name, which may hold anything.
        Ok(stat) => !matches!(
            stat.rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next()),
            Some('Z' | 'X')
        ),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn a_process_is_waited_for_after_its_socket() {
        let mesh: MeshName = format!("ended-{}", std::process::id()).parse().unwrap();
        let mut process = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap());
        assert!(!ended(&mesh, pid, Duration::from_millis(50)).await);
        process.kill().unwrap();
        assert!(
            ended(&mesh, pid, Duration::from_secs(5)).await,
            "a zombie has ended"
        );
        process.wait().unwrap();
        assert!(ended(&mesh, pid, Duration::from_secs(5)).await);
    }

    #[test]
    fn another_users_process_is_never_taken_for_the_daemon() {
        if !geteuid().is_root() {
            return;
        }
        let mesh: MeshName = format!("foreign-{}", std::process::id()).parse().unwrap();
        let listen = format!(
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('\\0heddle/{mesh}'); \
             s.listen(); print(flush=True); sys.stdin.read()"
        );
        let mut foreign = std::process::Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                &listen,
            ])
            .current_dir("/")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut listening = [0];
        foreign
            .stdout
            .take()
            .unwrap()
            .read_exact(&mut listening)
            .unwrap();
        let found = holder(&mesh);
        let taken = Guard::take(&mesh);
        foreign.kill().unwrap();
        foreign.wait().unwrap();
        assert_eq!(found, None);
        assert!(matches!(taken, Err(GuardError::System { .. })));
    }

    #[tokio::test]
    async fn one_daemon_at_a_time() {
        let mesh: MeshName = format!("guard-{}", std::process::id()).parse().unwrap();
        assert!(holder(&mesh).is_none());
        let guard = Guard::take(&mesh).unwrap();
        assert_eq!(holder(&mesh), Some(Pid::this()));
        assert!(
            matches!(Guard::take(&mesh), Err(GuardError::Taken { pid, .. }) if pid == Pid::this())
        );
        drop(guard);
        Guard::take(&mesh).unwrap();
    }
}
