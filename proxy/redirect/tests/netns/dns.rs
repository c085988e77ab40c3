//! DNS capture: the app's queries to the nameservers of resolv.conf come to the sidecar, the sidecar's own do not, even
//! from the port that the app used a moment ago.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use heddle_proxy_redirect::{Error, apply};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::settings;
use crate::world::{APP, Backend, Netns, PEER_V4, PEER_V6, PROXY, ROOT, User, World, at, dial};

/// Applies with this resolv.conf, seen by nobody else.
fn apply_with(world: &World, resolv_conf: &str) -> Result<(), Error> {
    apply_when(world, resolv_conf, "true")
}

fn apply_when(world: &World, resolv_conf: &str, when: &'static str) -> Result<(), Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), resolv_conf).unwrap();
    world.pod.run(ROOT, || {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(
            Some(file.path()),
            "/etc/resolv.conf",
            none,
            MsFlags::MS_BIND,
            none,
        )
        .unwrap();
        apply(&settings(&["--dns-capture", when]))
    })
}

/// A socket that answers every query with its own name.
fn answering(netns: &Netns, user: User, at: SocketAddr, name: &'static str) {
    let socket = netns.run(user, || UdpSocket::bind(at)).unwrap();
    // Ends with the namespaces' test: a second after the last query.
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut query) {
            socket.send_to(name.as_bytes(), from).unwrap();
        }
    });
}

/// A program that another test starts at this moment may still hold a copy of the socket before.
fn bind(netns: &Netns, user: User, at: SocketAddr) -> UdpSocket {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match netns.run(user, move || UdpSocket::bind(at)) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
                assert!(std::time::Instant::now() < deadline, "{at}: {e}");
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => return bound.unwrap(),
        }
    }
}

/// Asks the nameserver from a chosen port; who answered.
fn ask(netns: &Netns, user: User, from: SocketAddr, nameserver: SocketAddr) -> String {
    let socket = bind(netns, user, from);
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.connect(nameserver).unwrap();
    socket.send(b"?").unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn the_apps_queries_come_to_the_sidecar_and_the_sidecars_go_out() {
    for backend in [Backend::Nft, Backend::Legacy] {
        let world = World::with(backend);
        apply_with(
            &world,
            &format!("nameserver {PEER_V4}\nnameserver {PEER_V6}\n"),
        )
        .unwrap();
        for (any, nameserver) in [("0.0.0.0", PEER_V4), ("::", PEER_V6)] {
            if any == "::" {
                // Bound apart: an IPv6 socket that takes IPv4 too would collide.
                answering(&world.pod, PROXY, at("::1", 15053), "sidecar");
                answering(&world.peer, APP, at(PEER_V6, 53), "nameserver");
            } else {
                answering(&world.pod, PROXY, at("127.0.0.1", 15053), "sidecar");
                answering(&world.peer, APP, at(PEER_V4, 53), "nameserver");
            }
            let (from, to) = (at(any, 40053), at(nameserver, 53));
            assert_eq!(ask(&world.pod, APP, from, to), "sidecar");
            assert_eq!(ask(&world.pod, PROXY, from, to), "nameserver");
            assert_eq!(ask(&world.pod, APP, from, to), "sidecar");
        }
        let tcp = world
            .pod
            .run(PROXY, || std::net::TcpListener::bind("127.0.0.1:15053"))
            .unwrap();
        dial(&world.pod, APP, None, at(PEER_V4, 53)).unwrap();
        tcp.accept().unwrap();
    }
}

#[test]
fn a_nameserver_on_loopback_is_captured_too() {
    let world = World::new();
    apply_with(&world, "nameserver 127.0.0.53\n").unwrap();
    answering(&world.pod, PROXY, at("127.0.0.1", 15053), "sidecar");
    answering(&world.pod, ROOT, at("127.0.0.53", 53), "nameserver");
    let (from, to) = (at("127.0.0.1", 40054), at("127.0.0.53", 53));
    assert_eq!(ask(&world.pod, APP, from, to), "sidecar");
    assert_eq!(ask(&world.pod, PROXY, from, to), "nameserver");
}

#[test]
fn without_a_nameserver_it_says_so() {
    let world = World::new();
    let refused = apply_with(&world, "search a.b\n").unwrap_err();
    assert!(
        refused.to_string().contains("names no nameserver"),
        "{refused}"
    );
    assert!(!world.saved(Backend::Nft).contains("HEDDLE"));
    apply_when(&world, "search a.b\n", "auto").unwrap();
    let saved = world.saved(Backend::Nft);
    assert!(saved.contains("HEDDLE_OUTBOUND") && !saved.contains("HEDDLE_DNS"));
    apply_when(&world, &format!("nameserver {PEER_V4}\n"), "auto").unwrap();
    assert!(world.saved(Backend::Nft).contains("HEDDLE_DNS"));
}
