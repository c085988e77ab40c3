//! Slips in what routes do and in how clients connect: each is found, at its place, by name.

use super::*;

/// What is said of the first problem of a VirtualService with this HTTP rule, which begins in line 8.
fn of_rule(rule: &str) -> Refusal {
    let rule = rule.replace('\n', "\n    ");
    let route = "- route:\n    - destination: {host: reviews}";
    first(&ROUTE.replace(route, &format!("- {rule}")))
}

/// The same of a DestinationRule with this policy, which begins in line 7.
fn of_policy(policy: &str) -> Refusal {
    let policy = policy.replace('\n', "\n    ");
    first(&format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec:\n  \
         host: reviews\n  trafficPolicy:\n    {policy}\n"
    ))
}

fn first(file: &str) -> Refusal {
    let mut found = refusals(file);
    assert!(!found.is_empty(), "nothing found in\n{file}");
    found.remove(0)
}

fn check(cases: &[(&str, &str)], line: u32, find: impl Fn(&str) -> Refusal) {
    for (text, reason) in cases {
        let refusal = find(text);
        assert!(refusal.to_string().contains(reason), "{refusal}\n{text}");
        assert!(
            refusal.at.line >= line && refusal.at.column > 1,
            "{refusal}"
        );
    }
}

#[test]
fn slips_in_what_a_rule_does_are_found() {
    const TO: &str = "route: [{destination: {host: reviews}}]";
    let with_route: [(&str, &str); 32] = [
        (
            "redirect: {uri: /a}",
            "redirect: nothing is sent on, so `route`",
        ),
        (
            "directResponse: {status: 200}",
            "directResponse: nothing is sent on, so `route`",
        ),
        ("fault: {}", "it names neither delay nor abort"),
        (
            "fault: {delay: {fixedDelay: 0s}}",
            "fault.delay.fixedDelay: it must be at least 1ms",
        ),
        (
            "fault: {delay: {percentage: {value: 1}}}",
            "the field `fixedDelay` is missing",
        ),
        (
            "fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}",
            "101 is not from 0 to 100",
        ),
        (
            "fault: {delay: {fixedDelay: 1s, percent: 101}}",
            "101 is not from 0 to 100",
        ),
        (
            "fault: {abort: {}}",
            "exactly one of httpStatus and grpcStatus",
        ),
        (
            "fault: {abort: {httpStatus: 99}}",
            "httpStatus: 99 is not from 200 to 599",
        ),
        (
            "fault: {abort: {grpcStatus: UNAVAILBLE}}",
            "did you mean `UNAVAILABLE`?",
        ),
        (
            "fault: {abort: {httpStatus: 500, percentage: {value: -1}}}",
            "-1 is not from 0 to 100",
        ),
        (
            "fault: {abort: {http2Error: x}}",
            "http2Error is not supported yet",
        ),
        ("rewrite: {uri: a}", "rewrite.uri: \"a\" is no path"),
        (
            "rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}",
            "only one of uri and uriRegexRewrite",
        ),
        (
            "rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}",
            "does not compile",
        ),
        (
            "rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\\2'}}",
            "the regex has 1 groups",
        ),
        (
            "rewrite: {uriRegexRewrite: {match: a, rewrite: '\\x'}}",
            "must be followed by a digit",
        ),
        (
            "rewrite: {authority: 'a b'}",
            "rewrite.authority: \"a b\" is no host",
        ),
        (
            "mirror: {host: a}\nmirrors: [{destination: {host: b}}]",
            "only one of mirror and mirrors",
        ),
        (
            "mirror: {host: a}\nmirrorPercentage: {value: 100.5}",
            "100.5 is not from 0 to 100",
        ),
        (
            "mirrorPercentage: {value: 1}",
            "there is no `mirror` beside it",
        ),
        (
            "mirrors: [{destination: {host: 'a b'}}]",
            "mirrors[0].destination.host",
        ),
        (
            "corsPolicy: {allowMethods: ['G T']}",
            "allowMethods[0]: \"G T\" is no name",
        ),
        (
            "corsPolicy: {allowOrigins: [{regex: '('}]}",
            "does not compile",
        ),
        (
            "headers: {request: {set: {'a b': c}}}",
            "this is no header name",
        ),
        (
            "headers: {request: {add: {Host: c}}}",
            "use `rewrite.authority`",
        ),
        (
            "headers: {response: {set: {':path': c}}}",
            "a pseudo-header is not changed here",
        ),
        (
            "headers: {response: {remove: [Content-Length]}}",
            "this header is the proxies' own",
        ),
        ("headers: {request: {set: {a: '%REQ(b)%'}}}", "variables"),
        (
            "retries: {attempts: 1, backoff: 0s}",
            "retries.backoff: it must be at least 1ms",
        ),
        (
            "retries: {attempts: 1, retryRemoteLocalities: true}",
            "retryRemoteLocalities is not supported yet",
        ),
        (
            "retries: {attempts: 1, retryOn: envoy-ratelimited}",
            "unknown condition `envoy-ratelimited`",
        ),
    ];
    check(&with_route, 8, |text| of_rule(&format!("{text}\n{TO}")));
    let alone = [
        (
            "redirect: {uri: /a}\ndirectResponse: {status: 200}",
            "only one of redirect and directResponse",
        ),
        (
            "redirect: {uri: /a}\nretries: {attempts: 1}",
            "so `retries` has no meaning here",
        ),
        ("redirect: {uri: a}", "redirect.uri: \"a\" is no path"),
        ("redirect: {uri: '/a?b=c'}", "is no path"),
        ("redirect: {redirectCode: 305}", "305 is no redirect"),
        ("redirect: {scheme: ftp}", "use `http` or `https`"),
        ("redirect: {port: 0}", "0 is no port"),
        (
            "redirect: {port: 80, derivePort: FROM_PROTOCOL_DEFAULT}",
            "only one of port and derivePort",
        ),
        (
            "redirect: {scheme: https, derivePort: FROM_REQUEST_PORT}",
            "FROM_REQUEST_PORT is not supported",
        ),
        ("directResponse: {status: 99}", "99 is not from 200 to 599"),
        (
            "directResponse: {status: 200, body: {bytes: YQ==}}",
            "body.bytes is not supported yet",
        ),
    ];
    check(&alone, 8, of_rule);
    let sticky = ROUTE.replace(
        "  name: r\n",
        "  name: r\n  annotations:\n    heddle.io/sticky: by magic\n",
    );
    let refusal = first(&sticky);
    assert_eq!((refusal.at.line, refusal.at.column), (6, 23), "{refusal}");
    let tls = ROUTE.replace("  http:", "  tls:");
    assert!(
        first(&tls)
            .reason
            .contains("spec.tls[0]: it has no `match`")
    );
    let tls = tls.replace("  - route:", "  - match: [{port: 1}]\n    route:");
    assert!(first(&tls).reason.contains("it has no `sniHosts`"));
}

#[test]
fn slips_in_how_clients_connect_are_found() {
    let cases: [(&str, &str); 45] = [
        ("loadBalancer: {simple: RANDM}", "did you mean `RANDOM`?"),
        (
            "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
            "only one of simple and consistentHash",
        ),
        (
            "loadBalancer: {consistentHash: {}}",
            "it needs exactly one key",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: false}}",
            "it needs exactly one key",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: a}}",
            "it needs exactly one key",
        ),
        (
            "loadBalancer: {consistentHash: {httpHeaderName: 'a b'}}",
            "this is no header name",
        ),
        (
            "loadBalancer: {consistentHash: {httpCookie: {name: ''}}}",
            "this is no cookie's name",
        ),
        (
            "loadBalancer: {consistentHash: {httpQueryParameterName: ''}}",
            "it is empty",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}",
            "only one of ringHash, maglev",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}",
            "100 is not a prime",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 1048583}}}",
            "1048583 is not a prime up to",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9000000}}}",
            "9000000 is above",
        ),
        (
            "loadBalancer: {warmup: {duration: 0s}}",
            "warmup.duration: it must be at least 1ms",
        ),
        (
            "loadBalancer: {warmup: {duration: 1s, aggression: {value: 2}}}",
            "aggression is not supported yet",
        ),
        (
            "loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}",
            "`warmup` says the same",
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: 'a/*', to: {b: 99}}]}}",
            "the shares total 99, not 100",
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: '*/a', to: {b: 100}}]}}",
            "\"*/a\" is no place",
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b//c: 100}}]}}",
            "\"b//c\" is no place",
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]}}",
            "only one of distribute and failover",
        ),
        (
            "loadBalancer: {localityLbSetting: {failover: [{from: a/b, to: c}]}}",
            "\"a/b\" is no region",
        ),
        (
            "loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}",
            "from a region to itself",
        ),
        (
            "loadBalancer: {localityLbSetting: {failoverPriority: ['=x']}}",
            "a label's name is missing",
        ),
        (
            "connectionPool: {tcp: {maxConnections: -1}}",
            "out of range",
        ),
        (
            "connectionPool: {tcp: {connectTimeout: 0s}}",
            "connectTimeout: it must be at least 1ms",
        ),
        (
            "connectionPool: {tcp: {idleTimeout: 1s}}",
            "idleTimeout is not supported yet",
        ),
        (
            "connectionPool: {tcp: {tcpKeepalive: {time: 10ms}}}",
            "it must be at least 1s",
        ),
        (
            "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}",
            "UPGRADE is not supported yet",
        ),
        (
            "connectionPool: {http: {useClientProtocol: false}}",
            "false is not supported",
        ),
        (
            "connectionPool: {http: {maxConcurrentStreams: 1}}",
            "maxConcurrentStreams is not supported yet",
        ),
        (
            "outlierDetection: {maxEjectionPercent: 101}",
            "101 is not from 0 to 100",
        ),
        (
            "outlierDetection: {minHealthPercent: 101}",
            "101 is not from 0 to 100",
        ),
        (
            "outlierDetection: {interval: 0s}",
            "interval: it must be at least 1ms",
        ),
        (
            "outlierDetection: {baseEjectionTime: 0s}",
            "baseEjectionTime: it must be at least 1ms",
        ),
        (
            "outlierDetection: {consecutiveErrors: 1}",
            "consecutiveErrors is not supported yet",
        ),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 1}",
            "it counts only beside",
        ),
        ("tls: {}", "the field `mode` is missing"),
        (
            "tls: {mode: MUTUAL, privateKey: /k}",
            "tls.clientCertificate: mode MUTUAL needs it",
        ),
        (
            "tls: {mode: SIMPLE, clientCertificate: /c}",
            "shows no certificate",
        ),
        (
            "tls: {mode: ISTIO_MUTUAL, privateKey: /k}",
            "it has no meaning in this mode",
        ),
        (
            "tls: {mode: SIMPLE, caCertificates: ca.pem}",
            "it is no path from `/`",
        ),
        (
            "tls: {mode: SIMPLE, credentialName: a}",
            "credentialName is not supported yet",
        ),
        ("retryBudget: {percent: 200}", "200 is not above 0"),
        (
            "portLevelSettings: [{tls: {mode: DISABLE}}]",
            "the field `port` is missing",
        ),
        ("portLevelSettings: [{port: {number: 0}}]", "0 is no port"),
        (
            "portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]",
            "port 1 is there twice",
        ),
    ];
    check(&cases, 7, of_policy);
    let nested =
        of_policy("portLevelSettings:\n- port: {number: 1}\n  outlierDetection: {interval: 0s}");
    assert_eq!((nested.at.line, nested.at.column), (9, 36), "{nested}");
    assert!(
        nested
            .reason
            .starts_with("spec.trafficPolicy.portLevelSettings[0].outlierDetection.interval"),
        "{nested}"
    );
}

/// The same of a ServiceEntry with this spec, which begins in line 5.
fn of_entry(spec: &str) -> Refusal {
    let spec = spec.replace('\n', "\n  ");
    first(&format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec:\n  {spec}\n"
    ))
}

#[test]
fn slips_in_services_of_elsewhere_are_found() {
    let cases = [
        ("hosts: []", "no host is named"),
        ("hosts: [api]", "\"api\" is no full name"),
        ("hosts: ['*']", "\"*\" is no full name"),
        ("hosts: ['a b.c']", "is no host name"),
        ("hosts: [a.b, A.b]", "\"A.b\" is there twice"),
        (
            "hosts: ['*.a.b']\nresolution: DNS",
            "a pattern cannot be resolved",
        ),
        (
            "hosts: [a.b]\nresolution: DYNAMIC",
            "unknown value `DYNAMIC`",
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\naddresses: [10.0.0.0/8]",
            "10.0.0.0/8 is a range",
        ),
        (
            "hosts: [a.b]\naddresses: [x]",
            "\"x\" is no IP and no range",
        ),
        ("hosts: [a.b]\nports: [{number: 0}]", "0 is no port"),
        (
            "hosts: [a.b]\nports: [{number: 1}, {number: 1}]",
            "1 is there twice",
        ),
        (
            "hosts: [a.b]\nports: [{number: 1, name: a}, {number: 2, name: a}]",
            "`a` is there twice",
        ),
        (
            "hosts: [a.b]\nports: [{number: 1, protocol: HTPS}]",
            "did you mean `HTTPS`?",
        ),
        (
            "hosts: [a.b]\nports: [{number: 1, protocol: UDP}]",
            "unknown protocol `UDP`",
        ),
        (
            "hosts: [a.b]\nexportTo: [Shop]",
            "`Shop` cannot be the name of a namespace",
        ),
        (
            "hosts: [a.b]\nendpoints: [{address: 10.0.0.1}]",
            "with resolution NONE",
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: c.d}]",
            "use resolution DNS for names",
        ),
        (
            "hosts: [a.b]\nresolution: DNS\nendpoints: [{address: 'unix:///x'}]",
            "is no host name",
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\nports: [{number: 1, name: http}]\nendpoints: [{address: 10.0.0.1, ports: {htpp: 2}}]",
            "did you mean `http`?",
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 10.0.0.1, network: n}]",
            "network is not supported yet",
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\nworkloadSelector: {}",
            "it has no labels",
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 10.0.0.1}]\nworkloadSelector: {labels: {a: b}}",
            "endpoints are listed beside it",
        ),
        (
            "hosts: [a.b]\nsubjectAltNames: [a]",
            "subjectAltNames is not supported yet",
        ),
    ];
    for (spec, reason) in cases {
        let refusal = of_entry(spec);
        assert!(refusal.to_string().contains(reason), "{refusal}\n{spec}");
        // Nothing is said of a place that is not there.
        assert!(refusal.at.line >= 5 || spec == "hosts: []", "{refusal}");
    }
}

#[test]
fn what_a_sidecar_cannot_do_is_refused() {
    let of = |spec: &str| {
        first(&format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{{spec}}}\n"
        ))
    };
    for (spec, reason) in [
        ("egress: [{hosts: [reviews]}]", "names no namespace"),
        (
            "egress: [{hosts: ['./*', 'Shop/*']}]",
            "`Shop` cannot be the name of a namespace",
        ),
        ("egress: [{hosts: [./reviews]}]", "not a full name"),
        ("egress: [{hosts: ['*/a b.c']}]", "is no host name"),
        ("egress: [{hosts: []}]", "nothing is named"),
        (
            "egress: [{hosts: ['*/*'], port: {number: 1}}]",
            "port is not supported yet",
        ),
        ("ingress: []", "spec.ingress is not supported yet"),
        (
            "outboundTrafficPolicy: {mode: REGISTRY_ONY}",
            "did you mean",
        ),
    ] {
        let refusal = of(spec);
        assert!(refusal.to_string().contains(reason), "{refusal}");
        assert_eq!(refusal.at.line, 4, "{refusal}");
    }
}
