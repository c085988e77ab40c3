//! A pod's network namespace and a neighbour's, with real sockets in both. A thread enters a namespace and takes a
//! user's file-system id, which is what iptables' owner match sees of the sockets it makes. Dropped with the test, also
//! when it panics.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use socket2::{Domain, SockRef, Socket, Type};

pub(crate) const POD_V4: &str = "10.77.0.2";
pub(crate) const POD_V6: &str = "fd77::2";
pub(crate) const PEER_V4: &str = "10.77.0.1";
pub(crate) const PEER_V6: &str = "fd77::1";

#[derive(Clone, Copy, Debug)]
pub(crate) struct User(pub(crate) u32, pub(crate) u32);

pub(crate) const ROOT: User = User(0, 0);
pub(crate) const APP: User = User(1000, 1000);
pub(crate) const PROXY: User = User(1337, 1337);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Nft,
    Legacy,
}

impl Backend {
    /// The infix of its programs' names.
    pub(crate) fn infix(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }
}

pub(crate) struct Netns(pub(crate) String);

impl Netns {
    fn new(role: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "hrt-{}-{}-{role}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let netns = Self(name);
        run(&format!("ip netns add {}", netns.0));
        netns.sh("ip link set lo up");
        netns
    }

    /// Runs the function in this namespace as this user and returns what it returned.
    pub(crate) fn run<T: Send>(&self, user: User, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(
                    File::open(format!("/run/netns/{}", self.0)).unwrap(),
                    CloneFlags::CLONE_NEWNET,
                )
                .unwrap();
                setfsgid(Gid::from_raw(user.1));
                setfsuid(Uid::from_raw(user.0));
                f()
            });
            entered.join().unwrap()
        })
    }

    /// Runs a shell's command in this namespace; it must succeed.
    pub(crate) fn sh(&self, command: &str) -> String {
        let output = self.try_sh(command);
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn try_sh(&self, command: &str) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.0, "sh", "-c", command])
            .output()
            .unwrap()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "these tests make network namespaces and need root: {command}: {said}"
    );
}

pub(crate) struct World {
    pub(crate) pod: Netns,
    pub(crate) peer: Netns,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            pod: Netns::new("pod"),
            peer: Netns::new("peer"),
        };
        run(&format!(
            "ip -n {} link add eth0 type veth peer name eth0 netns {}",
            world.pod.0, world.peer.0
        ));
        for (netns, v4, v6) in [
            (&world.pod, POD_V4, POD_V6),
            (&world.peer, PEER_V4, PEER_V6),
        ] {
            netns.sh(&format!(
                "ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad; ip link set eth0 up"
            ));
        }
        world.pod.sh(&format!(
            "ip route add default via {PEER_V4}; ip -6 route add default via {PEER_V6}"
        ));
        world
    }

    /// A pod in which this backend is the one to use: somebody has rules there already.
    pub(crate) fn with(backend: Backend) -> Self {
        let world = Self::new();
        if backend == Backend::Legacy {
            world
                .pod
                .sh("iptables-legacy -w -t nat -A OUTPUT -d 203.0.113.77/32 -j RETURN");
        }
        world
    }

    /// The rules of both families without what changes by itself: dates and counters.
    pub(crate) fn saved(&self, backend: Backend) -> String {
        let saved = self.pod.sh(&format!(
            "iptables-{0}-save; ip6tables-{0}-save",
            backend.infix()
        ));
        let lines = saved.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split(" [").next().unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// The sidecar's and the app's listeners, and the neighbour's.
    pub(crate) fn listen(&self) -> Listeners {
        let mut listeners = Vec::new();
        for any in ["0.0.0.0", "::"] {
            for (netns, user, who, port) in [
                (&self.pod, PROXY, "outbound", 15001),
                (&self.pod, PROXY, "inbound", 15006),
                (&self.pod, PROXY, "health", 15021),
                (&self.pod, APP, "app", 8080),
                (&self.pod, APP, "app", 9000),
                (&self.peer, APP, "peer", 8080),
                (&self.peer, APP, "peer", 9000),
            ] {
                let at = SocketAddr::new(any.parse().unwrap(), port);
                listeners.push((who, netns.run(user, || listener(at).unwrap())));
            }
        }
        Listeners(listeners)
    }
}

fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Dials from the namespace as the user, perhaps from a chosen address.
pub(crate) fn dial(
    netns: &Netns,
    user: User,
    from: Option<&str>,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    netns.run(user, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into())?;
        }
        socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
        Ok(socket.into())
    })
}

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

pub(crate) struct Listeners(Vec<(&'static str, TcpListener)>);

/// Who took a connection, what it was meant for, and whom the listener saw.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) who: &'static str,
    pub(crate) meant_for: Option<SocketAddr>,
    pub(crate) seen: SocketAddr,
}

impl Listeners {
    /// Which listener took the connection.
    pub(crate) fn taken(&self, dialled: io::Result<TcpStream>) -> Taken {
        let stream = dialled.expect("somebody answers");
        let local = stream.local_addr().unwrap();
        self.wait(|seen| seen == local)
    }

    /// Which listener takes the next connection.
    pub(crate) fn next(&self) -> Taken {
        self.wait(|_| true)
    }

    fn wait(&self, meant: impl Fn(SocketAddr) -> bool) -> Taken {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            for (who, listener) in &self.0 {
                if let Ok((accepted, seen)) = listener.accept()
                    && meant(seen)
                {
                    return Taken {
                        who,
                        meant_for: original(&accepted),
                        seen,
                    };
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("no listener of ours took the connection");
    }
}

fn original(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let found = match stream.local_addr().unwrap() {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    found.ok()?.as_socket()
}
