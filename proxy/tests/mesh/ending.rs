//! How a sidecar ends: told once, told twice, by a hook, and when nobody lets go.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heddle_proto::mesh::Protocol;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use crate::support::mesh::{Pair, Pod, PodSpec};
use crate::support::tcp::{Server, connect, exchange, read_all, read_exact};
use crate::support::{PATIENCE, eventually, sidecar};

/// A server with so many seconds to end, and a client that has an opaque connection to it.
fn talking(grace: &str) -> (Pair, Server, TcpStream) {
    let server = PodSpec {
        environment: vec![("HEDDLE_TERMINATION_GRACE_SECONDS", grace.into())],
        ..PodSpec::new("server")
    };
    let pair = Pair::with(Protocol::Tcp, PodSpec::new("client"), server);
    let echo = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let web = pair.web.at();
    let stream = pair.client.run(async move { connect(web).await });
    let stream = say(&pair, stream);
    (pair, echo, stream)
}

/// Still carried both ways.
fn say(pair: &Pair, mut stream: TcpStream) -> TcpStream {
    use tokio::io::AsyncWriteExt;
    pair.client.run(async move {
        stream.write_all(b"word").await.unwrap();
        assert_eq!(read_exact(&mut stream, 4).await, b"word");
        stream
    })
}

/// Asks the sidecar's admin endpoint; the whole answer.
fn post(pod: &Pod, path: &str) -> String {
    let head = format!("POST {path} HTTP/1.0\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let admin = (Ipv4Addr::LOCALHOST, 15000).into();
    pod.run(async move { exchange(admin, head.as_bytes()).await })
}

/// What the injected preStop hook of the older form runs.
fn hook(pod: &Pod) -> Child {
    let mut command = Command::new(sidecar::program());
    command.args(["wait", "--drained"]).stdout(Stdio::piped());
    pod.run(async move { command.spawn().unwrap() })
}

#[test]
fn an_opaque_connection_is_waited_for_and_ends_the_sidecar() {
    let (mut pair, _echo, stream) = talking("3600");
    pair.server.sidecar().signal(Signal::SIGTERM);
    eventually("unready", || !pair.server.sidecar().is_ready());
    let stream = say(&pair, stream);
    drop(stream);
    assert!(pair.server.sidecar.as_mut().unwrap().ended());
}

#[test]
fn a_second_sigterm_ends_it_now() {
    let (mut pair, _echo, stream) = talking("3600");
    pair.server.sidecar().signal(Signal::SIGTERM);
    eventually("unready", || !pair.server.sidecar().is_ready());
    let mut stream = say(&pair, stream);
    pair.server.sidecar().signal(Signal::SIGTERM);
    let sidecar = pair.server.sidecar.as_mut().unwrap();
    assert!(sidecar.ended());
    sidecar.logs(&["have not ended by themselves", "left=1"]);
    let (left, _) = pair.client.run(async move { read_all(&mut stream).await });
    assert_eq!(left, b"");
}

#[test]
fn who_never_lets_go_is_waited_for_until_the_deadline() {
    let (mut pair, _echo, _stream) = talking("1");
    let told = Instant::now();
    pair.server.sidecar().signal(Signal::SIGTERM);
    assert!(pair.server.sidecar.as_mut().unwrap().ended());
    assert!(told.elapsed() >= Duration::from_secs(1));
}

#[test]
fn draining_by_request_has_no_deadline_and_can_be_asked_again() {
    let (mut pair, _echo, stream) = talking("1");
    for _ in 0..2 {
        assert!(post(&pair.server, "/drain").ends_with("draining\n"));
    }
    eventually("unready", || !pair.server.sidecar().is_ready());
    std::thread::sleep(Duration::from_millis(1200));
    let stream = say(&pair, stream);
    assert_eq!(pair.server.sidecar().log().matches("draining").count(), 1);
    drop(stream);
    assert!(post(&pair.server, "/quitquitquit").ends_with("ending\n"));
    assert!(pair.server.sidecar.as_mut().unwrap().ended());
}

#[test]
fn the_hook_waits_for_connections_and_for_the_application() {
    let (mut pair, echo, stream) = talking("3600");
    let mut hook = hook(&pair.server);
    eventually("unready", || !pair.server.sidecar().is_ready());
    drop(say(&pair, stream));
    // The application listens on: it has not ended.
    std::thread::sleep(Duration::from_millis(200));
    assert!(hook.try_wait().unwrap().is_none());
    drop(echo);
    let begun = Instant::now();
    while hook.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the hook does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = hook.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "drained\n");
    // The kubelet's SIGTERM comes now.
    pair.server.sidecar().signal(Signal::SIGTERM);
    assert!(pair.server.sidecar.as_mut().unwrap().ended());
}

#[test]
fn the_hook_and_sigterm_have_one_deadline_together() {
    let (mut pair, _echo, _stream) = talking("1");
    let output = hook(&pair.server).wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "1 connections are left\n");
    pair.server.sidecar().signal(Signal::SIGTERM);
    assert!(pair.server.sidecar.as_mut().unwrap().ended());
    let log = pair.server.sidecar().log();
    assert!(log.contains("have not ended by themselves"), "{log}");
}
