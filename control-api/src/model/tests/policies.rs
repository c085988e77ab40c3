//! Mutual-TLS modes, telemetry, policies that are not enforced.

use super::*;

fn authentication(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn the_narrowest_oldest_authentication_wins() {
    let mut model = model(REVIEWS);
    let mode = |model: &Model| workload(model, "default/ratings-1").mtls();
    let apply = |model: &mut Model, yaml: &str| model.apply(batch(yaml).changes);
    assert_eq!(mode(&model), MtlsMode::Permissive);
    assert!(
        apply(
            &mut model,
            &authentication("mesh", "heddle-system", "{mtls: {mode: STRICT}}")
        )
        .own
        .all
    );
    assert_eq!(mode(&model), MtlsMode::Strict);
    let dirty = apply(
        &mut model,
        &authentication("ns", "default", "{mtls: {mode: PERMISSIVE}}"),
    );
    assert!(dirty.own.covers(&name("default/ratings-1")) && !dirty.own.covers(&name("other/a")));
    assert_eq!(mode(&model), MtlsMode::Permissive);
    apply(
        &mut model,
        &authentication(
            "w",
            "default",
            "{selector: {matchLabels: {app: ratings}}, mtls: {mode: STRICT}, portLevelMtls: {'9080': {mode: PERMISSIVE}, '7': {}}}",
        ),
    );
    let own = workload(&model, "default/ratings-1");
    assert_eq!(own.mtls(), MtlsMode::Strict);
    let ports: Vec<_> = own.ports.iter().map(|p| (p.number, p.mtls())).collect();
    assert_eq!(ports, [(7, MtlsMode::Strict), (9080, MtlsMode::Permissive)]);
    assert_eq!(
        workload(&model, "default/details-1").mtls(),
        MtlsMode::Permissive
    );
    let dirty = apply(
        &mut model,
        &authentication("ns", "default", "{mtls: {mode: DISABLE}}"),
    );
    assert!(dirty.services.contains("default/details"));
    assert_eq!(
        endpoints(&model, "default/details").endpoints[0].identity,
        ""
    );
    assert_ne!(
        endpoints(&model, "default/ratings").endpoints[0].identity,
        ""
    );
}

#[test]
fn a_stand_in_reaches_the_pods_that_it_is_for() {
    use crate::resources::{
        at::At,
        peer_authentication::{Mode, Mtls, PeerAuthentication},
    };
    let stand_in = |namespace: &str, any_pod: bool| {
        let policy = PeerAuthentication {
            mtls: Some(At::nowhere(Mtls { mode: Mode::Strict })),
            any_pod,
            ..PeerAuthentication::default()
        };
        Change::Upsert(Arc::new(Object {
            key: ObjectKey {
                kind: Kind::PeerAuthentication,
                name: NsName::new(namespace, "a").unwrap(),
            },
            origin: crate::source::Origin {
                file: None,
                at: Default::default(),
            },
            created: None,
            resource: Resource::PeerAuthentication(policy),
            written: None,
            stand_in: true,
        }))
    };
    let exception = authentication(
        "z",
        "default",
        "{selector: {matchLabels: {app: details}}, mtls: {mode: PERMISSIVE}}",
    );
    let modes = |namespace: &str, any_pod: bool| {
        let mut model = model(&format!("{REVIEWS}---\n{exception}"));
        let dirty = model.apply(vec![stand_in(namespace, any_pod)]);
        assert!(!dirty.own.is_empty());
        ["default/ratings-1", "default/details-1"].map(|pod| workload(&model, pod).mtls())
    };
    use MtlsMode::{Permissive, Strict};
    assert_eq!(modes("default", false), [Strict, Permissive]);
    assert_eq!(modes("default", true), [Strict, Permissive]);
    assert_eq!(modes("heddle-system", false), [Strict, Permissive]);
    // Some pods of the system namespace are not the mesh.
    assert_eq!(modes("heddle-system", true), [Permissive, Permissive]);
}

#[test]
fn telemetry_of_a_namespace_comes_before_that_of_the_mesh() {
    let telemetry = |namespace: &str, percentage: &str| {
        format!(
            "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t, namespace: {namespace}}}\nspec: {{tracing: [{{randomSamplingPercentage: {percentage}}}]}}\n"
        )
    };
    let ppm = |model: &Model, namespace: &str| {
        mesh::Telemetry::decode(&*model.telemetry(namespace).body)
            .unwrap()
            .sampling_ppm
    };
    let mut model = Model::new(Settings::default());
    assert_eq!(ppm(&model, "a"), 10_000);
    model.apply(batch(&telemetry("heddle-system", "50")).changes);
    model.apply(batch(&telemetry("a", "0.25")).changes);
    assert_eq!((ppm(&model, "a"), ppm(&model, "b")), (2500, 500_000));
}

#[test]
fn a_network_policy_is_said_not_to_be_enforced() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                  metadata: {name: deny, namespace: shop}\nspec: {podSelector: {}, anything: [1]}\n";
    let mut model = model(&format!("{REVIEWS}---\n{policy}"));
    model.apply(batch(policy).changes);
    let warnings = model.warnings();
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(warning.is_warning() && warning.at.line == 1);
    assert_eq!(
        (
            &*warning.kind,
            &*warning.namespace,
            &*warning.name,
            &*warning.file
        ),
        ("NetworkPolicy", "shop", "deny", "test.yaml")
    );
    assert!(warning.reason.contains("not enforced"), "{warning}");
    assert!(model.refusals().is_empty());
    model.apply(remove(Kind::NetworkPolicy, "shop/deny"));
    assert!(model.warnings().is_empty());
}

#[test]
fn the_narrowest_sidecar_says_what_becomes_of_unknown_calls() {
    use mesh::OutboundPolicy::{RegistryOnly, Unspecified};
    let sidecar = |name: &str, namespace: &str, spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        )
    };
    let mut model = model(REVIEWS);
    let policies = |model: &Model| {
        ["default/ratings-1", "default/details-1"].map(|pod| workload(model, pod).outbound())
    };
    let apply = |model: &mut Model, yaml: String| model.apply(batch(&yaml).changes);
    assert_eq!(policies(&model), [Unspecified, Unspecified]);
    let only = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";
    assert!(
        apply(&mut model, sidecar("default", "heddle-system", only))
            .own
            .all
    );
    assert_eq!(policies(&model), [RegistryOnly, RegistryOnly]);
    let any = "outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: ['./*', '*/*']}]";
    let dirty = apply(&mut model, sidecar("default", "default", any));
    assert!(dirty.own.covers(&name("default/ratings-1")) && !dirty.own.covers(&name("other/a")));
    assert_eq!(policies(&model), [Unspecified, Unspecified]);
    let selected = format!("workloadSelector: {{labels: {{app: ratings}}}}, {only}");
    apply(&mut model, sidecar("ratings", "default", &selected));
    assert_eq!(policies(&model), [RegistryOnly, Unspecified]);
    // One that says nothing of it asks the next wider one; a policy without a mode is the stricter.
    apply(
        &mut model,
        sidecar(
            "ratings",
            "default",
            "workloadSelector: {labels: {app: ratings}}",
        ),
    );
    assert_eq!(policies(&model), [Unspecified, Unspecified]);
    apply(
        &mut model,
        sidecar("default", "default", "outboundTrafficPolicy: {}"),
    );
    assert_eq!(policies(&model), [RegistryOnly, RegistryOnly]);
    model.apply(remove(Kind::Sidecar, "default/default"));
    model.apply(remove(Kind::Sidecar, "heddle-system/default"));
    assert_eq!(policies(&model), [Unspecified, Unspecified]);
}

#[test]
fn a_sidecar_says_what_its_pods_see() {
    let sidecar = |name: &str, namespace: &str, spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        )
    };
    let egress = |hosts: &str| format!("egress: [{{hosts: [{hosts}]}}]");
    let outside = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop}\nspec: {hosts: [api.example.com], addresses: [10.9.0.1], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 10.9.9.9}]}\n";
    let mut model = model(REVIEWS);
    model.apply(batch(outside).changes);
    let ratings = Client {
        namespace: "default".into(),
        labels: model
            .pod(&name("default/ratings-1"))
            .unwrap()
            .labels
            .clone(),
    };
    let sees = |model: &Model, client: &Client| {
        let service = |ip: &str| model.service_at(ip.parse().unwrap(), client).is_some();
        let named = mesh::DnsName::decode(&*model.dns_name("api.example.com", client).body);
        let kind = named.unwrap().kind.unwrap();
        let is_named = matches!(kind, mesh::dns_name::Kind::Addresses(_));
        // details, reviews, then outside by address and by name.
        let of_mesh = [service("10.0.0.1"), service("10.0.0.2")];
        (of_mesh, [service("10.9.0.1"), is_named])
    };
    let ips = ["10.0.0.1", "10.0.0.2"];
    let services = ips.map(|ip| model.service_at(ip.parse().unwrap(), &ratings).cloned());
    let [Some(one), Some(two)] = services else {
        panic!("{services:?}")
    };
    let all = ([true, true], [true, true]);
    let (everyone, other) = (client("default"), client("other"));
    assert_eq!(sees(&model, &everyone), all);
    for (hosts, found) in [
        ("'./*'", ([true, true], [false, false])),
        ("'shop/*'", ([false, false], [true, true])),
        ("'*/*.example.com'", ([false, false], [true, true])),
        ("'~/*'", ([false, false], [false, false])),
        ("'*/*'", all),
    ] {
        model.apply(batch(&sidecar("default", "default", &egress(hosts))).changes);
        assert_eq!(sees(&model, &everyone), found, "{hosts}");
        assert_eq!(sees(&model, &other), all, "{hosts}");
    }
    let only = egress(&format!(
        "'default/{}.default.svc.cluster.local'",
        one.name()
    ));
    model.apply(batch(&sidecar("default", "default", &only)).changes);
    assert_eq!(sees(&model, &everyone), ([true, false], [false, false]));
    let own = format!(
        "workloadSelector: {{labels: {{app: ratings}}}}, {}",
        egress(&format!("'./{}.default.svc.cluster.local'", two.name()))
    );
    let dirty = model.apply(batch(&sidecar("ratings", "default", &own)).changes);
    assert!(dirty.own.covers(&name("default/ratings-1")));
    assert_eq!(sees(&model, &ratings), ([false, true], [false, false]));
    // One that says nothing of it leaves it to the next wider one, the mesh's among them.
    let nothing = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";
    model.apply(batch(&sidecar("default", "default", nothing)).changes);
    assert_eq!(sees(&model, &everyone), all);
    model.apply(batch(&sidecar("mesh", "heddle-system", &egress("'./*'"))).changes);
    assert_eq!(sees(&model, &everyone), ([true, true], [false, false]));
    assert_eq!(sees(&model, &other), ([false, false], [false, false]));
}

#[test]
fn clients_are_told_which_ports_speak_plain_text() {
    let policy = |port: &str, mode: &str| {
        authentication(
            "w",
            "default",
            &format!(
                "{{selector: {{matchLabels: {{app: ratings}}}}, mtls: {{mode: STRICT}}, portLevelMtls: {{'{port}': {{mode: {mode}}}}}}}"
            ),
        )
    };
    let mut model = model(REVIEWS);
    let plain = |model: &Model, service: &str| {
        let endpoint = endpoints(model, service).endpoints.remove(0);
        assert_ne!(endpoint.identity, "");
        endpoint.plain_ports
    };
    assert_eq!(plain(&model, "default/ratings"), [0; 0]);
    let dirty = model.apply(batch(&policy("9090", "DISABLE")).changes);
    assert!(dirty.services.contains("default/ratings"));
    assert_eq!(plain(&model, "default/ratings"), [9090]);
    assert_eq!(plain(&model, "default/details"), [0; 0]);
    let pod = model.pod(&name("default/ratings-1")).unwrap().addresses[0];
    let address = model.address(pod, &client("default"));
    match mesh::Address::decode(&*address.body).unwrap().kind {
        Some(mesh::address::Kind::Workload(of)) => assert_eq!(of.plain_ports, [9090]),
        other => panic!("{other:?}"),
    }
    let own = workload(&model, "default/ratings-1");
    let port = own.ports.iter().find(|port| port.number == 9090).unwrap();
    assert_eq!(port.mtls(), MtlsMode::Disable);
    let dirty = model.apply(batch(&policy("9090", "PERMISSIVE")).changes);
    assert!(dirty.services.contains("default/ratings"));
    assert_eq!(plain(&model, "default/ratings"), [0; 0]);
}

#[test]
fn what_a_sidecar_hides_is_told_with_who_hides_it() {
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  egress: [{hosts: [./details.default.svc.cluster.local]}]\n";
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop}\nspec: {hosts: [api.example.com], addresses: [10.9.0.1], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 10.9.9.9}]}\n";
    let mut model = model(REVIEWS);
    model.apply(batch(entry).changes);
    let at = |model: &Model, ip: &str, namespace: &str| {
        let address = model.address(ip.parse().unwrap(), &client(namespace));
        let hidden = mesh::Address::decode(&*address.body).unwrap().hidden;
        hidden.map(|hidden| (hidden.service, hidden.host, hidden.by))
    };
    assert_eq!(at(&model, "10.0.0.3", "default"), None);
    model.apply(batch(sidecar).changes);
    let by = "Sidecar/default/s (test.yaml:5)".to_owned();
    let (service, host) = ("default/reviews", "./reviews.default.svc.cluster.local");
    let reviews = (service.to_owned(), host.to_owned(), by.clone());
    assert_eq!(at(&model, "10.0.0.3", "default"), Some(reviews));
    assert_eq!(
        at(&model, "10.0.0.3", "other"),
        None,
        "it is no Sidecar of its"
    );
    assert_eq!(at(&model, "192.0.2.1", "default"), None, "nobody's");
    let (service, host) = ("shop/api.example.com", "shop/api.example.com");
    let outside = (service.to_owned(), host.to_owned(), by.clone());
    assert_eq!(at(&model, "10.9.0.1", "default"), Some(outside));
    let named = |namespace: &str| {
        let named = model.dns_name("api.example.com", &client(namespace));
        mesh::DnsName::decode(&*named.body).unwrap().hidden
    };
    assert_eq!(named("default").map(|hidden| hidden.by), Some(by));
    assert_eq!(named("other"), None);
}
