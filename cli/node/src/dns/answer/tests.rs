//! What is answered, for each kind of name.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::dns::names::{Member, ServiceNames, add_service};

fn names() -> Names {
    let mut names = Names::new();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let service = ServiceNames {
        namespace: "shop",
        name: "web",
        cluster_ips: vec![ip("10.65.1.0"), ip("fd68::1:0")],
        members: Vec::new(),
        ports: vec![(Some("http"), "TCP", 80), (None, "TCP", 81)],
        external_name: None,
    };
    add_service(&mut names, "cluster.local", &service);
    let members = (1..=60)
        .map(|n| Member {
            hostname: (n == 1).then(|| "db-0".to_owned()),
            addresses: vec![ip(&format!("10.64.0.{n}"))],
        })
        .collect();
    let headless = ServiceNames {
        name: "db",
        cluster_ips: Vec::new(),
        members,
        ..service.clone()
    };
    add_service(&mut names, "cluster.local", &headless);
    for (name, target) in [("out", "example.com"), ("in", "web.shop.svc.cluster.local")] {
        let alias = ServiceNames {
            name,
            external_name: Some(target),
            ..service.clone()
        };
        add_service(&mut names, "cluster.local", &alias);
    }
    names
}

fn ask(name: &str, kind: RecordType) -> Decision {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let zones = Zones {
        cluster: "cluster.local".into(),
        reverse: vec!["64.10.in-addr.arpa".into()],
    };
    decide(&query, &names(), &zones)
}

fn reply(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, usize) {
    let Decision::Reply(reply) = ask(name, kind) else {
        panic!("{name} is not answered")
    };
    let answers = reply
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    (
        reply.metadata.response_code,
        answers,
        reply.authorities.len(),
    )
}

#[test]
fn services_pods_and_what_is_not_there() {
    use ResponseCode::{NXDomain, NoError};
    let web = "WEB.shop.svc.cluster.local.";
    assert_eq!(
        reply(web, RecordType::A),
        (NoError, vec!["10.65.1.0".into()], 0)
    );
    assert_eq!(
        reply(web, RecordType::AAAA),
        (NoError, vec!["fd68::1:0".into()], 0)
    );
    assert_eq!(reply(web, RecordType::MX), (NoError, vec![], 1));
    let none = "none.shop.svc.cluster.local.";
    assert_eq!(reply(none, RecordType::A), (NXDomain, vec![], 1));
    assert_eq!(
        reply("shop.svc.cluster.local.", RecordType::A),
        (NoError, vec![], 1)
    );
    assert_eq!(
        reply("2.0.64.10.in-addr.arpa.", RecordType::PTR),
        (NXDomain, vec![], 1)
    );
    assert_eq!(
        reply("db.shop.svc.cluster.local.", RecordType::A).1.len(),
        60
    );
    let first = "db-0.db.shop.svc.cluster.local.";
    assert_eq!(
        reply(first, RecordType::A),
        (NoError, vec!["10.64.0.1".into()], 0)
    );
    let second = "10-64-0-2.db.shop.svc.cluster.local.";
    assert_eq!(reply(second, RecordType::A).1, ["10.64.0.2"]);
    let srv = reply("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(srv.1, ["0 100 80 web.shop.svc.cluster.local."]);
    assert_eq!(
        reply("_http._tcp.db.shop.svc.cluster.local.", RecordType::SRV)
            .1
            .len(),
        60
    );
    let inner = reply("in.shop.svc.cluster.local.", RecordType::A).1;
    assert_eq!(inner, ["web.shop.svc.cluster.local.", "10.65.1.0"]);
    let outer = ask("out.shop.svc.cluster.local.", RecordType::A);
    assert!(matches!(outer, Decision::Follow(_, next) if next.name().to_ascii() == "example.com."));
    assert!(matches!(
        ask("example.com.", RecordType::A),
        Decision::Forward
    ));
    assert!(matches!(
        ask("xcluster.local.", RecordType::A),
        Decision::Forward
    ));
}

#[test]
fn an_answer_that_does_not_fit_is_truncated_and_says_so() {
    let Decision::Reply(reply) = ask("db.shop.svc.cluster.local.", RecordType::A) else {
        panic!("not answered")
    };
    let whole = encode(&reply, usize::from(u16::MAX)).unwrap();
    assert!(whole.len() > 512);
    let cut = Message::from_vec(&encode(&reply, 512).unwrap()).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
}
