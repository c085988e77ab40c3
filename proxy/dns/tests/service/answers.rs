//! What `dig` is told while all is well.

use std::net::IpAddr;

use heddle_proxy_dns::Outcome;

use crate::world::{Dnsmasq, Service};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn world(flags: &[&str]) -> (Service, Dnsmasq) {
    let upstream = Dnsmasq::start(flags);
    let search = "default.svc.cluster.local svc.cluster.local cluster.local";
    (Service::start(&[upstream.address], search), upstream)
}

#[test]
fn names_of_the_mesh_are_answered_here() {
    let (service, _upstream) = world(&[]);
    let name = "web.default.svc.cluster.local";
    service.mesh.set(name, &["10.96.0.1", "fd00::1"]);
    let found = service.dig(&["Web.default.svc.Cluster.local", "A"]);
    assert_eq!(
        (found.status(), found.ips()),
        ("NOERROR", vec![ip("10.96.0.1")])
    );
    assert_eq!(found.ttl(), 17);
    assert!(found.flag("aa") && found.flag("ra"));
    let found = service.dig(&[name, "AAAA"]);
    assert_eq!(found.ips(), [ip("fd00::1")]);
    let found = service.dig(&["+tcp", "+noedns", name, "ANY"]);
    assert_eq!(found.ips(), [ip("10.96.0.1"), ip("fd00::1")]);
    assert_eq!(service.outcomes(), [Outcome::Mesh; 3]);
    assert_eq!(service.mesh.asked(), Vec::<String>::new());
}

#[test]
fn over_ipv6_too() {
    let (service, _upstream) = world(&[]);
    service.mesh.set("a.b", &["10.0.0.1"]);
    for more in ["+notcp", "+tcp"] {
        let found = service.dig_at("::1", &["a.b", "A", more]);
        assert_eq!(found.ips(), [ip("10.0.0.1")]);
    }
}

#[test]
fn a_family_that_a_name_does_not_have_is_no_error() {
    let (service, _upstream) = world(&[]);
    service.mesh.set("web.x", &["10.96.0.1"]);
    service.mesh.set("none.x", &[]);
    for (name, kind) in [("web.x", "AAAA"), ("none.x", "A")] {
        let found = service.dig(&[name, kind]);
        assert_eq!((found.status(), found.answers().len()), ("NOERROR", 0));
        assert!(found.section("AUTHORITY").next().unwrap().contains("SOA"));
    }
}

#[test]
fn a_headless_service_begins_with_another_pod_now_and_then() {
    let (service, _upstream) = world(&[]);
    service
        .mesh
        .set("db.x", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let mut first = Vec::new();
    while first.len() < 2 {
        let found = service.dig(&["db.x", "A"]);
        assert_eq!(found.ips().len(), 3);
        let one = found.answers()[0].clone();
        if !first.contains(&one) {
            first.push(one);
        }
    }
}

#[test]
fn others_are_forwarded_and_kept() {
    let (service, upstream) = world(&[
        "--host-record=api.example.com,192.0.2.7,2001:db8::7,60",
        "--txt-record=api.example.com,hello",
    ]);
    let found = service.dig(&["api.example.com", "A"]);
    assert_eq!(
        (found.status(), found.ips()),
        ("NOERROR", vec![ip("192.0.2.7")])
    );
    assert_eq!(
        service.dig(&["api.example.com", "AAAA"]).ips(),
        [ip("2001:db8::7")]
    );
    assert!(
        service
            .dig(&["api.example.com", "TXT"])
            .text()
            .contains("\"hello\"")
    );
    assert_eq!(
        service.dig(&["+tcp", "api.example.com", "A"]).ips(),
        [ip("192.0.2.7")]
    );
    assert_eq!(service.outcomes()[..2], [Outcome::Forwarded; 2]);
    assert_eq!(*service.outcomes().last().unwrap(), Outcome::Cached);
    drop(upstream);
    let found = service.dig(&["API.example.com", "A"]);
    assert_eq!(found.ips(), [ip("192.0.2.7")], "kept for its time");
    assert!(found.ttl() <= 60);
    assert_eq!(service.mesh.asked()[0], "api.example.com");
}

#[test]
fn what_is_not_is_said_not_to_be() {
    let (service, _upstream) = world(&["--local=/example.com/"]);
    let found = service.dig(&["no.example.com", "A"]);
    assert_eq!((found.status(), found.answers().len()), ("NXDOMAIN", 0));
}

#[test]
fn other_types_of_a_known_name_never_deny_the_name() {
    let (service, _upstream) = world(&["--local=/example.com/"]);
    service.mesh.set("pay.example.com", &["240.240.0.1"]);
    let found = service.dig(&["pay.example.com", "HTTPS"]);
    assert_eq!((found.status(), found.answers().len()), ("NOERROR", 0));
    assert_eq!(
        service.dig(&["pay.example.com", "A"]).ips(),
        [ip("240.240.0.1")]
    );
}

#[test]
fn a_search_domain_behind_a_known_name_is_seen_through() {
    let (service, _upstream) = world(&["--local=/local/"]);
    service.mesh.set("api.example.com", &["240.240.0.1"]);
    let found = service.dig(&["api.example.com.default.svc.cluster.local", "A"]);
    assert_eq!(found.answers(), ["api.example.com.", "240.240.0.1"]);
    let found = service.dig(&["api.example.com.svc.cluster.local", "AAAA"]);
    assert_eq!(
        (found.status(), found.answers()),
        ("NOERROR", vec!["api.example.com.".to_owned()])
    );
    let found = service.dig(&["other.example.com.svc.cluster.local", "A"]);
    assert_eq!(found.status(), "NXDOMAIN");
}

#[test]
fn what_does_not_fit_udp_comes_over_tcp() {
    let mut flags: Vec<String> = (1..=100)
        .map(|n| format!("--host-record=many.example.com,192.0.2.{n}"))
        .collect();
    flags.push("--edns-packet-max=4096".into());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (service, _upstream) = world(&flags);
    let ips: Vec<String> = (1..=100).map(|n| format!("10.0.0.{n}")).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    service.mesh.set("many.mesh", &ips);
    for name in ["many.example.com", "many.mesh"] {
        for small in ["+noedns", "+bufsize=600"] {
            let cut = service.dig(&[name, "A", small, "+ignore"]);
            assert!(cut.flag("tc") && cut.answers().is_empty(), "{cut:?}");
            assert_eq!(cut.status(), "NOERROR");
            assert_eq!(service.dig(&[name, "A", small]).ips().len(), 100);
        }
        let whole = service.dig(&[name, "A", "+bufsize=4096", "+ignore"]);
        assert_eq!(
            (whole.flag("tc"), whole.ips().len()),
            (false, 100),
            "{name}"
        );
    }
}

#[test]
fn what_is_not_served_is_refused() {
    let (service, _upstream) = world(&[]);
    let status = |args: &[&str]| service.dig(args).status().to_owned();
    assert_eq!(
        status(&["example.com", "AXFR", "+tcp", "+comments", "+noonesoa"]),
        "REFUSED"
    );
    assert_eq!(status(&["example.com", "A", "+opcode=4"]), "NOTIMP");
    assert_eq!(
        status(&["example.com", "A", "+edns=1", "+noednsnegotiation"]),
        "BADVERS"
    );
    assert_eq!(service.outcomes(), [Outcome::Refused; 3]);
}
