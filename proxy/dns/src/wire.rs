//! DNS messages (RFC 1035, RFC 6891), as far as a resolver on the way needs them: a query's
//! question and EDNS, the skeleton of an answer's records, and the answers that are our own.
//!
//! What is not understood is passed on as bytes or refused; nothing here panics or allocates more
//! than the message is long.

mod query;
mod records;
mod reply;

pub use query::{Edns, Query, Reject};
pub use records::{Record, Section, answers_to, records};
pub use reply::{Code, addresses, failure, question, set_id, truncated};

/// Bytes of a message's header.
pub const HEADER: usize = 12;

/// The class of the Internet, which is all that names addresses.
pub const IN: u16 = 1;

/// Record types that matter here.
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// Another name.
    pub const CNAME: u16 = 5;
    /// Start of a zone: how long that something is not may be believed.
    pub const SOA: u16 = 6;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// Not a record: what a message says of itself.
    pub const OPT: u16 = 41;
    /// Incremental transfer of a zone.
    pub const IXFR: u16 = 251;
    /// Transfer of a zone.
    pub const AXFR: u16 = 252;
    /// Every type.
    pub const ANY: u16 = 255;
}

/// Bits of the header's second word.
mod flags {
    pub(super) const RESPONSE: u16 = 0x8000;
    pub(super) const OPCODE: u16 = 0x7800;
    pub(super) const AUTHORITATIVE: u16 = 0x0400;
    pub(super) const TRUNCATED: u16 = 0x0200;
    pub(super) const RECURSION_DESIRED: u16 = 0x0100;
    pub(super) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(super) const CHECKING_DISABLED: u16 = 0x0010;
    pub(super) const CODE: u16 = 0x000f;
}

/// Two bytes, big-endian; `None` past the end.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Four bytes, big-endian; `None` past the end.
fn double(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// The header's second word of a message that has a header.
fn flags_of(message: &[u8]) -> u16 {
    word(message, 2).unwrap_or_default()
}

/// Whether an answer was cut short.
pub fn is_truncated(message: &[u8]) -> bool {
    flags_of(message) & flags::TRUNCATED != 0
}

/// The response code in an answer's header.
pub fn code(message: &[u8]) -> u8 {
    (flags_of(message) & flags::CODE) as u8
}

/// Says that the name is, in an answer that says that it is not; its zone's SOA stays.
pub fn deny_only_the_type(answer: &mut [u8]) {
    if code(answer) == Code::NxDomain as u8
        && let Some(byte) = answer.get_mut(3)
    {
        *byte &= 0xf0;
    }
}

#[cfg(test)]
mod tests;
