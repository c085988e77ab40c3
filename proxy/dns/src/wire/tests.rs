//! What is read and written here, by another's reading and writing (hickory-proto); and any bytes.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns as TheirEdns, Message, MessageType, OpCode, Query as TheirQuery};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record as TheirRecord, RecordType};
use proptest::prelude::*;

use super::*;

fn asked(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(TheirQuery::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = payload {
        let mut edns = TheirEdns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn ips(v4: u8, v6: u8) -> Vec<IpAddr> {
    let v4 = (0..v4).map(|n| Ipv4Addr::new(10, 0, 0, n).into());
    let v6 = (0..v6).map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into());
    v4.chain(v6).collect()
}

#[test]
fn a_query_is_read_as_it_was_meant() {
    let bytes = asked(
        "Web.default.SVC.cluster.local.",
        RecordType::AAAA,
        Some(4096),
    );
    let query = Query::parse(&bytes).unwrap();
    assert_eq!(query.name(), Some("web.default.svc.cluster.local"));
    assert_eq!((query.kind, query.class), (kind::AAAA, IN));
    let edns = query.edns.unwrap();
    assert_eq!((edns.payload, edns.version, edns.options), (4096, 0, false));
    assert_eq!(query.udp_limit(), 4096);
    let bytes = asked("a.", RecordType::A, None);
    assert_eq!(Query::parse(&bytes).unwrap().udp_limit(), 512);
    let bytes = asked("a.", RecordType::A, Some(100));
    assert_eq!(Query::parse(&bytes).unwrap().udp_limit(), 512);
    let root = asked(".", RecordType::NS, None);
    assert_eq!(Query::parse(&root).unwrap().name(), None);
}

#[test]
fn what_is_no_query_is_dropped_or_told_so() {
    let good = asked("a.b.", RecordType::A, Some(1232));
    assert!(Query::parse(&good).is_ok());
    for cut in 0..good.len() {
        assert!(Query::parse(&good[..cut]).is_err(), "cut at {cut}");
    }
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let reject = |bytes: Vec<u8>| Query::parse(&bytes).unwrap_err();
    assert_eq!(reject(with(2, 0x81)), Reject::Drop, "a response");
    assert_eq!(reject(with(2, 0x20)), Reject::Tell(Code::NotImplemented));
    assert_eq!(reject(with(5, 2)), Reject::Tell(Code::FormatError));
    assert_eq!(reject(with(5, 0)), Reject::Tell(Code::FormatError));
    assert_eq!(reject(with(12, 0xc0)), Reject::Drop, "a pointer");
    assert_eq!(
        reject(with(12, 0x40)),
        Reject::Drop,
        "a label of no known kind"
    );
    assert_eq!(reject([good.clone(), vec![0]].concat()), Reject::Drop);
    let version = good.len() - 5;
    assert_eq!(reject(with(version, 1)), Reject::Tell(Code::BadVersion));
}

#[test]
fn addresses_are_read_by_others_as_they_were_meant() {
    for (asked_for, expect) in [
        (RecordType::A, ips(3, 0)),
        (RecordType::AAAA, ips(0, 2)),
        (RecordType::ANY, ips(3, 2)),
    ] {
        let bytes = asked("Web.x.", asked_for, Some(1232));
        let query = Query::parse(&bytes).unwrap();
        let reply = addresses(&query, None, &ips(3, 2), 7, query.udp_limit());
        let read = Message::from_vec(&reply).unwrap();
        assert_eq!(read.metadata.id, 0x1234);
        assert!(read.metadata.authoritative && read.metadata.recursion_available);
        assert_eq!(read.queries[0].name().to_ascii(), "Web.x.");
        let found: Vec<IpAddr> = read
            .answers
            .iter()
            .filter_map(|r| r.data.ip_addr())
            .collect();
        assert_eq!(found, expect);
        assert!(
            read.answers
                .iter()
                .all(|r| r.ttl == 7 && r.name.to_ascii() == "Web.x.")
        );
        assert!(read.authorities.is_empty() && read.edns.is_some());
    }
}

#[test]
fn a_family_that_is_absent_is_an_empty_answer_that_may_be_kept() {
    let bytes = asked("web.x.", RecordType::AAAA, None);
    let query = Query::parse(&bytes).unwrap();
    let reply = addresses(&query, None, &ips(1, 0), 9, 512);
    let read = Message::from_vec(&reply).unwrap();
    assert!(read.answers.is_empty() && read.edns.is_none());
    let RData::SOA(soa) = &read.authorities[0].data else {
        panic!("{read:?}");
    };
    assert_eq!((soa.minimum, read.authorities[0].ttl), (9, 9));
    assert_eq!(read.authorities[0].name.to_ascii(), "web.x.");
}

#[test]
fn an_alias_leads_to_the_addresses() {
    let bytes = asked("api.example.com.default.svc.", RecordType::A, None);
    let query = Query::parse(&bytes).unwrap();
    let reply = addresses(&query, Some("api.example.com"), &ips(1, 0), 9, 512);
    let read = Message::from_vec(&reply).unwrap();
    assert!(
        matches!(&read.answers[0].data, RData::CNAME(to) if to.to_ascii() == "api.example.com.")
    );
    assert_eq!(read.answers[1].name.to_ascii(), "api.example.com.");
    assert_eq!(read.answers[1].data.ip_addr(), Some(ips(1, 0)[0]));
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    let many: Vec<IpAddr> = ips(200, 0);
    let bytes = asked("web.x.", RecordType::A, None);
    let query = Query::parse(&bytes).unwrap();
    let read = Message::from_vec(&addresses(&query, None, &many, 9, 512)).unwrap();
    assert!(read.metadata.truncation && read.answers.is_empty());
    let whole = addresses(&query, None, &many, 9, usize::from(u16::MAX));
    assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 200);
    let more: Vec<IpAddr> = (0..9000_u32).map(|n| Ipv4Addr::from(n).into()).collect();
    let cut = addresses(&query, None, &more, 9, usize::from(u16::MAX));
    assert!(Message::from_vec(&cut).unwrap().answers.len() > 4000);
}

#[test]
fn failures_are_read_by_others_as_they_were_meant() {
    let bytes = asked("web.x.", RecordType::A, Some(1232));
    let query = Query::parse(&bytes).unwrap();
    let told = failure(&bytes, query.question_bytes(), true, Code::ServerFailure);
    let read = Message::from_vec(&told).unwrap();
    assert_eq!(u16::from(read.metadata.response_code), 2);
    assert!(read.metadata.recursion_desired && read.queries.len() == 1);
    let version = failure(&bytes, &[], false, Code::BadVersion);
    let read = Message::from_vec(&version).unwrap();
    assert_eq!(u16::from(read.metadata.response_code), 16);
    let mut gone = failure(&bytes, query.question_bytes(), true, Code::NxDomain);
    deny_only_the_type(&mut gone);
    assert_eq!(code(&gone), 0);
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let query = asked("a.bc.", RecordType::A, None);
    let question = &query[HEADER..];
    let mut answer = query.clone();
    answer[2] = 0x81;
    assert!(answers_to(&query, question, &answer));
    answer[13] = b'A';
    assert!(
        answers_to(&query, question, &answer),
        "case does not matter"
    );
    answer[13] = b'x';
    assert!(!answers_to(&query, question, &answer));
    let mut other = query.clone();
    (other[0], other[2]) = (0, 0x81);
    assert!(!answers_to(&query, question, &other), "another id");
    assert!(!answers_to(&query, question, &query), "not a response");
}

#[test]
fn records_are_where_others_put_them() {
    let name = || Name::from_ascii("a.b.").unwrap();
    let mut message = Message::response(7, OpCode::Query);
    message.add_query(TheirQuery::query(name(), RecordType::A));
    let data = RData::A(A(Ipv4Addr::new(1, 2, 3, 4)));
    message.add_answer(TheirRecord::from_rdata(name(), 60, data));
    let soa = SOA::new(name(), name(), 1, 2, 3, 4, 5);
    message.add_authority(TheirRecord::from_rdata(name(), 61, RData::SOA(soa)));
    let bytes = message.to_vec().unwrap();
    let read: Vec<Record> = records(&bytes).unwrap().map(Option::unwrap).collect();
    assert_eq!(
        read.iter()
            .map(|r| (r.section, r.kind, r.ttl))
            .collect::<Vec<_>>(),
        [
            (Section::Answer, kind::A, 60),
            (Section::Authority, kind::SOA, 61)
        ]
    );
    assert_eq!(bytes[read[0].data.clone()], [1, 2, 3, 4]);
    for cut in HEADER..bytes.len() {
        let all = records(&bytes[..cut]).map(|mut all| all.all(|record| record.is_some()));
        assert_ne!(all, Some(true), "cut at {cut}");
    }
}

#[test]
fn names_that_cannot_be_asked_for_are_none() {
    for name in ["", "a..b", ".", &"x".repeat(64), &"abc.".repeat(70)] {
        assert_eq!(question(name, kind::A), None, "{name}");
    }
    let own = question("api.example.com", kind::A).unwrap();
    assert_eq!(Query::parse(&own).unwrap().name(), Some("api.example.com"));
    assert!(Message::from_vec(&own).unwrap().edns.is_some());
}

/// Bytes that look like a message more often than chance would have it.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let count = prop_oneof![Just(0_u16), Just(1), Just(2), any::<u16>()];
    let head = (any::<[u8; 4]>(), prop::array::uniform4(count));
    let piece = prop_oneof![
        Just(b"\x03web\x00".to_vec()),
        Just(b"\xc0\x0c".to_vec()),
        Just(b"\x00\x01\x00\x01".to_vec()),
        Just(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00".to_vec()),
        Just(b"\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    (head, prop::collection::vec(piece, 0..8)).prop_map(|((first, counts), pieces)| {
        let counts = counts.into_iter().flat_map(u16::to_be_bytes);
        first
            .into_iter()
            .chain(counts)
            .chain(pieces.concat())
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop_oneof![message(), prop::collection::vec(any::<u8>(), 0..300)]) {
        let _ = answers_to(&bytes, &[1, 2, 3], &bytes);
        if let Some(records) = records(&bytes) {
            for record in records.flatten() {
                prop_assert!(bytes.get(record.data).is_some());
            }
        }
        if let Ok(query) = Query::parse(&bytes) {
            for limit in [512, usize::from(u16::MAX)] {
                let reply = addresses(&query, query.name(), &ips(40, 40), 5, limit);
                prop_assert!(reply.len() <= limit);
                prop_assert!(answers_to(&bytes, query.question_bytes(), &reply));
            }
        }
    }

    #[test]
    fn what_we_read_as_a_query_others_do_too(bytes in message()) {
        if let Ok(query) = Query::parse(&bytes)
            && let Some(name) = query.name()
        {
            let theirs = Message::from_vec(&bytes);
            if let Ok(theirs) = theirs {
                let read = theirs.queries[0].name().to_ascii().to_ascii_lowercase();
                prop_assert_eq!(read.trim_end_matches('.'), name);
            }
        }
    }
}
