//! A client's query: its one question, and what it says of itself by EDNS.

use std::ops::Range;

use super::records::Section;
use super::reply::Code;
use super::{HEADER, flags, flags_of, kind, records, word};

/// Longest name on the wire (RFC 1035 §3.1).
const LONGEST_NAME: usize = 255;
/// Longest label.
const LONGEST_LABEL: u8 = 63;
/// Without EDNS (RFC 1035 §4.2.1).
const SMALLEST_UDP: u16 = 512;
/// More than this comes over TCP whatever the client offers; as much as other resolvers send.
const LARGEST_UDP: u16 = 4096;

/// A query that can be answered.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    bytes: &'a [u8],
    question: Range<usize>,
    name: Option<String>,
    /// What is asked for.
    pub kind: u16,
    /// Of which class.
    pub class: u16,
    /// What the client says of itself.
    pub edns: Option<Edns>,
}

/// What a message says of itself (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest answer that it takes over UDP.
    pub payload: u16,
    /// 0 is all there is.
    pub version: u8,
    /// Wants the records that prove others.
    pub dnssec: bool,
    /// Says more than that.
    pub options: bool,
}

/// Why a query is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// It is none.
    Drop,
    /// It is told so.
    Tell(Code),
}

impl<'a> Query<'a> {
    /// Reads a message from a client.
    ///
    /// # Errors
    /// When it is not a query, or none of the sort that has one answer.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Reject> {
        if bytes.len() < HEADER || flags_of(bytes) & flags::RESPONSE != 0 {
            return Err(Reject::Drop);
        }
        if flags_of(bytes) & flags::OPCODE != 0 {
            return Err(Reject::Tell(Code::NotImplemented));
        }
        if word(bytes, 4) != Some(1) {
            return Err(Reject::Tell(Code::FormatError));
        }
        let mut query = Self::question(bytes).ok_or(Reject::Drop)?;
        let mut rest = records(bytes).ok_or(Reject::Drop)?;
        for record in &mut rest {
            let record = record.ok_or(Reject::Drop)?;
            if record.kind != kind::OPT || record.section != Section::Additional {
                continue;
            }
            if query.edns.is_some() {
                return Err(Reject::Tell(Code::FormatError));
            }
            query.edns = Some(Edns {
                payload: record.class,
                version: (record.ttl >> 16) as u8,
                dnssec: record.ttl & 0x8000 != 0,
                options: !record.data.is_empty(),
            });
        }
        if rest.end() != bytes.len() {
            return Err(Reject::Drop);
        }
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Err(Reject::Tell(Code::BadVersion));
        }
        Ok(query)
    }

    fn question(bytes: &'a [u8]) -> Option<Self> {
        let end = name_end(bytes)?;
        let name = bytes.get(HEADER..end)?;
        Some(Self {
            bytes,
            question: HEADER..end + 4,
            name: text(name),
            kind: word(bytes, end)?,
            class: word(bytes, end + 2)?,
            edns: None,
        })
    }

    /// The whole message.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its question, as it was asked: name, type, class.
    pub fn question_bytes(&self) -> &'a [u8] {
        self.bytes.get(self.question.clone()).unwrap_or_default()
    }

    /// The name in lower case without its final dot; `None` when it cannot be a host's.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The largest answer that the client takes over UDP. Between the application and its sidecar
    /// there is only loopback: nothing is fragmented there.
    pub fn udp_limit(&self) -> usize {
        let offered = self.edns.map_or(SMALLEST_UDP, |edns| edns.payload);
        usize::from(offered.clamp(SMALLEST_UDP, LARGEST_UDP))
    }

    /// What of the header an answer depends on.
    pub(crate) fn wishes(&self) -> u16 {
        const AUTHENTIC: u16 = 0x0020;
        flags_of(self.bytes) & (flags::RECURSION_DESIRED | flags::CHECKING_DISABLED | AUTHENTIC)
    }
}

/// Where the name ends that a message begins with: it has nothing to point at.
fn name_end(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *bytes.get(at)? {
            0 => break,
            length @ 1..=LONGEST_LABEL => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    (at + 1 - HEADER <= LONGEST_NAME).then_some(at + 1)
}

/// A host's name as text.
fn text(mut name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    while let [length @ 1..=LONGEST_LABEL, rest @ ..] = name {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            let fits = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            fits.then(|| text.push(char::from(byte.to_ascii_lowercase())))?;
        }
        name = rest;
    }
    (!text.is_empty()).then_some(text)
}
