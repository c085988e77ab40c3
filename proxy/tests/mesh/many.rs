//! Many connections at once: what ten thousand that say nothing cost, and what becomes of a sidecar
//! that has no descriptors left.

use std::net::SocketAddr;
use std::time::Duration;

use heddle_proto::mesh::Protocol;
use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http;
use crate::support::mesh::{Pair, PodSpec};
use crate::support::tcp::connect;

const MANY: usize = 10_000;

/// Most bytes of resident memory for each, out and in.
const OUTBOUND: u64 = 8 * 1024;
const INBOUND: u64 = 12 * 1024;

/// The test holds as many descriptors as the sidecar.
fn allow_many_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= 2 * MANY as u64, "ulimit -Hn is {hard}");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

async fn silent(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(connect(to).await);
    }
    streams
}

#[test]
fn ten_thousand_connections_that_send_nothing() {
    allow_many_descriptors();
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let ask = move || async move { http::get(to, "/").await.unwrap().status };
    assert_eq!(pair.client.run(ask()), 200);
    let open = |of: &crate::support::mesh::Pod| {
        let files = std::fs::read_dir(format!("/proc/{}/fd", of.sidecar().pid()));
        files.unwrap().count()
    };
    let before = pair.client.sidecar().memory();
    let streams = pair.client.run(silent(to, MANY));
    eventually("all are accepted", || open(&pair.client) >= MANY);
    assert_eq!(pair.client.run(ask()), 200);
    let grown = pair.client.sidecar().memory().saturating_sub(before) / MANY as u64;
    println!("outbound: {grown} bytes for each of {MANY} silent connections");
    assert!(grown <= OUTBOUND, "{grown} bytes");
    drop(streams);
    eventually("all are let go of", || open(&pair.client) < 200);

    // Who calls a STRICT port and says nothing is not waited for.
    let to_pod = pair.server.at(8080);
    let before = pair.server.sidecar().memory();
    let streams = pair.mesh.node.run(silent(to_pod, MANY));
    let most = std::cell::Cell::new(0);
    eventually("all are accepted", || {
        most.set(most.get().max(pair.server.sidecar().memory()));
        open(&pair.server) >= MANY
    });
    assert_eq!(pair.client.run(ask()), 200);
    let most = most.get().max(pair.server.sidecar().memory());
    let grown = most.saturating_sub(before) / MANY as u64;
    println!("inbound: {grown} bytes for each of {MANY} silent connections");
    assert!(grown <= INBOUND, "{grown} bytes");
    eventually("they are refused", || open(&pair.server) < 200);
    drop(streams);
    let refused = "heddle_connections_refused_total";
    let slow = pair
        .server
        .sidecar()
        .metric(refused, &["reason=\"tls-timeout\""]);
    assert_eq!(slow, MANY as f64);
    let log = pair.server.sidecar().log();
    let warned = log.matches("the TLS handshake took longer").count();
    assert!((1..100).contains(&warned), "{warned} warnings");
}

#[test]
fn a_sidecar_without_descriptors_waits_and_goes_on() {
    let client = PodSpec {
        launcher: ["prlimit", "--nofile=100:100"].map(str::to_owned).to_vec(),
        ..PodSpec::new("client")
    };
    let pair = Pair::with(Protocol::Http1, client, PodSpec::new("server"));
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let streams = pair.client.run(silent(to, 150));
    pair.client.sidecar().logs(&["cannot accept connections"]);
    // It does not spin meanwhile.
    std::thread::sleep(Duration::from_secs(2));
    let log = pair.client.sidecar().log();
    let warned = log.matches("cannot accept connections").count();
    assert!(warned < 40, "{warned} warnings");
    drop(streams);
    for _ in 0..10 {
        let answer = pair.client.run(http::get(to, "/"));
        assert_eq!(answer.unwrap().status, 200);
    }
}
