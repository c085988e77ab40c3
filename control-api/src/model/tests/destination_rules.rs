//! How clients connect: what a DestinationRule's policies become, merged and for whom.

use heddle_proto::mesh::{
    LoadBalancer, TrafficPolicy,
    client_tls::Mode,
    consistent_hash::{Key, Table},
    load_balancer::{Algorithm, Simple},
};

use super::*;

/// A rule for a host in a namespace; `spec` continues after the host.
fn rule(name: &str, namespace: &str, host: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  host: '{host}'\n{spec}"
    )
}

/// Policies of ratings as clients of a namespace see them: subset, port, policy.
fn policies(model: &Model, namespace: &str) -> Vec<(String, u32, TrafficPolicy)> {
    service(model, "default/ratings", namespace)
        .policies
        .into_iter()
        .map(|scoped| (scoped.subset, scoped.port, scoped.policy.unwrap()))
        .collect()
}

fn only(spec: &str) -> TrafficPolicy {
    let mut model = model(REVIEWS);
    let spec = format!("  trafficPolicy:\n{spec}");
    model.apply(batch(&rule("r", "default", "ratings", &spec)).changes);
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());
    let [(_, 0, policy)] = &policies(&model, "default")[..] else {
        panic!("one policy")
    };
    policy.clone()
}

fn simple(balancer: Option<&LoadBalancer>) -> Option<Simple> {
    match balancer?.algorithm {
        Some(Algorithm::Simple(simple)) => Simple::try_from(simple).ok(),
        _ => None,
    }
}

#[test]
fn every_field_reaches_the_wire() {
    let policy = only(
        "    connectionPool:
      tcp:
        maxConnections: 10
        connectTimeout: 2s
        tcpKeepalive: {time: 60s, interval: 5s, probes: 3}
        maxConnectionDuration: 1h
      http:
        http1MaxPendingRequests: 11
        http2MaxRequests: 12
        maxRequestsPerConnection: 13
        maxRetries: 14
        idleTimeout: 15s
        h2UpgradePolicy: DO_NOT_UPGRADE
        useClientProtocol: true
    outlierDetection:
      consecutive5xxErrors: 0
      consecutiveGatewayErrors: 2
      splitExternalLocalOriginErrors: true
      consecutiveLocalOriginFailures: 3
      interval: 4s
      baseEjectionTime: 5s
      maxEjectionPercent: 100
      minHealthPercent: 6
    tls:
      mode: MUTUAL
      clientCertificate: /c
      privateKey: /k
      caCertificates: /ca
      sni: a.example
      subjectAltNames: [b.example]
      insecureSkipVerify: true
    retryBudget: {percent: 12.5, minRetryConcurrency: 4}
",
    );
    assert!(
        policy
            .origin
            .starts_with("DestinationRule/default/r (test.yaml:7"),
        "{}",
        policy.origin
    );
    let millis = |millis: &Option<mesh::Millis>| millis.as_ref().map(|m| m.millis);
    let pool = policy.connection_pool.unwrap();
    let keepalive = pool.tcp_keepalive.unwrap();
    assert_eq!(
        (
            pool.max_connections,
            millis(&pool.connect_timeout),
            millis(&pool.max_connection_duration)
        ),
        (10, Some(2000), Some(3_600_000))
    );
    assert_eq!(
        (
            millis(&keepalive.time),
            millis(&keepalive.interval),
            keepalive.probes
        ),
        (Some(60_000), Some(5000), 3)
    );
    assert_eq!(
        (
            pool.max_pending_requests,
            pool.max_requests,
            pool.max_requests_per_connection
        ),
        (11, 12, 13)
    );
    assert_eq!(
        (pool.max_retries, millis(&pool.idle_timeout)),
        (14, Some(15_000))
    );
    let outliers = policy.outlier_detection.unwrap();
    assert_eq!(
        (
            outliers.consecutive_5xx,
            outliers.consecutive_gateway_errors,
            outliers.consecutive_local_failures
        ),
        (Some(0), Some(2), Some(3))
    );
    assert_eq!(
        (
            outliers.split_local_failures,
            millis(&outliers.interval),
            millis(&outliers.base_ejection_time)
        ),
        (true, Some(4000), Some(5000))
    );
    assert_eq!(
        (outliers.max_ejection_percent, outliers.min_health_percent),
        (Some(100), 6)
    );
    let tls = policy.tls.unwrap();
    assert_eq!(
        (
            tls.mode(),
            &*tls.client_certificate,
            &*tls.private_key,
            &*tls.ca_certificates
        ),
        (Mode::Mutual, "/c", "/k", "/ca")
    );
    assert_eq!(
        (
            &*tls.sni,
            &tls.subject_alt_names[..],
            tls.insecure_skip_verify
        ),
        ("a.example", &["b.example".to_owned()][..], true)
    );
    let budget = policy.retry_budget.unwrap();
    assert_eq!((budget.percent, budget.min_retries), (13, 4));
}

#[test]
fn algorithms_are_told_apart() {
    for (text, wanted) in [
        ("RANDOM", Simple::Random),
        ("ROUND_ROBIN", Simple::RoundRobin),
        ("LEAST_REQUEST", Simple::LeastRequest),
        ("LEAST_CONN", Simple::LeastRequest),
        ("PASSTHROUGH", Simple::Passthrough),
        ("UNSPECIFIED", Simple::Unspecified),
    ] {
        let policy = only(&format!(
            "    loadBalancer: {{simple: {text}, warmup: {{duration: 30s}}}}\n"
        ));
        let balancer = policy.load_balancer.unwrap();
        assert_eq!(simple(Some(&balancer)), Some(wanted));
        assert_eq!(balancer.warmup.unwrap().millis, 30_000);
        assert_eq!((balancer.locality, balancer.panic_percent), (None, 0));
    }
    let cookie = |ttl| {
        Key::Cookie(mesh::Cookie {
            name: "who".into(),
            path: "/".into(),
            ttl,
        })
    };
    for (text, key, table) in [
        ("httpHeaderName: X-User", Key::Header("x-user".into()), None),
        ("httpCookie: {name: who, path: /}", cookie(None), None),
        (
            "httpCookie: {name: who, path: /, ttl: 0s}",
            cookie(Some(mesh::Millis { millis: 0 })),
            None,
        ),
        (
            "useSourceIp: true, ringHash: {minimumRingSize: 9}",
            Key::SourceIp(true),
            Some(Table::MinimumRingSize(9)),
        ),
        (
            "useSourceIp: true, minimumRingSize: 8",
            Key::SourceIp(true),
            Some(Table::MinimumRingSize(8)),
        ),
        (
            "httpQueryParameterName: q, maglev: {}",
            Key::QueryParameter("q".into()),
            Some(Table::MaglevSize(0)),
        ),
        (
            "httpQueryParameterName: q, maglev: {tableSize: 251}",
            Key::QueryParameter("q".into()),
            Some(Table::MaglevSize(251)),
        ),
    ] {
        let policy = only(&format!(
            "    loadBalancer: {{consistentHash: {{{text}}}, warmupDurationSecs: 5s}}\n"
        ));
        let balancer = policy.load_balancer.unwrap();
        assert_eq!(balancer.warmup.unwrap().millis, 5000);
        let Some(Algorithm::ConsistentHash(hash)) = balancer.algorithm else {
            panic!("{text}")
        };
        assert_eq!((hash.key, hash.table), (Some(key), table), "{text}");
    }
}

#[test]
fn places_are_preferred_where_endpoints_are_watched() {
    let locality = |spec: &str| only(spec).load_balancer.and_then(|lb| lb.locality);
    let near = mesh::LocalityPolicy {
        failover_enabled: true,
        ..Default::default()
    };
    assert_eq!(locality("    connectionPool: {}\n"), None);
    assert_eq!(locality("    outlierDetection: {}\n"), Some(near.clone()));
    assert_eq!(
        locality("    loadBalancer: {localityLbSetting: {}}\n"),
        Some(near)
    );
    let off = "    outlierDetection: {}\n    loadBalancer: {localityLbSetting: {enabled: false}}\n";
    assert_eq!(locality(off), Some(mesh::LocalityPolicy::default()));
    let shares = locality("    loadBalancer:\n      localityLbSetting:\n        distribute:\n        - from: eu/a/*\n          to: {'eu/a/*': 80, eu/b: 20}\n").unwrap();
    assert!(!shares.failover_enabled);
    assert_eq!(
        (
            &*shares.distribute[0].from,
            shares.distribute[0].to["eu/a/*"],
            shares.distribute[0].to["eu/b"]
        ),
        ("eu/a/*", 80, 20)
    );
    let order = locality("    loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}], failoverPriority: [rack, 'tier=gold']}}\n").unwrap();
    assert_eq!(
        (&*order.failover[0].from, &*order.failover[0].to),
        ("eu", "us")
    );
    assert_eq!(order.failover_priority, ["rack", "tier=gold"]);
}

#[test]
fn a_subset_overrides_by_component_and_a_port_replaces_everything() {
    let spec = "  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 1}}
    retryBudget: {percent: 50}
    portLevelSettings:
    - port: {number: 9080}
      connectionPool: {tcp: {maxConnections: 2}}
  subsets:
  - name: plain
  - name: own
    trafficPolicy:
      loadBalancer: {simple: ROUND_ROBIN}
  - name: port
    trafficPolicy:
      tls: {mode: DISABLE}
      portLevelSettings:
      - port: {number: 9080}
        outlierDetection: {}
";
    let mut model = model(REVIEWS);
    model.apply(batch(&rule("r", "default", "ratings", spec)).changes);
    let found = policies(&model, "default");
    let shown: Vec<_> = found
        .iter()
        .map(|(subset, port, policy)| {
            let connections = policy.connection_pool.as_ref().map(|p| p.max_connections);
            let tls = policy.tls.as_ref().map(|tls| tls.mode());
            let simple = simple(policy.load_balancer.as_ref());
            (
                subset.as_str(),
                *port,
                simple,
                connections,
                tls,
                policy.outlier_detection.is_some(),
            )
        })
        .collect();
    let round_robin = Some(Simple::RoundRobin);
    assert_eq!(
        shown,
        [
            ("", 0, Some(Simple::Random), Some(1), None, false),
            ("", 9080, None, Some(2), None, false),
            ("own", 0, round_robin, Some(1), None, false),
            ("own", 9080, round_robin, Some(2), None, false),
            (
                "port",
                0,
                Some(Simple::Random),
                Some(1),
                Some(Mode::Disable),
                false
            ),
            ("port", 9080, None, None, None, true),
        ]
    );
    assert!(
        found
            .iter()
            .all(|(_, _, policy)| policy.retry_budget.as_ref().unwrap().percent == 50)
    );

    let warnings: Vec<_> = model
        .warnings()
        .into_iter()
        .filter(|w| w.reason.contains("replaces everything"))
        .collect();
    let lost: Vec<_> = warnings
        .iter()
        .map(|w| (w.at.line, w.reason.as_str()))
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(
        lost.iter().any(|(line, reason)| *line == 11
            && reason.contains("portLevelSettings[0]")
            && reason.contains("loadBalancer from above")),
        "{lost:?}"
    );
    assert!(
        lost.iter().any(|(line, reason)| *line == 22
            && reason.contains("loadBalancer, connectionPool, tls from above")),
        "{lost:?}"
    );
}

#[test]
fn the_clients_rules_come_before_the_services_and_the_meshs() {
    let policy = |size: u32| {
        format!("  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {size}}}}}}}\n")
    };
    let host = "ratings.default.svc.cluster.local";
    let seen = |model: &Model, namespace: &str| -> Vec<u32> {
        let found = policies(model, namespace);
        found
            .iter()
            .map(|(_, _, p)| p.connection_pool.as_ref().unwrap().max_connections)
            .collect()
    };
    let mut model = model(REVIEWS);
    let of_mesh = rule("m", "heddle-system", "*.svc.cluster.local", &policy(1));
    model.apply(batch(&of_mesh).changes);
    assert_eq!(
        (seen(&model, "default"), seen(&model, "shop")),
        (vec![1], vec![1])
    );
    model.apply(
        batch(&rule(
            "w",
            "default",
            "*.default.svc.cluster.local",
            &policy(2),
        ))
        .changes,
    );
    assert_eq!(
        (seen(&model, "default"), seen(&model, "shop")),
        (vec![2], vec![2])
    );
    model.apply(batch(&rule("s", "default", "ratings", &policy(3))).changes);
    assert_eq!(
        (seen(&model, "default"), seen(&model, "shop")),
        (vec![3], vec![3])
    );
    let dirty = model.apply(batch(&rule("c", "shop", host, &policy(4))).changes);
    assert!(dirty.services.contains("default/ratings"));
    assert_eq!(
        (seen(&model, "default"), seen(&model, "shop")),
        (vec![3], vec![4])
    );
    // The second of a host is not in force, and that is said.
    model.apply(batch(&rule("t", "default", "ratings", &policy(5))).changes);
    assert_eq!(seen(&model, "default"), [3]);
    let warnings = model.warnings();
    assert!(
        warnings
            .iter()
            .any(|w| w.name == "t" && w.consequence.contains("not in force")),
        "{warnings:?}"
    );
    model.apply(remove(Kind::DestinationRule, "default/s"));
    assert_eq!(seen(&model, "default"), [5]);
    for (namespace, name) in [
        ("default", "t"),
        ("default", "w"),
        ("shop", "c"),
        ("heddle-system", "m"),
    ] {
        model.apply(remove(
            Kind::DestinationRule,
            &format!("{namespace}/{name}"),
        ));
    }
    assert!(policies(&model, "default").is_empty() && policies(&model, "shop").is_empty());
}

#[test]
fn labels_that_order_endpoints_are_sent_and_no_others() {
    let spec = "  trafficPolicy: {loadBalancer: {localityLbSetting: {failoverPriority: [version, 'none=x']}}}\n";
    let mut model = model(REVIEWS);
    let labels = |model: &Model| {
        endpoints(model, "default/ratings").endpoints[0]
            .priority_labels
            .clone()
    };
    assert!(labels(&model).is_empty());
    model.apply(batch(&rule("r", "default", "ratings", spec)).changes);
    assert_eq!(
        labels(&model),
        BTreeMap::from([("version".to_owned(), "v1".to_owned())])
    );
}

#[test]
fn a_private_rule_is_for_its_namespace_alone() {
    let policy = |size: u32, more: &str| {
        format!("  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {size}}}}}}}\n{more}")
    };
    let sizes = |model: &Model, namespace: &str| -> Vec<u32> {
        let found = policies(model, namespace);
        found
            .iter()
            .map(|(_, _, p)| p.connection_pool.as_ref().unwrap().max_connections)
            .collect()
    };
    let mut model = model(REVIEWS);
    model.apply(batch(&rule("m", "heddle-system", "*", &policy(1, ""))).changes);
    model.apply(
        batch(&rule(
            "p",
            "default",
            "ratings",
            &policy(2, "  exportTo: ['.']\n"),
        ))
        .changes,
    );
    assert_eq!(
        (sizes(&model, "default"), sizes(&model, "shop")),
        (vec![2], vec![1])
    );
    model.apply(batch(&rule("p", "default", "ratings", &policy(2, ""))).changes);
    assert_eq!(
        (sizes(&model, "default"), sizes(&model, "shop")),
        (vec![2], vec![2])
    );
}

#[test]
fn a_rule_of_the_mesh_may_be_for_some_namespaces_alone() {
    let policy =
        "  trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}\n  exportTo: [shop]\n";
    let mut model = model(REVIEWS);
    model.apply(batch(&rule("m", "heddle-system", "*", policy)).changes);
    let has = |namespace: &str| !policies(&model, namespace).is_empty();
    assert_eq!(
        (has("other"), has("shop"), has("default")),
        (false, true, false)
    );
}
