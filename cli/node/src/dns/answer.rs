//! What cluster DNS says to a query, without asking anybody: a function of the query and the names.
//!
//! Follows Kubernetes' DNS specification and RFC 2308 for what is not there: NXDOMAIN for a name
//! that is not, an empty answer for one that has no record of the type, both with the zone's SOA.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, SOA, SRV},
    },
};
use rand::RngExt as _;

use super::names::{Entry, Names};

/// CoreDNS' default for the cluster's records, in seconds.
const TTL: u32 = 5;
/// Largest UDP answer that is not fragmented on any path we know (DNS flag day 2020).
pub(super) const LARGEST_UDP: u16 = 1232;
/// Without EDNS, as RFC 1035 says.
const SMALLEST_UDP: u16 = 512;
/// Records of one answer; more than fit 64 KiB would be no answer at all.
const MOST_RECORDS: usize = 1000;

/// What to do with a query.
#[derive(Debug)]
pub(super) enum Decision {
    /// This is the answer.
    Reply(Message),
    /// The answer begins so; the rest is whatever this name stands for elsewhere.
    Follow(Message, Query),
    /// Somebody else knows.
    Forward,
    /// Not worth an answer.
    Ignore,
}

/// The names this server is the authority for.
#[derive(Debug, Clone)]
pub(super) struct Zones {
    /// The cluster domain, lower-case.
    pub(super) cluster: String,
    /// The reverse zones of the mesh's own addresses.
    pub(super) reverse: Vec<String>,
}

impl Zones {
    fn authority(&self, name: &str) -> Option<&str> {
        std::iter::once(&self.cluster)
            .chain(&self.reverse)
            .find(|zone| within(name, zone))
            .map(String::as_str)
    }
}

fn within(name: &str, zone: &str) -> bool {
    name == zone
        || name
            .strip_suffix(zone)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// Decides about one query.
pub(super) fn decide(query: &Message, names: &Names, zones: &Zones) -> Decision {
    if query.metadata.message_type != MessageType::Query {
        return Decision::Ignore;
    }
    if query.metadata.op_code != OpCode::Query {
        return Decision::Reply(refusal(query, ResponseCode::NotImp));
    }
    let [question] = query.queries.as_slice() else {
        return Decision::Reply(refusal(query, ResponseCode::FormErr));
    };
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Decision::Reply(refusal(query, ResponseCode::BADVERS));
    }
    let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
    if question.query_class() != DNSClass::IN || transfer {
        return Decision::Reply(refusal(query, ResponseCode::Refused));
    }
    let name = key(question.name());
    let Some(zone) = zones.authority(&name) else {
        return Decision::Forward;
    };
    let mut reply = response(query, question);
    reply.metadata.authoritative = true;
    let Some(entry) = names.get(&name) else {
        let below = names.keys().any(|other| within(other, &name));
        if !below && name != zone {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        add_soa(&mut reply, zone);
        return Decision::Reply(reply);
    };
    if let Some(target) = &entry.alias {
        return follow(reply, question, target, names, zones);
    }
    add_entry(
        &mut reply,
        question.name(),
        question.query_type(),
        entry,
        names,
    );
    if reply.answers.is_empty() {
        add_soa(&mut reply, zone);
    }
    Decision::Reply(reply)
}

/// An ExternalName: its CNAME, then what it points at.
fn follow(
    mut reply: Message,
    question: &Query,
    target: &str,
    names: &Names,
    zones: &Zones,
) -> Decision {
    let Ok(name) = Name::from_ascii(format!("{target}.")) else {
        reply.metadata.response_code = ResponseCode::ServFail;
        return Decision::Reply(reply);
    };
    let alias = RData::CNAME(CNAME(name.clone()));
    reply.add_answer(Record::from_rdata(question.name().clone(), TTL, alias));
    if question.query_type() == RecordType::CNAME {
        return Decision::Reply(reply);
    }
    if zones.authority(target).is_none() {
        return Decision::Follow(reply, Query::query(name, question.query_type()));
    }
    // One step only: an alias of an alias inside the cluster would be a loop to guard against.
    if let Some(entry) = names.get(target) {
        add_entry(&mut reply, &name, question.query_type(), entry, names);
    }
    Decision::Reply(reply)
}

fn add_entry(reply: &mut Message, name: &Name, kind: RecordType, entry: &Entry, names: &Names) {
    let any = kind == RecordType::ANY;
    // A different first address each time spreads clients that take the first.
    let mut addresses = entry.addresses.clone();
    if !addresses.is_empty() {
        let by = rand::rng().random_range(0..addresses.len());
        addresses.rotate_left(by);
    }
    for ip in addresses.into_iter().take(MOST_RECORDS) {
        let wanted = any
            || kind
                == if ip.is_ipv4() {
                    RecordType::A
                } else {
                    RecordType::AAAA
                };
        if wanted {
            reply.add_answer(Record::from_rdata(name.clone(), TTL, address(ip)));
        }
    }
    if !any && kind != RecordType::SRV {
        return;
    }
    for (target, port) in entry.services.iter().take(MOST_RECORDS) {
        let Ok(to) = Name::from_ascii(format!("{target}.")) else {
            continue;
        };
        let service = RData::SRV(SRV::new(0, 100, *port, to.clone()));
        reply.add_answer(Record::from_rdata(name.clone(), TTL, service));
        for ip in names
            .get(target)
            .into_iter()
            .flat_map(|entry| &entry.addresses)
        {
            reply.add_additional(Record::from_rdata(to.clone(), TTL, address(*ip)));
        }
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn add_soa(reply: &mut Message, zone: &str) {
    let name = |text: String| Name::from_ascii(text).unwrap_or_else(|_| Name::root());
    let soa = SOA::new(
        name(format!("ns.dns.{zone}.")),
        name(format!("hostmaster.{zone}.")),
        1,
        7200,
        1800,
        86_400,
        TTL,
    );
    reply.add_authority(Record::from_rdata(
        name(format!("{zone}.")),
        TTL,
        RData::SOA(soa),
    ));
}

/// The name as [`Names`] spells it.
fn key(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn response(query: &Message, question: &Query) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP);
        reply.set_edns(edns);
    }
    reply
}

/// An answer that only says why there is none.
pub(super) fn refusal(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.add_queries(query.queries.iter().take(1).cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP);
        reply.set_edns(edns);
    }
    reply
}

/// How large an answer over UDP may be for this query.
pub(super) fn udp_limit(query: &Message) -> usize {
    let offered = query.edns.as_ref().map_or(SMALLEST_UDP, Edns::max_payload);
    usize::from(offered.clamp(SMALLEST_UDP, LARGEST_UDP))
}

/// The bytes of an answer; one that does not fit says so, and the client asks again over TCP.
pub(super) fn encode(reply: &Message, limit: usize) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    reply
        .truncate()
        .to_vec()
        .ok()
        .filter(|bytes| bytes.len() <= limit)
}

#[cfg(test)]
mod tests;
