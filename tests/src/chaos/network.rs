//! A bad network between the pods: packets towards a pod are lost and late. By the kernel (netem)
//! where it can, else by a small program that every frame passes through. Whichever it was is said.
//!
//! Works in the mesh's own node namespace alone, and undoes itself; what a killed test leaves goes
//! with the mesh.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::World;
use crate::mesh::text;

/// The bridge of `heddle up` in the node namespace.
const BRIDGE: &str = "pods";

/// How bad it is, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct BadLink {
    /// Share of packets that are lost.
    pub loss: f64,
    /// How late every packet is.
    pub delay: Duration,
}

/// A network that is bad until this is dropped.
pub struct Shaped {
    node: String,
    links: Vec<String>,
    program: Option<Child>,
}

impl Shaped {
    /// Makes the links of all pods bad.
    ///
    /// # Panics
    /// When neither way works.
    pub fn start(world: &World, bad: BadLink) -> Self {
        let node = format!("heddle-{}", world.mesh.name());
        let links = ip(&node, &["-o", "link", "show", "master", BRIDGE]);
        let links = links
            .lines()
            .filter_map(|line| line.split(": ").nth(1)?.split('@').next())
            .map(str::to_owned)
            .collect();
        let mut shaped = Self {
            node,
            links,
            program: None,
        };
        assert!(!shaped.links.is_empty(), "no pod has a link");
        if !shaped.by_kernel(bad) {
            shaped.by_program(bad);
        }
        shaped
    }

    /// How it is done, for the reader of the figures.
    pub fn how(&self) -> String {
        match &self.program {
            None => "by the kernel's netem".to_owned(),
            Some(_) => "by a program in user space: this kernel has no sch_netem".to_owned(),
        }
    }

    fn by_kernel(&self, bad: BadLink) -> bool {
        let (loss, delay) = (
            format!("{}%", bad.loss * 100.0),
            format!("{}ms", bad.delay.as_millis()),
        );
        self.links.iter().all(|link| {
            let added = Command::new("ip")
                .args(["netns", "exec", &self.node, "tc", "qdisc", "add", "dev"])
                .args([link, "root", "netem", "loss", &loss, "delay", &delay])
                .output();
            added.is_ok_and(|output| output.status.success())
        })
    }

    /// Every pod's link leads through a pair of ends, between which the program carries frames.
    fn by_program(&mut self, bad: BadLink) {
        eprintln!("this kernel has no sch_netem: a program in user space loses and delays packets");
        for (index, link) in self.links.iter().enumerate() {
            let (near, far) = (format!("near{index}"), format!("far{index}"));
            for line in [
                format!("link add {near} type veth peer name {far}"),
                format!("link set {near} up"),
                format!("link set {far} master {BRIDGE} up"),
                // The pod asks for the gateway by both ways; one answer is enough.
                format!("link set {link} nomaster arp off"),
            ] {
                ip(&self.node, &line.split(' ').collect::<Vec<_>>());
            }
        }
        let mut program = Command::new("ip")
            .args(["netns", "exec", &self.node, "/usr/bin/python3", "-c"])
            .arg(include_str!("network/shape.py"))
            .args([bad.loss.to_string(), bad.delay.as_secs_f64().to_string()])
            .args(&self.links)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip and python3 are installed");
        let mut line = String::new();
        let stdout = program.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        self.program = Some(program);
        assert!(
            read.is_ok() && line.trim() == "ready",
            "the program that shapes the network: {line}"
        );
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        let Some(mut program) = self.program.take() else {
            for link in &self.links {
                let delete = ["qdisc", "delete", "dev", link, "root"];
                let _ = Command::new("ip")
                    .args(["netns", "exec", &self.node, "tc"])
                    .args(delete)
                    .output();
            }
            return;
        };
        // The end of its input is its end.
        drop(program.stdin.take());
        let _ = program.wait();
        for (index, link) in self.links.iter().enumerate() {
            // A pod may have gone in the meantime, and its link with it.
            let ip = |args: &[&str]| {
                Command::new("ip")
                    .args(["-n", &self.node])
                    .args(args)
                    .output()
            };
            let _ = ip(&["link", "delete", &format!("near{index}")]);
            let _ = ip(&["link", "set", link, "arp", "on", "master", BRIDGE]);
        }
    }
}

fn ip(node: &str, args: &[&str]) -> String {
    let output = Command::new("ip").args(["-n", node]).args(args).output();
    let output = output.expect("iproute2 is installed");
    assert!(output.status.success(), "ip {args:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
