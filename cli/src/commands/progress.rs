//! Follows a mesh while it comes up: one line for each pod as it becomes ready, and where a person
//! looks, a last line with what is still awaited.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::api::{Client, ClientError, Pod, Status};
use crate::commands::output::near;
use crate::terminal::{self, Style, say, say_part, truncate};

/// Between looks: short beside the second or two that a mesh takes.
const LOOK: Duration = Duration::from_millis(100);
/// Looks without a change after which nothing more is on its way: the control plane reads a file some
/// 50 ms after it was written.
const QUIET_LOOKS: u32 = 2;
/// Lines of a container's log that are shown when its pod does not come up.
const LOG_LINES: usize = 8;

/// Follows until everything is ready, or `patience` is over, or it cannot become ready any more.
/// The last status, and how long it took.
pub(crate) async fn follow(
    client: &Client,
    patience: Duration,
) -> Result<(Status, Duration), ClientError> {
    let mut line = LastLine::new();
    let started = Instant::now();
    let mut told = BTreeSet::new();
    let mut quiet = Quiet::default();
    loop {
        let status = client.status().await?;
        for pod in status.pods.iter().filter(|pod| pod.ready) {
            if told.insert((pod.namespace.clone(), pod.name.clone())) {
                line.clear();
                say!("{}", ready(pod, line.style, started.elapsed()));
            }
        }
        let hopeless = status.pods.iter().any(|pod| pod.phase == "Failed");
        if quiet.look(&status) || hopeless || started.elapsed() >= patience {
            line.clear();
            return Ok((status, started.elapsed()));
        }
        line.set(&waiting(&status));
        tokio::time::sleep(LOOK).await;
    }
}

/// A pod is ready before every other pod's sidecar has heard of it: the mesh is up when the control
/// plane's model stands still and every sidecar has accepted it.
#[derive(Default)]
struct Quiet {
    version: u64,
    looks: u32,
}

impl Quiet {
    fn look(&mut self, status: &Status) -> bool {
        let synced = status
            .pods
            .iter()
            .all(|pod| !pod.injected || pod.config_synced != Some(false));
        let still = status.ready && synced && status.model_version == self.version;
        self.looks = if still { self.looks + 1 } else { 0 };
        self.version = status.model_version;
        self.looks >= QUIET_LOOKS
    }
}

fn ready(pod: &Pod, style: Style, took: Duration) -> String {
    let mark = if terminal::unicode() { "✓" } else { "+" };
    let ip = pod.ip.map(|ip| ip.to_string()).unwrap_or_default();
    format!(
        "{} {}/{}  {ip}  {}",
        style.green(mark),
        pod.namespace,
        pod.name,
        style.dim(&format!("{:.1} s", took.as_secs_f64()))
    )
}

fn waiting(status: &Status) -> String {
    let ready = status.pods.iter().filter(|pod| pod.ready).count();
    let late = status
        .pods
        .iter()
        .find(|pod| !pod.ready && pod.phase != "Succeeded");
    let late = late.map(|pod| {
        format!(
            "  waiting for {}: {}",
            pod.name,
            pod.reason.as_deref().unwrap_or(&pod.phase)
        )
    });
    format!(
        "{ready} of {} pods ready{}",
        status.pods.len(),
        late.unwrap_or_default()
    )
}

/// What keeps each pod from being ready, with the end of its containers' output.
pub(crate) fn explain(status: &Status, style: Style) -> String {
    let mut out = String::new();
    for pod in status
        .pods
        .iter()
        .filter(|pod| !pod.ready && pod.phase != "Succeeded")
    {
        let reason = pod.reason.as_deref().unwrap_or("it is not ready yet");
        out.push_str(&format!(
            "{} {}/{}  {reason}\n",
            style.red("not ready:"),
            pod.namespace,
            pod.name
        ));
        for container in pod.containers.iter().filter(|container| !container.ready) {
            let why = container.reason.as_deref().unwrap_or(&container.state);
            // Mostly the pod's reason is its container's.
            if !reason.contains(why) {
                out.push_str(&format!("  container {}: {why}\n", container.name));
            }
            let lines = tail(&container.log);
            if !lines.is_empty() {
                out.push_str(&style.dim(&format!("  {}:\n", near(&container.log))));
            }
            for line in lines {
                out.push_str(&format!("    {line}\n"));
            }
        }
    }
    for (name, part) in [
        ("control plane", &status.control_plane),
        ("identity", &status.identity),
        ("injector", &status.injector),
    ] {
        if !part.ready {
            let reason = part.reason.as_deref().unwrap_or("no reason is known");
            out.push_str(&format!("{} {name}  {reason}\n", style.red("not ready:")));
            for line in tail(&part.log) {
                out.push_str(&format!("    {line}\n"));
            }
        }
    }
    out
}

/// The last lines of a log.
pub(crate) fn tail(path: &str) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> = text
        .lines()
        .rev()
        .take(LOG_LINES)
        .map(without_colour)
        .collect();
    lines.reverse();
    lines
}

/// Programs colour their logs even into a file.
fn without_colour(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for (index, part) in line.split("\x1b[").enumerate() {
        out.push_str(if index == 0 {
            part
        } else {
            part.split_once('m').map_or(part, |(_, rest)| rest)
        });
    }
    out
}

/// A line that is overwritten; nothing where standard error is no terminal.
struct LastLine {
    live: bool,
    style: Style,
    shown: String,
}

impl LastLine {
    fn new() -> Self {
        Self {
            live: std::io::stderr().is_terminal(),
            style: Style::stderr(),
            shown: String::new(),
        }
    }

    fn set(&mut self, text: &str) {
        if self.live && self.shown != text {
            say_part!(
                "\r\x1b[K{}",
                self.style.dim(&truncate(
                    text,
                    terminal::columns().saturating_sub(1),
                    terminal::unicode()
                ))
            );
            let _ = std::io::stderr().flush();
            text.clone_into(&mut self.shown);
        }
    }

    fn clear(&mut self) {
        if !self.shown.is_empty() {
            say_part!("\r\x1b[K");
            self.shown.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_means_that_everybody_has_heard_of_everybody() {
        let status = |version, ready| Status {
            model_version: version,
            ready,
            ..Status::default()
        };
        let mut quiet = Quiet::default();
        let looks = [(1, false), (2, true), (3, true), (3, true), (3, true)];
        let answers: Vec<bool> = looks
            .map(|(version, ready)| quiet.look(&status(version, ready)))
            .into();
        assert_eq!(answers, [false, false, false, false, true]);
    }

    #[test]
    fn logs_lose_their_colour() {
        assert_eq!(
            without_colour("\x1b[2mnow\x1b[0m \x1b[33mWARN\x1b[0m: x"),
            "now WARN: x"
        );
        assert_eq!(without_colour("plain"), "plain");
    }
}
