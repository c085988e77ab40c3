//! Connections that live for one exchange: connect, send, read the same bytes back, close. Each of
//! some threads begins the next when the one before is done. One that fails fails the load.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::load::Ground;
use crate::load::latency::percentile;

/// What is sent on every connection.
const BYTES: usize = 16;
/// For every step of a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `heddle-bench load connections`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// Connections at a time
    #[arg(long)]
    pub(crate) concurrency: u32,
    #[arg(long)]
    pub(crate) seconds: u32,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) connections: u64,
    pub(crate) duration_us: f64,
    /// From before the connect to the last byte of the echo.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Runs it in the client pod.
pub(crate) fn load(at: Ground<'_>, concurrency: u32, seconds: u32) -> Result<Done> {
    at.run_own(&[
        "load-connections".to_owned(),
        format!("--to={}", at.target()),
        format!("--concurrency={concurrency}"),
        format!("--seconds={seconds}"),
    ])
}

pub(crate) fn run(options: &Options) -> io::Result<Done> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.seconds.into());
    let mut took = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.concurrency)
            .map(|index| scope.spawn(move || until(end, options.to, index)))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            let took = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.extend(took);
        }
        io::Result::Ok(all)
    })?;
    let duration_us = begun.elapsed().as_micros() as f64;
    took.sort_unstable();
    Ok(Done {
        connections: took.len() as u64,
        duration_us,
        p50_us: percentile(&took, 50.0),
        p99_us: percentile(&took, 99.0),
    })
}

/// One connection after the other; how many microseconds each took.
fn until(end: Instant, to: SocketAddr, index: u32) -> io::Result<Vec<u32>> {
    let mut took = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        once(to, index, took.len()).map_err(|error| {
            let nth = took.len() + 1;
            io::Error::new(error.kind(), format!("connection {nth} to {to}: {error}"))
        })?;
        took.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(took)
}

fn once(to: SocketAddr, index: u32, nth: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let sent = format!("{index:>6}-{nth:>9}");
    let mut read = [0; BYTES];
    stream.write_all(sent.as_bytes())?;
    stream.read_exact(&mut read)?;
    match read == *sent.as_bytes() {
        true => Ok(()),
        false => Err(io::Error::other("what came back is not what was sent")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(to: SocketAddr) -> Options {
        Options {
            to,
            concurrency: 3,
            seconds: 1,
        }
    }

    #[test]
    fn every_connection_is_an_exchange_of_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut served = 0;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut bytes = [0; BYTES];
                // The test's own connection, which ends it, sends nothing.
                if stream.read_exact(&mut bytes).is_err() {
                    return served;
                }
                stream.write_all(&bytes).unwrap();
                assert_eq!(stream.read(&mut bytes).unwrap(), 0);
                served += 1;
            }
            served
        });
        let done = run(&options(to)).unwrap();
        drop(TcpStream::connect(to).unwrap());
        assert_eq!(server.join().unwrap(), done.connections);
        assert!(done.connections > 0 && done.p50_us <= done.p99_us);
    }

    #[test]
    fn a_wrong_echo_fails() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[b'x'; BYTES]).unwrap();
            let _ = stream.read(&mut [0; BYTES]);
        });
        let error = once(to, 0, 0).unwrap_err();
        assert!(error.to_string().contains("not what was sent"), "{error}");
    }
}
