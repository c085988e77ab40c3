//! What the figures were measured on, without which they mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::peers::Peer;
use crate::process::output;
use crate::programs::Programs;

/// Machine and versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) congestion_control: String,
    pub(crate) virtual_machine: bool,
    pub(crate) heddle: String,
    pub(crate) envoy: String,
    pub(crate) wrk: String,
    pub(crate) nginx: String,
    pub(crate) haproxy: String,
    pub(crate) h2load: String,
    pub(crate) iperf3: String,
    pub(crate) date: String,
}

impl Description {
    /// Of what is compared.
    pub(crate) fn version(&self, peer: Peer) -> Option<&str> {
        match peer {
            Peer::Heddle => Some(&self.heddle),
            Peer::Envoy => Some(&self.envoy),
            Peer::Nginx => Some(&self.nginx),
            Peer::Haproxy => Some(&self.haproxy),
            Peer::Direct | Peer::Relay => None,
        }
    }
}

/// Looks around.
pub(crate) fn describe(programs: &Programs) -> Description {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name")
        .unwrap_or("unknown")
        .to_owned();
    let memory_kib = field(&meminfo, "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .unwrap_or(0);
    let kernel = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        text.trim().to_owned()
    };
    Description {
        cpu: model,
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_gib: (memory_kib + (1 << 19)) >> 20,
        kernel: kernel("kernel/osrelease"),
        congestion_control: kernel("net/ipv4/tcp_congestion_control"),
        virtual_machine: field(&cpuinfo, "flags")
            .is_some_and(|f| f.split(' ').any(|f| f == "hypervisor")),
        heddle: heddle(),
        // "envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
        envoy: first_line(Command::new(&programs.envoy).arg("--version"))
            .split('/')
            .nth_back(3)
            .unwrap_or("unknown")
            .to_owned(),
        // "wrk debian/4.1.0-3 [epoll] Copyright …"; it says so and then fails for want of a URL.
        wrk: word(&said_by(Command::new(&programs.wrk).arg("-v")), 1),
        // "nginx version: nginx/1.22.1"
        nginx: word(&said_by(Command::new(&programs.nginx).arg("-v")), 2),
        // "HAProxy version 2.6.12-1+deb12u3 2025/10/03 - https://haproxy.org/"
        haproxy: word(&said_by(Command::new(&programs.haproxy).arg("-v")), 2),
        // "iperf 3.12 (cJSON 1.7.15)"
        iperf3: word(&said_by(Command::new(&programs.iperf3).arg("--version")), 1),
        // "h2load nghttp2/1.52.0"
        h2load: word(&said_by(Command::new(&programs.h2load).arg("--version")), 1),
        date: output(Command::new("date").args(["-u", "+%F"]))
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// Version and commit: what was built from this checkout, if it was built now.
fn heddle() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let commit = output(Command::new("git").arg("-C").arg(root).args([
        "describe",
        "--always",
        "--exclude=*",
        "--dirty=, modified",
    ]));
    match commit {
        Ok(commit) => format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.trim()),
        Err(_) => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// What a program says on either stream, successful or not.
fn said_by(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return String::new();
    };
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

fn word(text: &str, index: usize) -> String {
    let word = text.split_whitespace().nth(index).unwrap_or("unknown");
    word.rsplit('/').next().unwrap_or(word).to_owned()
}

fn first_line(command: &mut Command) -> String {
    let text = said_by(command);
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(word("wrk debian/4.1.0-3 [epoll] Copyright", 1), "4.1.0-3");
        assert_eq!(word("nginx version: nginx/1.22.1", 2), "1.22.1");
        assert_eq!(word("", 2), "unknown");
        assert_eq!(
            field("a : b\nmodel name\t: AMD EPYC\n", "model name"),
            Some("AMD EPYC")
        );
    }
}
