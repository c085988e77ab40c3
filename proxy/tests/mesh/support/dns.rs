//! Names: a pod whose DNS its sidecar answers, a real resolver on the node behind it, and the
//! programs that ask.

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heddle_proto::mesh::{DnsName, dns_name};
use heddle_proxy_config::kind::Kind;

use super::PATIENCE;
use super::control::Control;
use super::mesh::{Mesh, NODE, Pod, PodSpec};
use super::netns::Netns;
use super::sidecar::{Sidecar, program};

/// What the pod's application appends to names.
pub(crate) const SEARCH: &str = "default.svc.cluster.local svc.cluster.local cluster.local";

/// dnsmasq on the node's port 53; knows what its flags say and asks nobody.
pub(crate) struct Resolver {
    child: Child,
}

impl Resolver {
    pub(crate) fn start(node: &Netns, flags: &[&str]) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "dnsmasq"])
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file=",
            ])
            .args(["--no-resolv", "--no-hosts", "--user=root"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = node.run(async move { command.spawn().unwrap() });
        node.run(async {
            let deadline = Instant::now() + PATIENCE;
            while tokio::net::TcpStream::connect((NODE, 53)).await.is_err() {
                assert!(Instant::now() < deadline, "dnsmasq does not answer");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { child }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // An error: it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pod with captured DNS.
pub(crate) struct World {
    pub(crate) pod: Pod,
    pub(crate) resolver: Option<Resolver>,
    pub(crate) mesh: Mesh,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self::with(flags, &NODE.to_string())
    }

    /// With this nameserver in the pod's resolv.conf.
    pub(crate) fn with(flags: &[&str], nameserver: &str) -> Self {
        let mesh = Mesh::new();
        let resolver = Some(Resolver::start(&mesh.node, flags));
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let conf = dir.path().join("resolv.conf");
        let text =
            format!("search {SEARCH}\nnameserver {nameserver}\noptions ndots:5 attempts:1\n");
        std::fs::write(&conf, text).unwrap();
        let mut spec = PodSpec::new("client");
        spec.environment = vec![
            ("HEDDLE_DNS_CAPTURE", "true".to_owned()),
            ("HEDDLE_RESOLV_CONF", conf.to_str().unwrap().to_owned()),
        ];
        let mut world = Self {
            pod: mesh.pod(spec),
            resolver,
            mesh,
            dir,
        };
        // The redirect's proof takes the sidecar's ports.
        world.sidecar().kill();
        world.exec(&[&program(), "redirect", "apply", "--dns-capture", "true"]);
        world.sidecar().spawn();
        world.sidecar().wait_ready();
        world
    }

    pub(crate) fn sidecar(&mut self) -> &mut Sidecar {
        self.pod.sidecar.as_mut().unwrap()
    }

    /// Runs a program as the pod's application would be: with the pod's resolv.conf.
    pub(crate) fn exec(&self, args: &[&str]) -> String {
        let conf = self.dir.path().join("resolv.conf");
        let script = format!(
            "mount --bind {} /etc/resolv.conf && exec \"$@\"",
            conf.display()
        );
        let all = [&["-m", "sh", "-c", &script, "sh"], args].concat();
        self.pod.netns.exec("unshare", &all)
    }

    /// What `dig` says, of one try; it asks the pod's nameserver.
    pub(crate) fn dig(&self, args: &[&str]) -> String {
        let all = [&["dig", "+tries=1", "+time=20", "+nocookie"], args].concat();
        self.exec(&all)
    }

    /// The addresses that `dig` is told.
    pub(crate) fn ips(&self, args: &[&str]) -> Vec<IpAddr> {
        let text = self.dig(&[&["+short"], args].concat());
        let mut ips: Vec<IpAddr> = text.lines().filter_map(|line| line.parse().ok()).collect();
        ips.sort();
        ips
    }

    /// How `dig` was answered.
    pub(crate) fn status(&self, args: &[&str]) -> String {
        let text = self.dig(args);
        let rest = text.split("status: ").nth(1).unwrap_or(&text);
        rest.split(',').next().unwrap_or_default().to_owned()
    }

    /// The addresses that libc finds, which appends the search domains.
    pub(crate) fn libc(&self, name: &str) -> Vec<IpAddr> {
        let text = self.exec(&["getent", "ahosts", name]);
        let mut ips: Vec<IpAddr> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        ips.sort();
        ips.dedup();
        ips
    }

    /// Queries that had this outcome.
    pub(crate) fn outcomes(&self, outcome: &str) -> f64 {
        let label = format!("outcome=\"{outcome}\"");
        let sidecar = self.pod.sidecar();
        sidecar.metric("heddle_dns_queries_total", &[&label])
    }
}

/// Says what a name stands for.
pub(crate) fn set_name(control: &Control, name: &str, ips: &[&str]) {
    let found = dns_name::Addresses {
        ips: ips.iter().map(ToString::to_string).collect(),
        ttl_seconds: 5,
    };
    let content = DnsName {
        kind: Some(dns_name::Kind::Addresses(found)),
        ..DnsName::default()
    };
    control.set(Kind::DnsName, name, &content);
}

pub(crate) fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse::<Ipv4Addr>().unwrap())
}
