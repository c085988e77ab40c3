//! A service on a port of its own, names that a test sets, dnsmasq behind it, and `dig`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use heddle_proxy_dns::{Addresses, Answers, Known, Names, Outcome, Sockets, Upstream, serve};

/// What the mesh knows, and what was asked of its control plane.
#[derive(Clone, Default)]
pub(crate) struct Mesh(Arc<MeshState>);

#[derive(Default)]
struct MeshState {
    names: Mutex<HashMap<String, Known>>,
    asked: Mutex<Vec<String>>,
    silent: Mutex<bool>,
}

impl Mesh {
    pub(crate) fn set(&self, name: &str, ips: &[&str]) {
        let found = Addresses {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            ttl: Duration::from_secs(17),
        };
        let mut names = self.0.names.lock().unwrap();
        names.insert(name.to_owned(), Known::Addresses(found));
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    /// From now on nothing that is asked is answered, for longer than a test runs.
    pub(crate) fn hush(&self) {
        *self.0.silent.lock().unwrap() = true;
    }
}

impl Names for Mesh {
    fn held(&self, name: &str) -> Option<Known> {
        self.0.names.lock().unwrap().get(name).cloned()
    }

    fn ask<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Known>> {
        Box::pin(async move {
            self.0.asked.lock().unwrap().push(name.to_owned());
            if *self.0.silent.lock().unwrap() {
                std::future::pending::<()>().await;
            }
            Some(Known::Unknown)
        })
    }
}

/// A dnsmasq that knows what its flags say and asks nobody.
pub(crate) struct Dnsmasq {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Dnsmasq {
    pub(crate) fn start(flags: &[&str]) -> Self {
        for _ in 0..20 {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let mut child = Command::new("dnsmasq")
                .args([
                    "--keep-in-foreground",
                    "--conf-file=/dev/null",
                    "--pid-file=",
                ])
                .args([
                    "--no-resolv",
                    "--no-hosts",
                    "--bind-interfaces",
                    "--user=root",
                ])
                .args(["--listen-address=127.0.0.1", "--except-interface=none"])
                .arg(format!("--port={}", address.port()))
                .args(flags)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("dnsmasq is needed (apt-get install dnsmasq-base)");
            let deadline = Instant::now() + Duration::from_secs(20);
            while child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(address).is_ok() {
                    return Self { child, address };
                }
                assert!(Instant::now() < deadline, "dnsmasq does not start");
                std::thread::sleep(Duration::from_millis(5));
            }
            // Somebody else took the port meanwhile.
        }
        panic!("dnsmasq found no port");
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody had a moment ago, of UDP and TCP.
pub(crate) fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        if std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The service under test, on a thread of its own.
pub(crate) struct Service {
    pub(crate) mesh: Mesh,
    pub(crate) port: u16,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    runtime: Option<tokio::runtime::Runtime>,
    _dir: tempfile::TempDir,
}

impl Service {
    /// Behind it these servers, and these search domains.
    pub(crate) fn start(servers: &[SocketAddr], search: &str) -> Self {
        let (dir, path) = resolv_conf(servers, search);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (mesh, outcomes) = (Mesh::default(), Arc::<Mutex<Vec<Outcome>>>::default());
        let counted = Arc::clone(&outcomes);
        let answers = Answers::new(
            Arc::new(mesh.clone()),
            Arc::new(Upstream::new(path)),
            move |outcome| counted.lock().unwrap().push(outcome),
        );
        let within = runtime.enter();
        let (port, sockets) = loop {
            let port = free_port();
            if let Ok(sockets) = Sockets::bind(port) {
                break (port, sockets);
            }
        };
        drop(within);
        runtime.spawn(serve(sockets, Arc::new(answers)));
        Self {
            mesh,
            port,
            outcomes,
            runtime: Some(runtime),
            _dir: dir,
        }
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap().clone()
    }

    /// What `dig` says; one try, so that what it says is of one query.
    pub(crate) fn dig(&self, args: &[&str]) -> Dig {
        self.dig_at("127.0.0.1", args)
    }

    pub(crate) fn dig_at(&self, server: &str, args: &[&str]) -> Dig {
        let output = Command::new("dig")
            .args([&format!("@{server}"), "-p", &self.port.to_string()])
            .args(["+tries=1", "+time=20", "+nocookie", "+nostats"])
            .args(args)
            .output()
            .expect("dig is needed (apt-get install bind9-dnsutils)");
        Dig(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A resolv.conf of its own.
pub(crate) fn resolv_conf(servers: &[SocketAddr], search: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let mut text = format!("search {search}\n");
    for server in servers {
        writeln!(text, "nameserver {server}").unwrap();
    }
    fs::write(&path, text).unwrap();
    (dir, path)
}

/// What `dig` printed.
#[derive(Debug)]
pub(crate) struct Dig(String);

impl Dig {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn status(&self) -> &str {
        let rest = self.0.split("status: ").nth(1);
        rest.and_then(|rest| rest.split(',').next())
            .unwrap_or_else(|| panic!("no answer: {}", self.0))
    }

    pub(crate) fn flag(&self, flag: &str) -> bool {
        let flags = self.0.split("flags: ").nth(1).unwrap();
        flags
            .split(';')
            .next()
            .unwrap()
            .split(' ')
            .any(|f| f == flag)
    }

    /// Records of the answer: their last words, in order.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.section("ANSWER")
            .map(|line| line.split_whitespace().last().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn ips(&self) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = self
            .answers()
            .iter()
            .filter_map(|a| a.parse().ok())
            .collect();
        ips.sort();
        ips
    }

    /// Seconds of the answer's first record.
    pub(crate) fn ttl(&self) -> u32 {
        let first = self.section("ANSWER").next().unwrap();
        first.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn section(&self, name: &str) -> impl Iterator<Item = &str> {
        let begin = format!(";; {name} SECTION:\n");
        let rest = self.0.split_once(&begin).map_or("", |(_, rest)| rest);
        rest.lines().take_while(|line| !line.is_empty())
    }
}
