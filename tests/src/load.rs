//! Steady HTTP/1.1 load from inside a pod, one request after the other over kept connections, that
//! remembers every answer that was not 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{netns, wait};

/// Load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Report>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests that were answered with 200.
    pub ok: u64,
    /// When each other one happened, and what.
    pub failed: Vec<(Instant, String)>,
    /// Every body of a 200, if bodies were asked for.
    pub bodies: Vec<(Instant, String)>,
}

/// A client with one kept connection.
pub struct Client {
    address: String,
    head: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// For a path at `ip:port`, called `host`. To be used in the namespace where it is to dial.
    pub fn new(address: &str, host: &str, path: &str, headers: &[&str]) -> Self {
        let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
        Self {
            address: address.to_owned(),
            head: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"),
            connection: None,
        }
    }

    /// One request: the status and the body.
    ///
    /// # Errors
    /// When the connection fails; the next request makes another.
    pub fn get(&mut self) -> Result<(u16, String), String> {
        let answer = self.try_get().map_err(|e| e.to_string());
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    fn try_get(&mut self) -> std::io::Result<(u16, String)> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.set_nodelay(true)?;
                self.connection.insert(BufReader::new(stream))
            }
        };
        connection.get_mut().write_all(self.head.as_bytes())?;
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("answered {line:?}")))?;
        let (mut length, mut close) = (0, false);
        loop {
            let mut header = String::new();
            connection.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            close |= header == "connection: close";
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        if close {
            self.connection = None;
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

impl Load {
    /// Starts `threads` clients in a namespace. `keep_bodies`: keep every body, with its time.
    pub fn start(
        netns: &str,
        threads: usize,
        keep_bodies: bool,
        client: impl Fn() -> Client + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let client = Arc::new(client);
        let start = |_| {
            let (stop, client) = (Arc::clone(&stop), Arc::clone(&client));
            let answered = Arc::clone(&answered);
            netns::spawn(netns, move || run(&stop, &answered, client(), keep_bodies))
        };
        Self {
            threads: (0..threads).map(start).collect(),
            stop,
            answered,
        }
    }

    /// Waits until this many more requests have been answered with 200.
    pub fn more(&self, requests: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + requests;
        wait::until("requests are answered", Duration::from_secs(60), || {
            self.answered.load(Ordering::Relaxed) >= wanted
        });
    }

    /// Stops, and says what came of it.
    ///
    /// # Panics
    /// When a client panicked.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for thread in self.threads {
            let report = thread.join().expect("a client");
            all.ok += report.ok;
            all.failed.extend(report.failed);
            all.bodies.extend(report.bodies);
        }
        all.bodies.sort_by_key(|(at, _)| *at);
        all
    }
}

fn run(stop: &AtomicBool, answered: &AtomicU64, mut client: Client, keep_bodies: bool) -> Report {
    let mut report = Report::default();
    while !stop.load(Ordering::Relaxed) {
        match client.get() {
            Ok((200, body)) => {
                report.ok += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                if keep_bodies {
                    report.bodies.push((Instant::now(), body));
                }
            }
            Ok((status, body)) => report
                .failed
                .push((Instant::now(), format!("{status} {body}"))),
            Err(error) => report.failed.push((Instant::now(), error)),
        }
        // A few hundred requests a second leave the machine to the mesh.
        std::thread::sleep(Duration::from_millis(2));
    }
    report
}

impl Report {
    /// Asserts that nothing failed and that something succeeded.
    ///
    /// # Panics
    /// When it is not so.
    pub fn assert_whole(&self) {
        assert!(self.failed.is_empty(), "failed: {:?}", self.failed);
        assert!(self.ok > 0, "no request was made");
    }
}
