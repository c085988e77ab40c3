//! What is seen on the pods' network while requests are sent: every TCP segment to or from the
//! application's port, taken from the node's bridge. Also what the sidecars agreed on, from the
//! server's hello, which TLS 1.3 sends in the clear.

use std::io::{ErrorKind, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::app::MARK;
use crate::error::{Error, Result};
use crate::load::iperf3::PATTERN;
use crate::netns;
use crate::world::{PORT, Place};

/// Every protocol, outgoing too (linux/if_ether.h), in network byte order as packet(7) wants it.
const ETH_P_ALL: u16 = 3_u16.to_be();
/// The largest segment that a veth pair passes on whole.
const MAX_PACKET: usize = 64 * 1024;

/// What was on the network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// Segments with a payload.
    pub(crate) segments: u64,
    /// Of them, those that begin with a TLS record of application data.
    pub(crate) records: u64,
    /// Of them, those in which something of a request or an answer can be read.
    pub(crate) readable: u64,
    /// The cipher suite that a server chose.
    pub(crate) suite: Option<u16>,
    /// The key exchange that a server chose.
    pub(crate) group: Option<u16>,
}

/// Watches while `work` is done.
pub(crate) fn watch<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Wire)> {
    let done = AtomicBool::new(false);
    let socket = netns::within(&Place::Node.netns(), open)?;
    thread::scope(|scope| {
        let watcher = scope.spawn(|| collect(socket, &done));
        let worked = work();
        // The last segments are in the socket's queue by now: the answers have been read.
        done.store(true, Ordering::Relaxed);
        let wire = watcher
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((worked?, wire.map_err(Error::io("watch the pods' network"))?))
    })
}

fn open() -> Result<Socket> {
    let protocol = Protocol::from(i32::from(ETH_P_ALL));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))
        .map_err(Error::io("open a packet socket"))?;
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .and_then(|()| socket.set_recv_buffer_size(8 << 20))
        .map_err(Error::io("set up a packet socket"))?;
    Ok(socket)
}

fn collect(mut socket: Socket, done: &AtomicBool) -> std::io::Result<Wire> {
    let mut wire = Wire::default();
    let mut packet = vec![0; MAX_PACKET];
    loop {
        match socket.read(&mut packet) {
            Ok(length) => {
                if let Some(payload) = payload(&packet[..length]) {
                    wire.see(payload);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if done.load(Ordering::Relaxed) {
                    return Ok(wire);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Wire {
    fn see(&mut self, payload: &[u8]) {
        self.segments += 1;
        self.records += u64::from(payload.starts_with(&[23, 3, 3]));
        let contains = |text: &str| payload.windows(text.len()).any(|w| w == text.as_bytes());
        self.readable += u64::from(
            ["HTTP/1.1", "HTTP/2.0", MARK].into_iter().any(contains) || contains(PATTERN),
        );
        if let Some((suite, group)) = server_hello(payload) {
            self.suite = Some(suite);
            self.group = group.or(self.group);
        }
    }

    /// In words.
    pub(crate) fn says(&self) -> String {
        format!(
            "{}, {}; clear text and strangers refused",
            self.suite_name(),
            self.group_name()
        )
    }

    /// The suite's name, for people.
    pub(crate) fn suite_name(&self) -> String {
        match self.suite {
            Some(0x1301) => "TLS_AES_128_GCM_SHA256".into(),
            Some(0x1302) => "TLS_AES_256_GCM_SHA384".into(),
            Some(0x1303) => "TLS_CHACHA20_POLY1305_SHA256".into(),
            Some(other) => format!("suite {other:#06x}"),
            None => "an unseen suite".into(),
        }
    }

    /// The key exchange's name, for people.
    pub(crate) fn group_name(&self) -> String {
        match self.group {
            Some(0x11ec) => "X25519MLKEM768".into(),
            Some(0x001d) => "X25519".into(),
            Some(0x0017) => "P-256".into(),
            Some(other) => format!("group {other:#06x}"),
            None => "an unseen group".into(),
        }
    }
}

/// What a packet carries, if it is a TCP segment of the application's port over IPv4.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let (version, header) = (packet.first()? >> 4, usize::from(packet.first()? & 15) * 4);
    if version != 4 || *packet.get(9)? != 6 {
        return None;
    }
    let total = usize::from(u16_at(packet, 2)?);
    let segment = packet.get(header..total.min(packet.len()))?;
    if u16_at(segment, 0)? != PORT && u16_at(segment, 2)? != PORT {
        return None;
    }
    let offset = usize::from(segment.get(12)? >> 4) * 4;
    segment.get(offset..).filter(|payload| !payload.is_empty())
}

/// Suite and group of a server's hello at the beginning of a segment (RFC 8446, 4.1.3).
fn server_hello(payload: &[u8]) -> Option<(u16, Option<u16>)> {
    if *payload.first()? != 22 || *payload.get(5)? != 2 {
        return None;
    }
    // Record header, handshake header, version, random.
    let session = 5 + 4 + 2 + 32;
    let after_session = session + 1 + usize::from(*payload.get(session)?);
    let suite = u16_at(payload, after_session)?;
    // Suite, compression, length of the extensions.
    let mut at = after_session + 2 + 1 + 2;
    while let (Some(kind), Some(length)) = (u16_at(payload, at), u16_at(payload, at + 2)) {
        if kind == 51 {
            return Some((suite, u16_at(payload, at + 4)));
        }
        at += 4 + usize::from(length);
    }
    Some((suite, None))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn packet(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
        packet[9] = 6;
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet[32] = 5 << 4;
        packet.extend(payload);
        packet
    }

    #[test]
    fn only_the_applications_port_is_watched() {
        assert_eq!(payload(&packet(PORT, b"hello")), Some(&b"hello"[..]));
        assert_eq!(payload(&packet(PORT, b"")), None);
        assert_eq!(payload(&packet(80, b"hello")), None);
        // Padding of short frames is not payload.
        let mut padded = packet(PORT, b"");
        padded.extend([0; 6]);
        assert_eq!(payload(&padded), None);
        for length in 0..40 {
            assert_eq!(payload(&packet(PORT, b"")[..length]), None);
        }
    }

    #[test]
    fn what_can_be_read_is_counted() {
        let mut wire = Wire::default();
        wire.see(b"GET / HTTP/1.1\r\n");
        wire.see(MARK.as_bytes());
        wire.see(&[23, 3, 3, 0, 1, 9]);
        assert_eq!((wire.segments, wire.records, wire.readable), (3, 1, 2));
    }

    #[test]
    fn a_servers_hello_tells_suite_and_group() {
        let mut hello = vec![22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
        hello.extend([7; 32]);
        hello.extend([2, 1, 1, 0x13, 0x02, 0, 0, 14]);
        hello.extend([0, 43, 0, 2, 3, 4]);
        hello.extend([0, 51, 0, 4, 0x11, 0xec, 0, 0]);
        let mut wire = Wire::default();
        wire.see(&hello);
        assert_eq!(wire.suite_name(), "TLS_AES_256_GCM_SHA384");
        assert_eq!(wire.group_name(), "X25519MLKEM768");
        for length in 0..hello.len() {
            // However it is cut, nothing bad happens.
            let _ = server_hello(&hello[..length]);
        }
    }
}
