//! Every resource converts or is refused with the field and the reason; no bytes make it panic.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use heddle_proto::mesh;
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::names::DnsName;
use heddle_proxy_config::snapshot::{Address, MtlsMode, Protocol};
use proptest::prelude::*;
use prost::Message;

const ID: &str = "spiffe://cluster.local/ns/default/sa/reviews";

fn endpoint() -> mesh::Endpoint {
    mesh::Endpoint {
        address: "10.1.0.1".into(),
        target_ports: vec![9080],
        subsets: vec![1],
        identity: ID.into(),
        workload: "default/reviews-1".into(),
        labels: [("app", "reviews"), ("version", "v1")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        owner: "reviews-v1".into(),
        ..Default::default()
    }
}

fn endpoints(change: impl Fn(&mut mesh::Endpoint)) -> mesh::Endpoints {
    let mut changed = endpoint();
    change(&mut changed);
    mesh::Endpoints {
        service_ports: vec![80, 443],
        subset_names: vec!["v1".into(), "v2".into()],
        endpoints: vec![endpoint(), changed],
    }
}

fn destination(weight: u32) -> mesh::Destination {
    mesh::Destination {
        service: "default/a".into(),
        weight,
        ..Default::default()
    }
}

fn routes(change: impl Fn(&mut mesh::HttpRule)) -> mesh::RouteTable {
    let mut rule = mesh::HttpRule {
        destinations: vec![destination(1)],
        ..Default::default()
    };
    change(&mut rule);
    mesh::RouteTable {
        http: vec![rule],
        ..Default::default()
    }
}

/// Sets one header of the request.
fn changes(name: &str, value: &str) -> Option<mesh::HeaderChanges> {
    let set = vec![mesh::Header {
        name: name.into(),
        value: value.into(),
    }];
    let request = Some(mesh::header_changes::Changes {
        set,
        ..Default::default()
    });
    Some(mesh::HeaderChanges {
        request,
        ..Default::default()
    })
}

fn matching(change: impl Fn(&mut mesh::HttpMatch)) -> mesh::RouteTable {
    routes(|rule| {
        let mut matching = mesh::HttpMatch::default();
        change(&mut matching);
        rule.matches = vec![matching];
    })
}

fn text(kind: mesh::string_match::Kind) -> Option<mesh::StringMatch> {
    Some(mesh::StringMatch { kind: Some(kind) })
}

fn workload(change: impl Fn(&mut mesh::Workload)) -> mesh::Workload {
    let port = |number| mesh::InboundPort {
        mtls_origin: String::new(),
        number,
        protocol: mesh::Protocol::Grpc as i32,
        mtls: mesh::MtlsMode::Strict as i32,
        service: "default/reviews".into(),
    };
    let mut workload = mesh::Workload {
        namespace: "default".into(),
        name: "a".into(),
        identity: ID.into(),
        ports: vec![port(80), port(81)],
        ..Default::default()
    };
    change(&mut workload);
    workload
}

fn telemetry(endpoint: &str, identity: &str) -> mesh::Telemetry {
    mesh::Telemetry {
        sampling_ppm: 1,
        otlp_endpoint: endpoint.into(),
        otlp_identity: identity.into(),
    }
}

fn refusal(kind: Kind, name: &str, content: &impl Message) -> String {
    compile(kind, name, &content.encode_to_vec())
        .unwrap_err()
        .to_string()
}

fn by_name(host: &str) -> mesh::RouteTable {
    let rule = mesh::TcpRule {
        destinations: vec![destination(1)],
        sni_hosts: vec![host.into()],
        ..Default::default()
    };
    mesh::RouteTable {
        tcp: vec![rule],
        ..Default::default()
    }
}

#[test]
fn a_tcp_rule_takes_the_names_that_it_lists() {
    let takes = |host: &str, name: Option<&str>| {
        let table = by_name(host).encode_to_vec();
        let Compiled::Routes(_, table) = compile(Kind::RouteTable, "default/a", &table).unwrap()
        else {
            panic!("not routes")
        };
        table.tcp[0].takes(name)
    };
    assert!(takes("API.example.com", Some("api.example.com")));
    assert!(!takes("api.example.com", Some("b.example.com")));
    assert!(!takes("api.example.com", None));
    assert!(takes("*.example.com", Some("a.b.example.com")));
    assert!(!takes("*.example.com", Some("example.com")));
    assert!(!takes("*.example.com", Some(".example.com")));
    assert!(takes("*", Some("x")) && !takes("*", None));
}

#[test]
fn each_mistake_is_refused_with_its_field() {
    use mesh::http_rule::Answer;
    use mesh::string_match::Kind as Text;
    let name = "default/a";
    let of_endpoints =
        |change: fn(&mut mesh::Endpoint)| refusal(Kind::Endpoints, name, &endpoints(change));
    let of_routes = |table: mesh::RouteTable| refusal(Kind::RouteTable, name, &table);
    let of_workload =
        |change: fn(&mut mesh::Workload)| refusal(Kind::Workload, name, &workload(change));
    let cases = [
        (
            of_routes(by_name("a.*.b")),
            "tcp[0].sni_hosts[0]: \"a.*.b\" is not a name, *.NAME or *",
        ),
        (
            of_endpoints(|e| e.address = "10.1".into()),
            "endpoints[1].address: \"10.1\" is not an IP address",
        ),
        (
            of_endpoints(|e| e.identity = "spiffe://a".into()),
            "endpoints[1].identity: \"spiffe://a\" is not a SPIFFE id",
        ),
        (
            of_endpoints(|e| e.target_ports = vec![1, 2, 3]),
            "endpoints[1].target_ports: 3 values for 2 service_ports",
        ),
        (
            of_endpoints(|e| e.target_ports = vec![0, 65536]),
            "endpoints[1].target_ports[1]: 65536 is not a port",
        ),
        (
            of_endpoints(|e| e.subsets = vec![0, 2]),
            "endpoints[1].subsets[1]: subset 2 of 2",
        ),
        (
            of_routes(routes(|r| r.destinations.clear())),
            "http[0].destinations: empty",
        ),
        (
            of_routes(routes(|r| r.destinations = vec![destination(0); 2])),
            "http[0].destinations: the weights are all 0",
        ),
        (
            of_routes(routes(|r| r.destinations[0].service = "a".into())),
            "destinations[0].service: \"a\" is not NAMESPACE",
        ),
        (
            of_routes(routes(|r| r.destinations[0].port = 70000)),
            "http[0].destinations[0].port: 70000 is not a port",
        ),
        (
            of_routes(routes(|r| {
                r.timeout = Some(mesh::Millis { millis: u64::MAX })
            })),
            "http[0].timeout: 18446744073709551615 ms",
        ),
        (
            of_routes(routes(|r| {
                let retry_on = vec!["5xx".into(), "5XX".into()];
                r.retries = Some(mesh::RetryPolicy {
                    retry_on,
                    ..Default::default()
                });
            })),
            "http[0].retries.retry_on[1]: \"5XX\" is not a condition",
        ),
        (
            of_routes(routes(|r| {
                r.answer = Some(Answer::Redirect(mesh::Redirect {
                    status: 200,
                    ..Default::default()
                }))
            })),
            "http[0].redirect.status: 200 is not a status",
        ),
        (
            of_routes(matching(|m| m.host = "a b".into())),
            "http[0].matches[0].host: \"a b\" is not a host",
        ),
        (
            of_routes(routes(|r| {
                r.answer = Some(Answer::DirectResponse(mesh::DirectResponse {
                    status: 200,
                    body: vec![0; (1 << 20) + 1],
                    ..Default::default()
                }))
            })),
            "http[0].direct_response.body: a body of 1048577 bytes",
        ),
        (
            of_routes(routes(|r| r.headers = changes("Content-Length", "1"))),
            "http[0].headers.request.set[0].name: content-length is not a route's to change",
        ),
        (
            of_routes(routes(|r| {
                r.destinations[0].headers = changes(":path", "/")
            })),
            "http[0].destinations[0].headers.request.set[0].name: \":path\" is not a header name",
        ),
        (
            of_routes(routes(|r| r.headers = changes("x-a", "a\r\nb: c"))),
            "http[0].headers.request.set[0]: \"a\\r\\nb: c\" is not a header value",
        ),
        (
            of_routes(routes(|r| {
                r.rewrite = Some(mesh::Rewrite {
                    authority: "a/b".into(),
                    ..Default::default()
                })
            })),
            "http[0].rewrite.authority: \"a/b\" is not a host",
        ),
        (
            of_routes(routes(|r| {
                let kind = Some(mesh::path_rewrite::Kind::Full("/a b".into()));
                let path = Some(mesh::PathRewrite { kind });
                r.rewrite = Some(mesh::Rewrite {
                    path,
                    ..Default::default()
                })
            })),
            "http[0].rewrite.path: \"/a b\" cannot stand in a path",
        ),
        (
            of_routes(routes(|r| {
                let abort = mesh::fault::Abort {
                    ppm: 1,
                    ..Default::default()
                };
                r.fault = Some(mesh::Fault {
                    abort: Some(abort),
                    ..Default::default()
                })
            })),
            "http[0].fault.abort.status: missing",
        ),
        (
            of_routes(routes(|r| {
                let destination = Some(destination(1));
                r.mirrors = vec![mesh::Mirror {
                    destination,
                    ppm: 1_000_001,
                }]
            })),
            "http[0].mirrors[0].ppm: 1000001 parts in a million",
        ),
        (
            of_routes(routes(|r| {
                let cookie = mesh::Cookie {
                    name: "a;b".into(),
                    ..Default::default()
                };
                r.sticky = Some(mesh::Sticky {
                    key: Some(mesh::sticky::Key::Cookie(cookie)),
                })
            })),
            "http[0].sticky.cookie.name: \"a;b\"",
        ),
        (
            of_routes(matching(|m| m.path = text(Text::Regex("(".into())))),
            "http[0].matches[0].path: the regex \"(\" is malformed",
        ),
        (
            of_routes(matching(|m| {
                m.path = text(Text::Regex("a{1000}{1000}".into()))
            })),
            "path: the regex compiles to more than",
        ),
        (
            of_routes(matching(|m| m.path = text(Text::Regex("a".repeat(1025))))),
            "path: the regex has 1025 bytes",
        ),
        (
            of_routes(matching(|m| m.method = text(Text::Present(false)))),
            "method: present is false",
        ),
        (
            of_routes(matching(|m| {
                m.headers = vec![mesh::NamedMatch {
                    name: "a b".into(),
                    value: None,
                }]
            })),
            "headers[0].name: \"a b\" is not a header name",
        ),
        (
            of_workload(|w| w.identity = "reviews".into()),
            "identity: \"reviews\" is not a SPIFFE id",
        ),
        (of_workload(|w| w.mtls = 9), "mtls: 9 is no known MtlsMode"),
        (
            of_workload(|w| w.ports[1].protocol = -1),
            "ports[1].protocol: -1 is no known Protocol",
        ),
        (
            of_workload(|w| w.ports[1].number = 0),
            "ports[1].number: 0 is not a port",
        ),
        (
            of_workload(|w| w.ports[1].number = 80),
            "ports[1]: port 80 occurs twice",
        ),
        (
            of_workload(|w| w.name = "b".into()),
            "named \"default/a\" says that it is \"default/b\"",
        ),
        (
            refusal(Kind::Service, name, &mesh::Service::default()),
            "says that it is \"/\"",
        ),
        (
            refusal(
                Kind::Service,
                "a",
                &mesh::Service {
                    name: "a".into(),
                    ..Default::default()
                },
            ),
            "\"a\" is not NAMESPACE/NAME",
        ),
        (
            refusal(Kind::Endpoints, "a", &mesh::Endpoints::default()),
            "\"a\" is not NAMESPACE/NAME",
        ),
        (
            refusal(Kind::Address, "10.0.0.1", &mesh::Address::default()),
            "kind: missing",
        ),
        (
            refusal(Kind::Address, "::ffff:10.0.0.1", &mesh::Address::default()),
            "not an IP in canonical form",
        ),
        (
            refusal(Kind::Address, "fd00::0:1", &mesh::Address::default()),
            "not an IP in canonical form",
        ),
        (
            refusal(Kind::TrustBundle, "td", &mesh::TrustBundle::default()),
            "roots: empty",
        ),
        (
            refusal(Kind::Telemetry, "d", &telemetry("collector:4317", "")),
            "otlp_endpoint: \"collector:4317\" is not http://",
        ),
        (
            refusal(
                Kind::Telemetry,
                "d",
                &telemetry("spiffe+https://c:4317", ""),
            ),
            "otlp_identity: missing",
        ),
        (
            refusal(
                Kind::Telemetry,
                "d",
                &mesh::Telemetry {
                    sampling_ppm: 1_000_001,
                    ..Default::default()
                },
            ),
            "1000001 parts",
        ),
        (
            compile(Kind::Telemetry, "d", &[0xff])
                .unwrap_err()
                .to_string(),
            "not a message of its type",
        ),
    ];
    for (refusal, part) in cases {
        assert!(refusal.contains(part), "{refusal:?} has no {part:?}");
    }
}

#[test]
fn a_regex_that_is_plain_text_still_minds_case() {
    use mesh::string_match::Kind as Pattern;
    let found = |pattern: Pattern, path: &str| {
        let table = matching(|matcher| {
            matcher.path = text(pattern.clone());
            matcher.ignore_path_case = true;
        });
        let Compiled::Routes(_, table) =
            compile(Kind::RouteTable, "default/a", &table.encode_to_vec()).unwrap()
        else {
            panic!("not routes")
        };
        let (method, uri, headers) = (
            http::Method::GET,
            path.parse().unwrap(),
            http::HeaderMap::new(),
        );
        table.http.find(&method, &uri, "a", &headers, 80).is_some()
    };
    for pattern in ["/Foo", "/Foo.*"] {
        assert!(found(Pattern::Regex(pattern.into()), "/Foo"));
        assert!(!found(Pattern::Regex(pattern.into()), "/foo"), "{pattern}");
    }
    assert!(found(Pattern::Exact("/Foo".into()), "/foo"));
}

#[test]
fn good_resources_convert_whole() {
    let Compiled::Endpoints(_, converted, _) = compile(
        Kind::Endpoints,
        "default/a",
        &endpoints(|_| {}).encode_to_vec(),
    )
    .unwrap() else {
        panic!("not endpoints")
    };
    let first = &converted.endpoints[0];
    assert_eq!(
        first.target_ports,
        [Some(9080), None],
        "a port without a target is not offered"
    );
    assert_eq!(
        (
            first.subsets.as_slice(),
            &*first.app,
            &*first.version,
            &*first.owner
        ),
        (&[1][..], "reviews", "v1", "reviews-v1")
    );
    assert_eq!(first.identity.as_ref().unwrap().as_str(), ID);
    assert!(
        std::sync::Arc::ptr_eq(&first.app, &converted.endpoints[1].app),
        "labels are kept once"
    );

    let table = routes(|rule| {
        rule.destinations = vec![destination(0)];
        rule.timeout = Some(mesh::Millis { millis: 0 });
        rule.retries = Some(mesh::RetryPolicy {
            attempts: 3,
            per_try_timeout: Some(mesh::Millis { millis: 250 }),
            retry_on: vec!["5xx".into()],
            ..Default::default()
        });
    });
    let Compiled::Routes(_, table) =
        compile(Kind::RouteTable, "default/a", &table.encode_to_vec()).unwrap()
    else {
        panic!("not routes")
    };
    let rule = &table.http.rules()[0];
    assert_eq!(
        (
            rule.destinations[0].weight,
            rule.destinations[0].port,
            rule.timeout
        ),
        (0, None, None)
    );
    assert_eq!(
        rule.retries.as_ref().unwrap().per_try_timeout,
        Some(Duration::from_millis(250))
    );

    let Compiled::Workload(own) = compile(
        Kind::Workload,
        "default/a",
        &workload(|_| {}).encode_to_vec(),
    )
    .unwrap() else {
        panic!("not a workload")
    };
    assert_eq!(
        (own.mtls, own.ports[&80].mtls, own.ports[&80].protocol),
        (MtlsMode::Permissive, MtlsMode::Strict, Protocol::Grpc)
    );

    // Lists that run parallel to a service's mean nothing for a pod's own address.
    let pod = mesh::Address {
        kind: Some(mesh::address::Kind::Workload(endpoint())),
        workload_ports: vec![mesh::Port {
            number: 9080,
            name: String::new(),
            protocol: mesh::Protocol::Tcp as i32,
        }],
        headless: vec![mesh::Headless {
            number: 80,
            service: "default/a".into(),
            service_port: 80,
            target_port: 9080,
            only: true,
            own: false,
        }],
        ..Default::default()
    };
    let Compiled::Address(ip, Address::Workload(pod)) =
        compile(Kind::Address, "10.1.0.1", &pod.encode_to_vec()).unwrap()
    else {
        panic!("not a workload's address")
    };
    assert_eq!((ip, pod.endpoint.ip), (pod.endpoint.ip, ip));
    assert_eq!(pod.ports[0].protocol, Protocol::Tcp);
    assert_eq!(pod.only(80).map(|at| at.target), Some(9080));
    assert_eq!(pod.only(9080), None);
    let collector = telemetry("spiffe+https://c:4317", ID).encode_to_vec();
    assert!(compile(Kind::Telemetry, "default", &collector).is_ok());
}

#[test]
fn what_a_rule_does_beside_sending_on_is_kept_only_when_it_does_something() {
    let treatment = |change: &dyn Fn(&mut mesh::HttpRule)| {
        let table = routes(|rule| change(rule)).encode_to_vec();
        let compiled = compile(Kind::RouteTable, "default/a", &table);
        let Ok(Compiled::Routes(_, table)) = compiled else {
            panic!("not routes")
        };
        table.http.rules()[0].clone()
    };
    let never = mesh::fault::Abort {
        status: Some(mesh::fault::abort::Status::Http(503)),
        ppm: 0,
    };
    let idle = treatment(&|rule| {
        rule.fault = Some(mesh::Fault {
            abort: Some(never),
            ..Default::default()
        });
        rule.headers = Some(mesh::HeaderChanges::default());
        rule.rewrite = Some(mesh::Rewrite::default());
    });
    assert!(idle.treatment.is_none());

    let gone = treatment(&|rule| {
        let nowhere = mesh::Destination {
            invalid: "no such service".into(),
            weight: 1,
            ..Default::default()
        };
        rule.destinations.push(nowhere);
    });
    let invalid = &gone.treatment.unwrap().destinations[1].invalid;
    assert_eq!(invalid.as_deref(), Some("no such service"));

    let moved = treatment(&|rule| {
        rule.destinations.clear();
        rule.answer = Some(mesh::http_rule::Answer::Redirect(mesh::Redirect::default()));
    });
    assert!(moved.destinations.is_empty() && moved.treatment.unwrap().answer.is_some());

    let mirrored = treatment(&|rule| {
        let mut destination = destination(0);
        destination.service = "default/shadow".into();
        let mirror = mesh::Mirror {
            destination: Some(destination),
            ppm: 1,
        };
        rule.mirrors.push(mirror);
    });
    let mirror = &mirrored.treatment.unwrap().mirrors[0];
    assert_eq!(mirror.destination.service.as_str(), "default/shadow");
}

fn good(kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Address => mesh::Address {
            kind: Some(mesh::address::Kind::Workload(endpoint())),
            ..Default::default()
        }
        .encode_to_vec(),
        Kind::Service => mesh::Service {
            namespace: "default".into(),
            name: "a".into(),
            ports: vec![mesh::Port {
                number: 80,
                ..Default::default()
            }],
            ..Default::default()
        }
        .encode_to_vec(),
        Kind::Endpoints => endpoints(|_| {}).encode_to_vec(),
        Kind::RouteTable => matching(|m| {
            m.path = text(mesh::string_match::Kind::Regex("/[a-z&&b]+(x|y)*".into()));
            m.headers = vec![mesh::NamedMatch {
                name: "user-type".into(),
                value: None,
            }];
        })
        .encode_to_vec(),
        Kind::Workload => workload(|_| {}).encode_to_vec(),
        Kind::TrustBundle => mesh::TrustBundle {
            roots: vec![vec![1; 8]],
        }
        .encode_to_vec(),
        Kind::Telemetry => telemetry("http://c:4317", ID).encode_to_vec(),
        Kind::DnsName => names(&["10.0.0.1", "::1"]).encode_to_vec(),
    }
}

fn names(ips: &[&str]) -> mesh::DnsName {
    let found = mesh::dns_name::Addresses {
        ips: ips.iter().map(ToString::to_string).collect(),
        ttl_seconds: 7,
    };
    mesh::DnsName {
        kind: Some(mesh::dns_name::Kind::Addresses(found)),
        ..Default::default()
    }
}

#[test]
fn host_names_stand_for_addresses() {
    let compiled = |name: &str, ips: &[&str]| {
        let bytes = names(ips).encode_to_vec();
        compile(Kind::DnsName, name, &bytes).map_err(|refusal| refusal.to_string())
    };
    let Ok(Compiled::Name(name, DnsName::Addresses { ips, ttl })) =
        compiled("web.default.svc", &["10.0.0.1", "::ffff:10.0.0.2"])
    else {
        panic!("not a name")
    };
    assert_eq!(
        (name.as_str(), ttl),
        ("web.default.svc", Duration::from_secs(7))
    );
    assert_eq!(
        ips,
        [[10, 0, 0, 1], [10, 0, 0, 2]].map(std::net::IpAddr::from)
    );
    for name in [
        "Web",
        "web.",
        "",
        "a..b",
        "a b",
        &"x".repeat(64),
        &"x.".repeat(127),
    ] {
        assert!(
            compiled(name, &[]).unwrap_err().contains("lower case"),
            "{name}"
        );
    }
    assert_eq!(
        compiled("a", &["10.0.0.1", "what"]).unwrap_err(),
        "addresses.ips[1]: \"what\" is not an IP address"
    );
    let nothing = compile(Kind::DnsName, "a", &[]).unwrap_err();
    assert_eq!(nothing.to_string(), "kind: missing");
}

#[test]
fn endpoints_may_be_hosts() {
    let wire = |host: &str| {
        let endpoints = mesh::Endpoints {
            service_ports: vec![443],
            endpoints: vec![mesh::Endpoint {
                host: host.into(),
                target_ports: vec![8443],
                ..Default::default()
            }],
            ..Default::default()
        };
        compile(Kind::Endpoints, "default/a", &endpoints.encode_to_vec())
    };
    let Ok(Compiled::Endpoints(_, addresses, hosts)) = wire("API.example.com.") else {
        panic!("not endpoints")
    };
    assert!(addresses.endpoints.is_empty());
    assert_eq!(hosts[0].host.as_str(), "api.example.com");
    assert_eq!(hosts[0].like.target_ports, [Some(8443)]);
    let Ok(Compiled::Endpoints(_, addresses, hosts)) = wire("192.0.2.7") else {
        panic!("not endpoints")
    };
    assert_eq!(
        addresses.endpoints[0].ip,
        std::net::IpAddr::from([192, 0, 2, 7])
    );
    assert!(hosts.is_empty());
    let refused = wire("no host").unwrap_err().to_string();
    assert!(refused.starts_with("endpoints[0].host: "), "{refused}");
    let refused = wire("").unwrap_err().to_string();
    assert!(refused.starts_with("endpoints[0].address: "), "{refused}");
}

#[test]
fn a_pod_may_be_kept_to_the_registry() {
    let outbound = |number| {
        let bytes = workload(|w| w.outbound = number).encode_to_vec();
        match compile(Kind::Workload, "default/a", &bytes) {
            Ok(Compiled::Workload(workload)) => Ok(workload.registry_only),
            Ok(_) => panic!("not a workload"),
            Err(refusal) => Err(refusal.to_string()),
        }
    };
    assert_eq!((outbound(0), outbound(1)), (Ok(false), Ok(true)));
    assert!(outbound(7).unwrap_err().starts_with("outbound: 7"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_panic(
        kind in proptest::sample::select(&Kind::ALL[..]),
        name in prop_oneof!["\\PC{0,12}", Just("default/a".to_owned()), Just("10.0.0.1".to_owned())],
        random in proptest::collection::vec(any::<u8>(), 0..64),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let _ = compile(kind, &name, &random);
        let mut damaged = good(kind);
        for (at, byte) in damage {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        let _ = compile(kind, &name, &damaged);
    }

    #[test]
    fn no_regex_panics_or_is_slow_to_refuse(pattern in "[a-c\\[\\]()&~|*+?{}0-9,\\\\^$.:QE-]{0,40}") {
        let started = std::time::Instant::now();
        let _ = heddle_proxy_config::route::Regex::new(&pattern);
        prop_assert!(started.elapsed() < Duration::from_secs(2), "{}", pattern);
    }
}
