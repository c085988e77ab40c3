//! What the process itself uses, read from /proc at each scrape under the names that Prometheus
//! clients use. What cannot be read is left out rather than guessed.

use super::render::head;
use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Ticks per second in /proc/self/stat: fixed to user space on every Linux port since 2.6.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: since.as_secs_f64(),
        }
    }

    pub(super) fn render(&self, out: &mut String) {
        head(
            out,
            "heddle_build_info",
            "gauge",
            "Version of this program; the value is always 1.",
        );
        let _ = writeln!(
            out,
            "heddle_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        );
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let values = [
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory.",
                resident(&status),
            ),
            (
                "process_threads",
                "gauge",
                "Threads.",
                field(&status, "Threads:"),
            ),
            (
                "process_open_fds",
                "gauge",
                "Open file descriptors.",
                open_fds(),
            ),
            (
                "process_max_fds",
                "gauge",
                "Most file descriptors allowed.",
                field(&limits, "Max open files"),
            ),
            (
                "process_cpu_seconds_total",
                "counter",
                "CPU time used.",
                cpu_seconds(),
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "Start, in Unix time.",
                Some(self.started),
            ),
        ];
        for (name, kind, help, value) in values {
            if let Some(value) = value {
                head(out, name, kind, help);
                let _ = writeln!(out, "{name} {value}");
            }
        }
    }
}

fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn resident(status: &str) -> Option<f64> {
    field(status, "VmRSS:").map(|kibibytes| kibibytes * 1024.0)
}

fn open_fds() -> Option<f64> {
    // One of them is the directory being read.
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as f64)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may contain anything; the fields begin after its closing parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}
