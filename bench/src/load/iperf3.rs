//! iperf3: one TCP stream for some seconds, as fast as it goes, towards the server or from it.

use std::process::Command;

use serde::Deserialize;

use crate::app::MARK;
use crate::error::Result;
use crate::load::Ground;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Said {
    end: End,
}

#[derive(Debug, Deserialize)]
struct End {
    sum_received: Done,
}

/// What iperf3 sends when it repeats itself.
pub(crate) const PATTERN: &str = "01234567890123456789";

/// Sends for some seconds.
pub(crate) fn run(at: Ground<'_>, direction: Direction, seconds: u32) -> Result<Done> {
    iperf3(at, direction, &["--time", &seconds.to_string()])
}

/// Sends a little that would be recognised on the way.
pub(crate) fn readable(at: Ground<'_>) -> Result<Done> {
    let args = ["--time=1", "--bitrate=50M", "--repeating-payload"];
    iperf3(at, Direction::Up, &[&args[..], &["--title", MARK]].concat())
}

fn iperf3(at: Ground<'_>, direction: Direction, args: &[&str]) -> Result<Done> {
    let to = at.target();
    let mut command = Command::new(&at.tools.programs.iperf3);
    command
        .args(["--client", &to.ip().to_string()])
        .args(["--port", &to.port().to_string()])
        .args(["--json", "--interval", "0", "--connect-timeout", "10000"])
        .args((direction == Direction::Down).then_some("--reverse"))
        .args(args);
    let said = at.run(&mut command)?;
    parse(&said).ok_or_else(|| at.not(format!("iperf3 gave no figures: {said}")))
}

fn parse(said: &str) -> Option<Done> {
    let said: Said = serde_json::from_str(said).ok()?;
    Some(said.end.sum_received).filter(|done| done.bytes > 0 && done.seconds > 0.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_arrived_counts() {
        let said = |bytes| {
            format!(
                r#"{{"start":{{}},"end":{{"sum_sent":{{"bytes":9,"seconds":1.0}},
                   "sum_received":{{"start":0,"bytes":{bytes},"seconds":2.5}}}}}}"#
            )
        };
        let done = parse(&said(7)).unwrap();
        assert_eq!((done.bytes, done.seconds), (7, 2.5));
        assert_eq!(parse(&said(0)), None);
        assert_eq!(parse(r#"{"error":"unable to connect"}"#), None);
    }
}
