//! `heddle-proxy wait`: asks the sidecar of this network namespace, as a hook of its container. One
//! question over a connection of its own; every wait is bounded.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heddle_proxy_admin::{ADMIN_PORT, HEALTH_PORT};

/// For an answer from memory.
const QUICK: Duration = Duration::from_secs(1);
/// Between questions whether it is ready.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of an answer.
const ANSWER: u64 = 8 * 1024;

/// Waits until the sidecar says that it is ready.
///
/// # Errors
/// When it does not in time: the reason that it gives.
pub fn ready(timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    loop {
        let reason = match ask(HEALTH_PORT, "GET /healthz/ready", QUICK) {
            Ok((200, _)) => return Ok(()),
            Ok((_, reason)) => reason,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(format!(
                "the sidecar is not ready after {}s: {reason}",
                timeout.as_secs()
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// Has the sidecar drain, and waits until it has or its own time for that is over. What it says.
///
/// # Errors
/// When it does not answer, or not in time.
pub fn drained(timeout: Duration) -> Result<String, String> {
    match ask(ADMIN_PORT, "POST /drain?wait", timeout) {
        Ok((200, said)) => Ok(said),
        Ok((status, said)) => Err(format!("the sidecar does not drain: {status} {said}")),
        Err(error) => Err(format!("the sidecar does not answer: {error}")),
    }
}

/// Status and body of the answer.
fn ask(port: u16, what: &str, timeout: Duration) -> std::io::Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, QUICK)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "{what} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1);
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("it ended without an answer"))?;
    let said = answer.rsplit("\r\n").next().unwrap_or_default();
    Ok((status, said.trim().to_owned()))
}
