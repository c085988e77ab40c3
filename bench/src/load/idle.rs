//! Connections that stay open without a word, each after one exchange: opened, held while somebody
//! looks at the sidecars' memory, then each asked once more, which shows that none was given up
//! meanwhile.

use std::io::{self, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::http;
use crate::load::Ground;
use crate::process::Process;

/// Connections are opened by so many threads, each one after the other.
const OPENERS: u32 = 8;
/// For every step of a connection.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /reviews/0 HTTP/1.1\r\nHost: reviews:9080\r\n\r\n";
const ECHO: &[u8] = b"sixteen bytes...";

/// Flags of `heddle-bench load idle`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) to: SocketAddr,
    #[arg(long)]
    pub(crate) connections: u32,
    /// What is exchanged on each
    #[arg(long)]
    pub(crate) exchange: Exchange,
    /// How long they are held before each is asked again
    #[arg(long)]
    pub(crate) seconds: u32,
}

/// What is exchanged on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exchange {
    /// A request, kept alive.
    Http,
    /// Bytes, echoed.
    Echo,
}

/// One line when all are open, one when all have answered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told {
    Open(u32),
    Answered(u32),
}

/// Starts it in the client pod.
pub(crate) fn start(
    at: Ground<'_>,
    exchange: Exchange,
    connections: u32,
    hold: Duration,
) -> Result<Process> {
    let exchange = match exchange {
        Exchange::Http => "http",
        Exchange::Echo => "echo",
    };
    at.start_own(&[
        "load-idle".to_owned(),
        format!("--to={}", at.target()),
        format!("--connections={connections}"),
        format!("--exchange={exchange}"),
        format!("--seconds={}", hold.as_secs()),
    ])
}

/// Tells as it goes.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let mut tell = |told| -> io::Result<()> {
        writeln!(out, "{}", serde_json::to_string(&told)?)?;
        out.flush()
    };
    let open = in_threads((0..OPENERS).collect(), |index| {
        let share = (options.connections + index) / OPENERS;
        let opened = (0..share).map(|_| options.exchange.open(options.to));
        opened.collect::<io::Result<Vec<_>>>()
    })?;
    tell(Told::Open(count(&open)))?;
    thread::sleep(Duration::from_secs(options.seconds.into()));
    let answered = in_threads(open, |streams| {
        for stream in &streams {
            options.exchange.once(stream)?;
        }
        Ok(streams)
    })?;
    tell(Told::Answered(count(&answered)))
}

fn count(streams: &[Vec<TcpStream>]) -> u32 {
    let all = streams.iter().map(Vec::len).sum::<usize>();
    u32::try_from(all).unwrap_or(u32::MAX)
}

fn in_threads<T: Send, U: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> io::Result<U> + Sync,
) -> io::Result<Vec<U>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

impl Exchange {
    fn open(self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        self.once(&stream)?;
        Ok(stream)
    }

    fn once(self, mut stream: &TcpStream) -> io::Result<()> {
        match self {
            Exchange::Http => {
                stream.write_all(REQUEST)?;
                // What it reads ahead is nothing: there is one answer on the way.
                let answer = http::answer(&mut BufReader::new(stream))?;
                match answer.status {
                    200 => Ok(()),
                    status => Err(io::Error::other(format!("a request met status {status}"))),
                }
            }
            Exchange::Echo => {
                let mut read = [0; ECHO.len()];
                stream.write_all(ECHO)?;
                stream.read_exact(&mut read)?;
                match read == *ECHO {
                    true => Ok(()),
                    false => Err(io::Error::other("what came back is not what was sent")),
                }
            }
        }
    }
}

/// What has been told so far.
pub(crate) fn parse(said: &str) -> Vec<Told> {
    let lines = said.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Answers each connection so often, then closes it.
    fn server(answer: &'static [u8], request: usize, often: usize) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut bytes = vec![0; request];
                    for _ in 0..often {
                        if stream.read_exact(&mut bytes).is_err() {
                            return;
                        }
                        stream.write_all(answer).unwrap();
                    }
                });
            }
        });
        address
    }

    fn told(to: SocketAddr, exchange: Exchange) -> io::Result<Vec<Told>> {
        let mut out = Vec::new();
        let options = Options {
            to,
            connections: 11,
            exchange,
            seconds: 0,
        };
        run(&options, &mut out)?;
        Ok(parse(&String::from_utf8(out).unwrap()))
    }

    #[test]
    fn every_connection_is_used_before_and_after() {
        let http = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let all = [Told::Open(11), Told::Answered(11)];
        let to = server(http, REQUEST.len(), 2);
        assert_eq!(told(to, Exchange::Http).unwrap(), all);
        let to = server(ECHO, ECHO.len(), 2);
        assert_eq!(told(to, Exchange::Echo).unwrap(), all);
    }

    #[test]
    fn a_connection_that_was_given_up_fails() {
        assert!(told(server(ECHO, ECHO.len(), 1), Exchange::Echo).is_err());
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let to = server(refused, REQUEST.len(), 2);
        let error = told(to, Exchange::Http).unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }
}
