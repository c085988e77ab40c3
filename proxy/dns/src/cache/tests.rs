//! How long answers are kept, by answers that others made (hickory-proto).
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, OpCode, Query as TheirQuery, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;

fn asked(name: &str) -> Vec<u8> {
    wire::question(name, kind::A).unwrap()
}

fn answer(name: &str, ttls: &[u32], code: ResponseCode, soa: Option<(u32, u32)>) -> Vec<u8> {
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    let mut message = Message::response(7, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(TheirQuery::query(name.clone(), RecordType::A));
    for ttl in ttls {
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
        message.add_answer(Record::from_rdata(name.clone(), *ttl, data));
    }
    if let Some((ttl, minimum)) = soa {
        let soa = SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, minimum);
        message.add_authority(Record::from_rdata(name, ttl, RData::SOA(soa)));
    }
    message.to_vec().unwrap()
}

fn kept_for(answer: &[u8]) -> Option<u64> {
    lifetime(answer).map(|kept| kept.as_secs())
}

#[test]
fn an_answer_is_kept_as_long_as_its_shortest_record() {
    let ok = ResponseCode::NoError;
    assert_eq!(kept_for(&answer("a", &[60, 20], ok, None)), Some(20));
    assert_eq!(kept_for(&answer("a", &[86_400], ok, None)), Some(300));
    assert_eq!(kept_for(&answer("a", &[0], ok, None)), None);
    assert_eq!(kept_for(&answer("a", &[u32::MAX], ok, None)), None);
}

#[test]
fn what_is_not_is_kept_only_if_its_zone_says_how_long() {
    let gone = ResponseCode::NXDomain;
    assert_eq!(kept_for(&answer("a", &[], gone, None)), None);
    assert_eq!(kept_for(&answer("a", &[], gone, Some((60, 5)))), Some(5));
    assert_eq!(kept_for(&answer("a", &[], gone, Some((4, 50)))), Some(4));
    assert_eq!(
        kept_for(&answer("a", &[], gone, Some((900, 900)))),
        Some(30)
    );
    let none = ResponseCode::NoError;
    assert_eq!(kept_for(&answer("a", &[], none, Some((9, 9)))), Some(9));
    assert_eq!(
        kept_for(&answer("a", &[], ResponseCode::ServFail, Some((9, 9)))),
        None
    );
}

#[test]
fn times_run_down_and_the_question_is_the_askers() {
    let mut cache = Cache::default();
    let bytes = asked("a.example");
    let query = Query::parse(&bytes).unwrap();
    let begin = Instant::now();
    let given = answer("a.example", &[60], ResponseCode::NoError, None);
    cache.put(&query, &given, begin);

    let mut again = asked("A.Example");
    wire::set_id(&mut again, [9, 9]);
    let query = Query::parse(&again).unwrap();
    let hit = cache.get(&query, begin + Duration::from_secs(25)).unwrap();
    let read = Message::from_vec(&hit).unwrap();
    assert_eq!(read.metadata.id, 0x0909);
    assert_eq!(read.queries[0].name().to_ascii(), "A.Example.");
    assert_eq!(read.answers[0].ttl, 35);
    assert!(cache.get(&query, begin + Duration::from_secs(60)).is_none());

    let mut other = again.clone();
    other[3] |= 0x10; // checking disabled
    let query = Query::parse(&other).unwrap();
    assert!(cache.get(&query, begin).is_none());
}

#[test]
fn it_is_bounded() {
    let mut cache = Cache::default();
    let begin = Instant::now();
    for n in 0..ENTRIES * 2 {
        let bytes = asked(&format!("n{n}.example"));
        let given = answer(&format!("n{n}.example"), &[60], ResponseCode::NoError, None);
        cache.put(&Query::parse(&bytes).unwrap(), &given, begin);
        assert!(cache.0.len() <= ENTRIES);
    }
    let bytes = asked("big.example");
    let given = answer("big.example", &[60; 200], ResponseCode::NoError, None);
    let query = Query::parse(&bytes).unwrap();
    cache.put(&query, &given, begin);
    assert!(cache.get(&query, begin).is_none());
}
