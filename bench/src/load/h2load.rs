//! h2load: HTTP/2 with prior knowledge, one thread, closed loop (a stream is followed by the next when
//! its answer is complete). It times each request in a file, from which the percentiles are taken.

use std::fs;
use std::process::Command;

use crate::app::MARK;
use crate::error::{Error, Result};
use crate::load::latency::percentile;
use crate::load::{Ground, Requests, named};

const DIR: &str = "h2load";
/// Of a gRPC message; its frame has five bytes more.
const MESSAGE: usize = 100;

/// How many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    /// At once on each connection.
    pub(crate) streams: u32,
}

impl Shape {
    /// For tables: many streams are on one connection.
    pub(crate) fn name(self) -> String {
        match self.streams {
            1 => named(self.connections),
            streams => format!("{streams} streams"),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    Get,
    /// A unary call.
    Grpc,
}

/// Sends requests from the client pod for some seconds.
pub(crate) fn run(
    at: Ground<'_>,
    shape: Shape,
    request: Request,
    seconds: u32,
) -> Result<Requests> {
    let dir = at.tools.world.fresh_dir(DIR, at.user())?;
    let log = dir.join("requests");
    let mut h2load = Command::new(&at.tools.programs.h2load);
    h2load
        .args(["--threads", "1", "--connection-active-timeout", "10s"])
        .args(["--clients", &shape.connections.to_string()])
        .args(["--max-concurrent-streams", &shape.streams.to_string()])
        .args(["--duration", &seconds.to_string()])
        .arg("--log-file")
        .arg(&log)
        .arg(format!("--connect-to={}", at.target()));
    match request {
        Request::Get => h2load.arg("http://reviews:9080/reviews/0"),
        Request::Grpc => {
            let body = dir.join("message");
            fs::write(&body, message()).map_err(Error::file("write", &body))?;
            h2load
                .arg("--data")
                .arg(body)
                .args(["--header", "content-type: application/grpc"])
                .args(["--header", "te: trailers"])
                .arg("http://reviews:9080/reviews.Reviews/Get")
        }
    };
    let said = at.run(&mut h2load)?;
    let times = fs::read_to_string(&log).map_err(Error::file("read", &log))?;
    let figures = parse(&said, &times, seconds).map_err(|what| at.not(what));
    fs::remove_file(&log).map_err(Error::file("remove", &log))?;
    figures
}

/// A gRPC message in its frame: not compressed, four bytes of length.
pub(crate) fn message() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, MESSAGE as u8];
    message.extend(format!("{MARK:x<MESSAGE$}").bytes());
    message
}

fn parse(said: &str, times: &str, seconds: u32) -> std::result::Result<Requests, String> {
    let count = |line: &str, what: &str| {
        let line = said.lines().find_map(|l| l.strip_prefix(line))?;
        let mut parts = line.split(',').map(str::trim);
        let number = parts.find_map(|part| part.strip_suffix(what))?;
        number.trim().parse::<u64>().ok()
    };
    let (Some(done), Some(good)) = (count("requests:", "done"), count("status codes:", "2xx"))
    else {
        return Err(format!("h2load gave no figures: {said}"));
    };
    // A last answer may come when the time is over: it counts as a status alone.
    let bad = [
        ("requests:", "failed"),
        ("requests:", "errored"),
        ("requests:", "timeout"),
    ]
    .map(|(line, what)| count(line, what).unwrap_or(0))
    .iter()
    .sum::<u64>()
        + done.saturating_sub(good);
    if bad > 0 {
        return Err(format!("{bad} requests of {done} failed under load"));
    }
    // Start, status, microseconds.
    let mut took: Vec<u32> = times
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
        .collect();
    if done == 0 || took.is_empty() {
        return Err("not one request was answered".into());
    }
    took.sort_unstable();
    Ok(Requests {
        requests: done,
        seconds: f64::from(seconds),
        p50_us: percentile(&took, 50.0),
        p99_us: percentile(&took, 99.0),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(failed: u64, good: u64) -> String {
        format!(
            "finished in 2.00s, 2.00 req/s, 4.69MB/s\n\
             requests: 4 total, 4 started, 4 done, 4 succeeded, {failed} failed, 0 errored, 0 timeout\n\
             status codes: {good} 2xx, 0 3xx, 0 4xx, 0 5xx\n"
        )
    }

    #[test]
    fn figures_are_found_in_what_h2load_says() {
        let times = "17\t200\t30\n18\t200\t10\n19\t200\t20\n20\t200\t400\n";
        let load = parse(&said(0, 5), times, 2).unwrap();
        assert_eq!((load.requests, load.per_second()), (4, 2.0));
        assert_eq!((load.p50_us, load.p99_us), (20.0, 400.0));
    }

    #[test]
    fn a_failed_request_fails_it_all() {
        let times = "17\t200\t30\n";
        assert!(parse(&said(1, 4), times, 2).is_err());
        assert!(parse(&said(0, 3), times, 2).is_err());
        assert!(parse(&said(0, 4), "", 2).is_err());
        assert!(parse("could not connect", "", 2).is_err());
    }

    #[test]
    fn a_message_says_its_length() {
        let message = message();
        assert_eq!(message.len(), 5 + MESSAGE);
        assert_eq!(message[..5], [0, 0, 0, 0, 100]);
    }
}
