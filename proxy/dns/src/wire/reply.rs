//! The answers that are our own.

use std::net::IpAddr;

use super::query::Query;
use super::{HEADER, IN, flags, flags_of, kind};

/// How an answer went (RFC 1035 §4.1.1, RFC 6891 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// As asked.
    NoError = 0,
    /// The query cannot be read.
    FormatError = 1,
    /// Nobody could be asked.
    ServerFailure = 2,
    /// There is no such name.
    NxDomain = 3,
    /// Not a sort of query that is served.
    NotImplemented = 4,
    /// Not for this client.
    Refused = 5,
    /// Not a version of EDNS that is known.
    BadVersion = 16,
}

/// What we take over UDP ourselves; said where the client says what it takes.
const OWN_PAYLOAD: u16 = 1232;
/// The name of the question, wherever it is repeated.
const QUESTION: u16 = 0xc000 | HEADER as u16;
/// Room for an OPT record.
const OPT_BYTES: usize = 11;
/// Most bytes of an answer over TCP.
const LARGEST: usize = u16::MAX as usize;

/// An answer of only a code. `question`: the query's, where it could be read.
pub fn failure(query: &[u8], question: &[u8], edns: bool, code: Code) -> Vec<u8> {
    let mut reply = header(query, question, code, 0);
    finish(&mut reply, edns || code == Code::BadVersion, code);
    reply
}

/// An answer that says that it is too long for UDP.
pub fn truncated(query: &Query<'_>, code: Code) -> Vec<u8> {
    let mut reply = header(
        query.bytes(),
        query.question_bytes(),
        code,
        flags::TRUNCATED,
    );
    finish(&mut reply, query.edns.is_some(), code);
    reply
}

/// The addresses of a name that is ours, of the family that was asked for; with none, when that
/// may be asked again. `alias`: the name whose they are, in place of the question's.
pub fn addresses(
    query: &Query<'_>,
    alias: Option<&str>,
    ips: &[IpAddr],
    ttl: u32,
    limit: usize,
) -> Vec<u8> {
    let question = query.question_bytes();
    let mut reply = header(query.bytes(), question, Code::NoError, flags::AUTHORITATIVE);
    let mut answers: u16 = 0;
    let mut owner = QUESTION;
    if let Some(target) = alias.and_then(labels) {
        record(&mut reply, owner, kind::CNAME, ttl, &target);
        owner = 0xc000 | (reply.len() - target.len()) as u16;
        answers += 1;
    }
    let named = answers;
    let limit = limit.min(LARGEST);
    for ip in ips {
        let wanted = match ip {
            IpAddr::V4(_) => kind::A,
            IpAddr::V6(_) => kind::AAAA,
        };
        if ![wanted, kind::ANY].contains(&query.kind) {
            continue;
        }
        let before = reply.len();
        match ip {
            IpAddr::V4(ip) => record(&mut reply, owner, kind::A, ttl, &ip.octets()),
            IpAddr::V6(ip) => record(&mut reply, owner, kind::AAAA, ttl, &ip.octets()),
        }
        if reply.len() + OPT_BYTES > limit {
            if limit < LARGEST {
                return truncated(query, Code::NoError);
            }
            reply.truncate(before);
            break;
        }
        answers += 1;
    }
    let mut authorities: u16 = 0;
    if answers == named {
        record(&mut reply, owner, kind::SOA, ttl, &start_of(owner, ttl));
        authorities = 1;
    }
    reply[6..8].copy_from_slice(&answers.to_be_bytes());
    reply[8..10].copy_from_slice(&authorities.to_be_bytes());
    finish(&mut reply, query.edns.is_some(), Code::NoError);
    if reply.len() > limit {
        return truncated(query, Code::NoError);
    }
    reply
}

/// A query of our own, which takes as much over UDP as crosses any path whole (DNS flag day 2020);
/// `None` when the name is none.
pub fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut asked = labels(name)?;
    asked.extend_from_slice(&kind.to_be_bytes());
    asked.extend_from_slice(&IN.to_be_bytes());
    let mut query = Vec::with_capacity(HEADER + asked.len() + OPT_BYTES);
    query.extend_from_slice(&[0; 2]);
    query.extend_from_slice(&flags::RECURSION_DESIRED.to_be_bytes());
    query.extend_from_slice(&1_u16.to_be_bytes());
    query.extend_from_slice(&[0; 6]);
    query.extend_from_slice(&asked);
    finish(&mut query, true, Code::NoError);
    Some(query)
}

/// Gives a message this id.
pub fn set_id(message: &mut [u8], id: [u8; 2]) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id);
    }
}

/// Header and question; the header is whole but for the counts of records.
fn header(query: &[u8], question: &[u8], code: Code, more: u16) -> Vec<u8> {
    let kept =
        flags_of(query) & (flags::OPCODE | flags::RECURSION_DESIRED | flags::CHECKING_DISABLED);
    let said = flags::RESPONSE | flags::RECURSION_AVAILABLE | more | (code as u16 & flags::CODE);
    let mut reply = Vec::with_capacity(HEADER + question.len() + 64);
    reply.extend_from_slice(query.get(..2).unwrap_or(&[0; 2]));
    reply.extend_from_slice(&(kept | said).to_be_bytes());
    reply.extend_from_slice(&u16::from(!question.is_empty()).to_be_bytes());
    reply.extend_from_slice(&[0; 6]);
    reply.extend_from_slice(question);
    reply
}

fn record(reply: &mut Vec<u8>, owner: u16, kind: u16, ttl: u32, data: &[u8]) {
    reply.extend_from_slice(&owner.to_be_bytes());
    reply.extend_from_slice(&kind.to_be_bytes());
    reply.extend_from_slice(&IN.to_be_bytes());
    reply.extend_from_slice(&ttl.to_be_bytes());
    reply.extend_from_slice(&(data.len() as u16).to_be_bytes());
    reply.extend_from_slice(data);
}

/// A zone that is the name alone: all that we are the authority for.
fn start_of(owner: u16, ttl: u32) -> Vec<u8> {
    const NUMBERS: [u32; 4] = [1, 7200, 1800, 86_400];
    let mut data = Vec::with_capacity(24);
    data.extend_from_slice(&owner.to_be_bytes());
    data.extend_from_slice(&owner.to_be_bytes());
    for number in NUMBERS.into_iter().chain([ttl]) {
        data.extend_from_slice(&number.to_be_bytes());
    }
    data
}

/// Adds what a message says of itself, to a client that does so too.
fn finish(reply: &mut Vec<u8>, edns: bool, code: Code) {
    if !edns {
        return;
    }
    reply.push(0);
    reply.extend_from_slice(&kind::OPT.to_be_bytes());
    reply.extend_from_slice(&OWN_PAYLOAD.to_be_bytes());
    reply.extend_from_slice(&[code as u8 >> 4, 0, 0, 0, 0, 0]);
    reply[10..12].copy_from_slice(&1_u16.to_be_bytes());
}

/// A name on the wire; `None` when it is not one.
pub(crate) fn labels(name: &str) -> Option<Vec<u8>> {
    let mut labels = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        matches!(length, 1..=63).then_some(())?;
        labels.push(length);
        labels.extend_from_slice(label.as_bytes());
    }
    labels.push(0);
    (labels.len() <= 255).then_some(labels)
}
