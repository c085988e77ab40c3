//! The least HTTP client that the checks and the readiness questions need: GET, one connection, a
//! length that is told.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::netns;
use crate::world::Place;

/// The longest body that is read: the application's has 1 KiB.
const MAX_BODY: usize = 64 * 1024;

/// A sidecar's metrics take some 10 KiB.
const MAX_METRICS: u64 = 8 << 20;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A connection that stays open.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    to: SocketAddr,
}

impl Connection {
    /// Connects from within a pod, so through its redirect.
    pub(crate) fn open(from: Place, to: SocketAddr, patience: Duration) -> Result<Self> {
        let failed = || Error::io(format!("connect from {} to {to}", from.name()));
        let stream = netns::within(&from.netns(), || {
            TcpStream::connect_timeout(&to, patience).map_err(failed())
        })?;
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(failed())?;
        Ok(Self {
            stream: BufReader::new(stream),
            to,
        })
    }

    pub(crate) fn get(&mut self, path: &str, host: &str, headers: &str) -> Result<Answer> {
        let failed = |to| Error::io(format!("get {path} from {to}"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let to = self.to;
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .map_err(failed(to))?;
        answer(&mut self.stream).map_err(failed(to))
    }
}

/// Reads an answer that tells its length.
pub(crate) fn answer(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let wrong = |what: &str| std::io::Error::other(what.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| wrong("the answer is not HTTP"))?;
    let mut length = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(wrong("the answer ends in its head"));
        }
        match line.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value
                    .trim()
                    .parse()
                    .map_err(|_| wrong("a strange length"))?;
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; std::cmp::min(length, MAX_BODY)];
    stream.read_exact(&mut body)?;
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Asks a server's own loopback port; nothing when it does not answer.
pub(crate) fn ask(place: Place, port: u16, path: &str) -> Option<Answer> {
    let to = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let mut connection = Connection::open(place, to, Duration::from_secs(1)).ok()?;
    connection
        .get(path, "localhost", "Connection: close\r\n")
        .ok()
}

/// All that a server's own loopback port tells, head and body; nothing when it does not answer.
pub(crate) fn tell(place: Place, port: u16, path: &str) -> Option<String> {
    let to = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let mut connection = Connection::open(place, to, Duration::from_secs(1)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection
        .stream
        .get_mut()
        .write_all(request.as_bytes())
        .ok()?;
    let mut told = Vec::new();
    connection
        .stream
        .take(MAX_METRICS)
        .read_to_end(&mut told)
        .ok()?;
    Some(String::from_utf8_lossy(&told).into_owned())
}

/// Whether something listens there.
pub(crate) fn listens(place: Place, port: u16) -> bool {
    let to = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    Connection::open(place, to, Duration::from_secs(1)).is_ok()
}
