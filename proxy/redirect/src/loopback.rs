//! The address `::6` on `lo`, the source of the sidecar's IPv6 connections to the app. IPv4 needs nothing: all of 127/8
//! is local. One netlink request and its acknowledgement, so that the image needs no `ip`.

use std::io::{self, Read, Write};
use std::time::Duration;

use nix::libc::{AF_INET6, AF_NETLINK, EADDRNOTAVAIL, EEXIST, NETLINK_ROUTE};
use socket2::{Domain, Protocol, Socket, Type};

use crate::rules::Family;

/// The kernel answers at once.
const LIMIT: Duration = Duration::from_secs(2);
/// In every network namespace (LOOPBACK_IFINDEX in the kernel).
const LO: u32 = 1;

// linux/rtnetlink.h, linux/netlink.h, linux/if_addr.h
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const RT_SCOPE_HOST: u8 = 254;
const HEADER: usize = 16;

/// Adds the address; `false` when it was there already.
pub(crate) fn add() -> io::Result<bool> {
    request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, EEXIST)
}

/// Removes the address; `false` when it was not there.
pub(crate) fn remove() -> io::Result<bool> {
    request(RTM_DELADDR, 0, EADDRNOTAVAIL)
}

fn request(kind: u16, flags: u16, already: i32) -> io::Result<bool> {
    let socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(NETLINK_ROUTE)),
    )?;
    socket.set_read_timeout(Some(LIMIT))?;
    (&socket).write_all(&message(kind, flags))?;
    let mut answer = [0; 1024];
    let length = (&socket).read(&mut answer)?;
    match acknowledged(&answer[..length.min(answer.len())])? {
        0 => Ok(true),
        error if error == already => Ok(false),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn message(kind: u16, flags: u16) -> Vec<u8> {
    let mut body = vec![AF_INET6 as u8, 128, IFA_F_NODAD, RT_SCOPE_HOST];
    body.extend(LO.to_ne_bytes());
    body.extend(20_u16.to_ne_bytes());
    body.extend(IFA_LOCAL.to_ne_bytes());
    match Family::V6.inbound_source() {
        std::net::IpAddr::V6(address) => body.extend(address.octets()),
        std::net::IpAddr::V4(_) => {}
    }
    let length = (HEADER + body.len()) as u32;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    // Sequence and port: one request on a socket of its own needs neither.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The error number in an acknowledgement, 0 for none.
fn acknowledged(answer: &[u8]) -> io::Result<i32> {
    let garbled = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel's answer is not an acknowledgement",
        )
    };
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    let error = answer
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(error)) => Ok(-error),
        _ => Err(garbled()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_well_formed() {
        let message = message(RTM_NEWADDR, NLM_F_CREATE);
        assert_eq!(message.len(), 44);
        assert_eq!(
            u32::from_ne_bytes([message[0], message[1], message[2], message[3]]),
            44
        );
        assert_eq!(message[43], 6);
    }

    #[test]
    fn a_short_answer_is_refused() {
        assert!(acknowledged(&[0; 7]).is_err());
        assert!(acknowledged(&[0; 20]).is_err());
    }
}
