//! Messages as the control plane sends them, made at random from a small alphabet, so that requests
//! and rules often meet.

use heddle_proto::mesh::{
    Destination, Endpoint, Endpoints, Fault, Header, HeaderChanges, Health, HttpMatch, HttpRule,
    InboundPort, Millis, Mirror, MtlsMode, NamedMatch, PathRewrite, Port, Protocol, Redirect,
    RetryPolicy, Rewrite, RouteTable, Service, StringMatch, Workload, fault, header_changes,
    http_rule, path_rewrite, string_match,
};
use heddle_proxy_config::decision::Asked;
use proptest::prelude::*;

pub(crate) const SERVICES: [&str; 2] = ["default/web", "default/other"];
const SUBSETS: &[&str] = &["", "v1", "v2"];
const PATHS: &[&str] = &["/", "/a", "/a/b", "/ab", "/A", "/b", "/a/b/c"];
const VALUES: &[&str] = &["x", "y", "xy", ""];
const REGEXES: &[&str] = &["x.*", "/a.*", "/(a|b)", "GET|PUT", ".*"];

pub(crate) fn service(name: &str) -> Service {
    let (namespace, own) = name.split_once('/').unwrap();
    Service {
        namespace: namespace.into(),
        name: own.into(),
        addresses: Vec::new(),
        hosts: vec![format!("{own}.{namespace}.svc.cluster.local")],
        ports: vec![Port {
            number: 80,
            name: "http".into(),
            protocol: Protocol::Http1.into(),
        }],
        ..Service::default()
    }
}

pub(crate) fn endpoint(n: u8) -> Endpoint {
    Endpoint {
        address: format!("10.0.0.{n}"),
        target_ports: vec![8080],
        subsets: vec![u32::from(n % 2)],
        identity: "spiffe://cluster.local/ns/default/sa/web".into(),
        workload: format!("default/web-{n}"),
        ..Endpoint::default()
    }
}

pub(crate) fn endpoints() -> Endpoints {
    Endpoints {
        service_ports: vec![80],
        subset_names: vec!["v1".into(), "v2".into()],
        endpoints: vec![
            endpoint(1),
            Endpoint {
                health: Health::Draining.into(),
                ..endpoint(2)
            },
        ],
    }
}

pub(crate) fn workload() -> Workload {
    Workload {
        namespace: "default".into(),
        name: "client".into(),
        identity: "spiffe://cluster.local/ns/default/sa/client".into(),
        mtls: MtlsMode::Strict.into(),
        mtls_origin: "PeerAuthentication/default/client (p.yaml:7)".into(),
        ports: vec![InboundPort {
            number: 9090,
            mtls: MtlsMode::Permissive.into(),
            mtls_origin: "PeerAuthentication/default/client (p.yaml:9)".into(),
            ..InboundPort::default()
        }],
        ..Workload::default()
    }
}

fn select(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(texts).prop_map(str::to_owned)
}

fn string_match(texts: &'static [&'static str]) -> impl Strategy<Value = StringMatch> {
    use string_match::Kind;
    let kind = prop_oneof![
        4 => select(texts).prop_map(Kind::Exact),
        3 => select(texts).prop_map(Kind::Prefix),
        1 => select(REGEXES).prop_map(Kind::Regex),
        1 => Just(Kind::Present(true)),
    ];
    kind.prop_map(|kind| StringMatch { kind: Some(kind) })
}

fn named(names: &'static [&'static str]) -> impl Strategy<Value = NamedMatch> {
    (select(names), string_match(VALUES)).prop_map(|(name, value)| NamedMatch {
        name,
        value: Some(value),
    })
}

const HEADERS: &[&str] = &["x-user", "X-Debug", ":authority", ":method"];

prop_compose! {
    fn http_match()(
        path in proptest::option::weighted(0.6, string_match(PATHS)),
        path_segments in proptest::option::weighted(0.2, select(PATHS)),
        ignore_path_case: bool,
        method in proptest::option::weighted(0.2, string_match(&["GET", "PUT"])),
        authority in proptest::option::weighted(0.1, string_match(&["web", "web:80"])),
        headers in proptest::collection::vec(named(HEADERS), 0..2),
        without_headers in proptest::collection::vec(named(&["x-user", "x-debug"]), 0..2),
        query in proptest::collection::vec(named(&["q", "r"]), 0..2),
        port in proptest::sample::select(&[0_u32, 0, 0, 80, 81][..]),
    ) -> HttpMatch {
        let segments = path_segments.unwrap_or_default();
        HttpMatch {
            path: path.filter(|_| segments.is_empty()),
            path_segments: segments,
            ignore_path_case, method, authority, headers, without_headers, query, port,
            ..HttpMatch::default()
        }
    }
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let prefix = (
        select(PATHS),
        select(&["/", "/new", "/new/"]),
        any::<bool>(),
    )
        .prop_map(|(prefix, replacement, segments)| {
            path_rewrite::Kind::Prefix(path_rewrite::PrefixRewrite {
                prefix,
                replacement,
                segments,
            })
        });
    let full = select(&["/full"]).prop_map(path_rewrite::Kind::Full);
    let path = proptest::option::of(prop_oneof![prefix, full]);
    (path, select(&["", "else.example"])).prop_map(|(kind, authority)| Rewrite {
        path: kind.map(|kind| PathRewrite { kind: Some(kind) }),
        authority,
    })
}

prop_compose! {
    fn destination()(
        service in select(&SERVICES),
        subset in select(SUBSETS),
        weight in 0_u32..5,
        rewrite in proptest::option::weighted(0.2, rewrite()),
        invalid in proptest::option::weighted(0.1, Just("no such service".to_owned())),
    ) -> Destination {
        Destination { service, subset, weight, rewrite, invalid: invalid.unwrap_or_default(), ..Destination::default() }
    }
}

fn answer() -> impl Strategy<Value = http_rule::Answer> {
    let redirect = (
        select(&["", "https"]),
        select(&["", "away.example"]),
        proptest::sample::select(&[301_u32, 302, 308][..]),
        proptest::option::of(select(&["/there"])),
    );
    let redirect = redirect.prop_map(|(scheme, authority, status, path)| {
        let path = path.map(|path| PathRewrite {
            kind: Some(path_rewrite::Kind::Full(path)),
        });
        http_rule::Answer::Redirect(Redirect {
            scheme,
            authority,
            port: 0,
            path,
            status,
            ..Redirect::default()
        })
    });
    let direct = proptest::sample::select(&[200_u32, 418, 503][..]).prop_map(|status| {
        http_rule::Answer::DirectResponse(heddle_proto::mesh::DirectResponse {
            status,
            ..Default::default()
        })
    });
    prop_oneof![redirect, direct]
}

prop_compose! {
    fn rule()(
        matches in proptest::collection::vec(http_match(), 0..3),
        destinations in proptest::collection::vec(destination(), 1..4),
        answer in proptest::option::weighted(0.2, answer()),
        timeout in proptest::option::of(1_u64..5000),
        attempts in proptest::option::of(0_u32..4),
        delay in proptest::option::weighted(0.2, 1_u32..1_000_000),
        abort in proptest::option::weighted(0.2, 1_u32..1_000_000),
        mirror in proptest::option::weighted(0.2, (destination(), 1_u32..1_000_000)),
        rewrite in proptest::option::weighted(0.4, rewrite()),
        set in proptest::option::weighted(0.2, select(VALUES)),
    ) -> HttpRule {
        let delay = delay.map(|ppm| fault::Delay { fixed: Some(Millis { millis: 5 }), ppm });
        let abort = abort.map(|ppm| fault::Abort { status: Some(fault::abort::Status::Http(503)), ppm });
        let fault = (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort });
        let mut destinations = destinations;
        // Several of which none has a weight are refused.
        if destinations.len() > 1 && destinations.iter().all(|to| to.weight == 0) {
            destinations[0].weight = 1;
        }
        HttpRule {
            matches,
            destinations: if answer.is_some() { Vec::new() } else { destinations },
            timeout: timeout.map(|millis| Millis { millis }),
            retries: attempts.map(|attempts| RetryPolicy { attempts, ..RetryPolicy::default() }),
            fault,
            mirrors: mirror.into_iter().map(|(destination, ppm)| Mirror {
                destination: Some(Destination { rewrite: None, invalid: String::new(), ..destination }),
                ppm,
            }).collect(),
            rewrite: rewrite.filter(|_| answer.is_none()),
            headers: set.map(|value| HeaderChanges {
                request: Some(header_changes::Changes {
                    set: vec![Header { name: "x-set".into(), value }],
                    ..Default::default()
                }),
                response: None,
            }),
            answer,
            ..HttpRule::default()
        }
    }
}

/// Rules that a sidecar accepts, each of its own origin.
pub(crate) fn table() -> impl Strategy<Value = RouteTable> {
    proptest::collection::vec(rule(), 0..6).prop_map(|mut http| {
        for (place, rule) in http.iter_mut().enumerate() {
            rule.origin = format!(
                "VirtualService/default/web#{place} (web.yaml:{})",
                place + 1
            );
        }
        RouteTable {
            http,
            ..RouteTable::default()
        }
    })
}

prop_compose! {
    pub(crate) fn request()(
        path in select(PATHS),
        query in proptest::option::of(select(&["q=x", "r=y&q=xy", "q", "", "s=x"])),
        method in select(&["GET", "PUT", "POST"]),
        authority in select(&["web", "web:80", "other"]),
        headers in proptest::collection::vec((select(&["x-user", "x-debug"]), select(VALUES)), 0..3),
    ) -> Asked {
        let path = match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        Asked { host: "web".into(), port: 80, method, path, authority, headers, ..Asked::default() }
    }
}
