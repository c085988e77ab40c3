//! ServiceEntries: services like others, for routes, rules, addresses and names.

use super::*;

fn entry(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}"
    )
}

const API: &str = "  hosts: [Api.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: web, protocol: HTTP, targetPort: 8080}]
  resolution: DNS
";

const DATABASE: &str = "  hosts: [db.example.com]
  addresses: [10.50.0.1, 10.50.0.2/32]
  ports: [{number: 5432, name: sql, protocol: TCP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {address: 10.1.0.6, labels: {version: v1}}
  - {address: 10.60.0.1, ports: {sql: 15432}, labels: {version: v2, app: db}, locality: eu/a, weight: 3, serviceAccount: db}
";

fn addresses(model: &Model, service: &str) -> Vec<String> {
    super::service(model, service, "default").addresses
}

fn at(model: &Model, ip: &str, namespace: &str) -> Option<String> {
    let found = model.service_at(ip.parse().unwrap(), &client(namespace));
    found.map(|name| name.to_string())
}

#[test]
fn a_host_that_is_resolved_is_an_endpoint_of_itself() {
    let mut model = model(REVIEWS);
    let dirty = model.apply(batch(&entry("api", "default", API)).changes);
    assert!(
        dirty.services.contains("default/api.example.com")
            && dirty.names.contains("api.example.com")
    );
    let service = super::service(&model, "default/api.example.com", "default");
    assert_eq!(
        (&*service.namespace, &*service.name, &service.hosts[..]),
        (
            "default",
            "api.example.com",
            &["api.example.com".to_owned()][..]
        )
    );
    assert_eq!(service.resolution(), mesh::Resolution::Dns);
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|p| (p.number, p.protocol()))
        .collect();
    assert_eq!(ports, [(80, Protocol::Http1), (443, Protocol::Tls)]);
    let endpoints = endpoints(&model, "default/api.example.com");
    let [only] = &endpoints.endpoints[..] else {
        panic!("{endpoints:?}")
    };
    assert_eq!(
        (
            &*only.host,
            &*only.address,
            &only.target_ports[..],
            &*only.identity
        ),
        ("api.example.com", "", &[8080, 443][..], "")
    );
    // It has addresses by which calls of it are told.
    let addresses = addresses(&model, "default/api.example.com");
    assert!(
        addresses[0].starts_with("240.240.") && addresses[1].starts_with("2001:2::f0f0:"),
        "{addresses:?}"
    );
    for address in &addresses {
        assert_eq!(
            at(&model, address, "shop").as_deref(),
            Some("default/api.example.com")
        );
    }
    assert!(model.warnings().is_empty() && model.refusals().is_empty());
    let dirty = model.apply(remove(Kind::ServiceEntry, "default/api"));
    assert!(dirty.addresses.contains(&addresses[0].parse().unwrap()));
    assert_eq!(at(&model, &addresses[0], "default"), None);
    assert!(model.service(&name("default/api.example.com")).is_none());
    assert_eq!((model.service_count(), model.endpoint_count()), (4, 6));
}

#[test]
fn listed_endpoints_are_as_they_are_listed() {
    let mut model = model(REVIEWS);
    model.apply(batch(&entry("db", "default", DATABASE)).changes);
    assert_eq!(model.endpoint_count(), 8);
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: db}\n\
                spec: {host: db.example.com, trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: two, labels: {version: v2}}]}\n";
    let dirty = model.apply(batch(rule).changes);
    assert!(dirty.services.contains("default/db.example.com"));
    let service = super::service(&model, "default/db.example.com", "default");
    assert_eq!(
        (service.resolution(), &service.addresses[..]),
        (
            mesh::Resolution::Unspecified,
            &["10.50.0.1".to_owned(), "10.50.0.2".to_owned()][..]
        )
    );
    assert_eq!(service.policies.len(), 1);
    assert_eq!(
        at(&model, "10.50.0.2", "default").as_deref(),
        Some("default/db.example.com")
    );
    let shown = endpoints(&model, "default/db.example.com").endpoints;
    assert_eq!(
        (&*shown[0].identity, &*shown[0].workload),
        (
            "spiffe://cluster.local/ns/default/sa/ratings",
            "default/ratings-1"
        )
    );
    let second = &shown[1];
    assert_eq!(
        (&*second.identity, second.target_ports[0], second.weight),
        ("spiffe://cluster.local/ns/default/sa/db", 15432, 3)
    );
    assert_eq!(
        (
            &*second.locality,
            &second.subsets[..],
            &*second.labels["app"]
        ),
        ("eu/a", &[0][..], "db")
    );
    assert!(model.warnings().is_empty(), "{:?}", model.warnings());
    // Outside of the mesh they are plain.
    model.apply(
        batch(&entry(
            "db",
            "default",
            &DATABASE.replace("  location: MESH_INTERNAL\n", ""),
        ))
        .changes,
    );
    let shown = endpoints(&model, "default/db.example.com").endpoints;
    assert!(
        shown
            .iter()
            .all(|e| e.identity.is_empty() && e.workload.is_empty())
    );
}

#[test]
fn selected_pods_are_endpoints() {
    let spec = "  hosts: [r.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 9080}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  workloadSelector: {labels: {app: ratings}}\n";
    let mut model = model(REVIEWS);
    model.apply(batch(&entry("r", "default", spec)).changes);
    let shown = endpoints(&model, "default/r.example.com").endpoints;
    assert_eq!(
        (shown.len(), &*shown[0].workload, shown[0].target_ports[0]),
        (1, "default/ratings-1", 9080)
    );
    assert!(!shown[0].identity.is_empty());
    let dirty = model.apply(batch(&pod("ratings-2", "10.1.0.66", "ratings", "v1")).changes);
    assert!(dirty.services.contains("default/r.example.com"));
    assert_eq!(
        endpoints(&model, "default/r.example.com").endpoints.len(),
        2
    );
    model.apply(
        batch(&entry(
            "r",
            "default",
            &spec.replace("MESH_INTERNAL", "MESH_EXTERNAL"),
        ))
        .changes,
    );
    assert!(
        endpoints(&model, "default/r.example.com")
            .endpoints
            .iter()
            .all(|e| e.identity.is_empty())
    );
}

#[test]
fn routes_apply_to_entries_and_lead_to_them() {
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: out, namespace: shop}\n\
                 spec: {hosts: [API.example.com, ratings.default.svc.cluster.local], http: [{route: [{destination: {host: api.example.com, port: {number: 80}}}]}]}\n";
    let mut model = model(REVIEWS);
    model.apply(batch(route).changes);
    let refusals = model.refusals();
    assert!(
        refusals[0].suggestion.contains("add a ServiceEntry"),
        "{refusals:?}"
    );
    model.apply(batch(&entry("api", "default", API)).changes);
    assert!(
        model.refusals().is_empty() && model.warnings().is_empty(),
        "{:?} {:?}",
        model.refusals(),
        model.warnings()
    );
    for service in ["default/api.example.com", "default/ratings"] {
        let table = routes(&model, service, &client("default"));
        assert_eq!(
            table.http[0].destinations[0].service, "default/api.example.com",
            "{service}"
        );
    }
    let view = model
        .route_table(&name("default/ratings"), &client("default"))
        .unwrap();
    assert_eq!(&*view.names, [name("default/api.example.com")]);
    // One of the route's own namespace comes first.
    model.apply(batch(&entry("api", "shop", API)).changes);
    assert_eq!(
        routes(&model, "default/ratings", &client("default")).http[0].destinations[0].service,
        "shop/api.example.com"
    );
    // Patterns cover patterns.
    let wild = "  hosts: ['*.wild.example']\n  ports: [{number: 443, name: tls, protocol: TLS}]\n";
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w}\n\
                 spec: {hosts: ['*.wild.example'], tls: [{match: [{sniHosts: ['*.wild.example']}], route: [{destination: {host: ratings}}]}]}\n";
    model.apply(batch(&format!("{}---\n{route}", entry("w", "default", wild))).changes);
    let service = super::service(&model, "default/*.wild.example", "default");
    assert_eq!(
        (service.resolution(), service.addresses.len()),
        (mesh::Resolution::None, 0)
    );
    assert_eq!(
        routes(&model, "default/*.wild.example", &client("default"))
            .tcp
            .len(),
        1
    );
}

#[test]
fn private_entries_are_seen_by_their_namespace_alone() {
    let private = format!("{DATABASE}  exportTo: ['.']\n");
    let mut model = model(REVIEWS);
    model.apply(batch(&entry("db", "shop", &private)).changes);
    assert_eq!(
        (
            at(&model, "10.50.0.1", "shop").is_some(),
            at(&model, "10.50.0.1", "default")
        ),
        (true, None)
    );
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
                 spec: {hosts: [ratings], tcp: [{route: [{destination: {host: db.example.com}}]}]}\n";
    model.apply(batch(route).changes);
    assert!(
        model.refusals()[0]
            .reason
            .contains("not a service of the mesh")
    );
    let dirty = model.apply(batch(&entry("db", "shop", DATABASE)).changes);
    assert!(dirty.addresses.contains(&"10.50.0.1".parse().unwrap()));
    assert!(model.refusals().is_empty() && at(&model, "10.50.0.1", "default").is_some());
}

#[test]
fn the_oldest_entry_of_a_host_has_it() {
    let mut model = model(REVIEWS);
    model.apply(batch(&entry("b", "default", DATABASE)).changes);
    model.apply(
        batch(&entry(
            "a",
            "default",
            &DATABASE.replace("10.50.0.1,", "10.50.0.9,"),
        ))
        .changes,
    );
    assert_eq!(addresses(&model, "default/db.example.com")[0], "10.50.0.9");
    assert!(
        model
            .warnings()
            .iter()
            .any(|w| w.name == "b" && w.reason.contains("has this host already")),
        "{:?}",
        model.warnings()
    );
    model.apply(remove(Kind::ServiceEntry, "default/a"));
    assert_eq!(addresses(&model, "default/db.example.com")[0], "10.50.0.1");
    assert_eq!(at(&model, "10.50.0.9", "default"), None);
    // A cluster's name is that of a Service.
    let named = DATABASE.replace("db.example.com", "ratings.default.svc.cluster.local");
    model.apply(batch(&entry("c", "default", &named)).changes);
    assert!(
        model
            .warnings()
            .iter()
            .any(|w| w.name == "c" && w.reason.contains("the Service default/ratings"))
    );
}

#[test]
fn allotted_addresses_follow_from_the_names_in_any_order() {
    let all: Vec<String> = (0..2000)
        .map(|i| {
            entry(
                &format!("e{i}"),
                "default",
                &API.replace("Api", &format!("h{i}")),
            )
        })
        .collect();
    let (mut forwards, mut backwards) = (
        Model::new(Settings::default()),
        Model::new(Settings::default()),
    );
    forwards.apply(all.iter().flat_map(|yaml| batch(yaml).changes).collect());
    for part in all.rchunks(500) {
        backwards.apply(part.iter().flat_map(|yaml| batch(yaml).changes).collect());
    }
    let of = |model: &Model| -> BTreeMap<String, String> {
        (0..2000)
            .map(|i| {
                let host = format!("default/h{i}.example.com");
                (addresses(model, &host)[0].clone(), host)
            })
            .collect()
    };
    let found = of(&forwards);
    // 2,000 of 65,534 meet: nobody shares.
    assert_eq!(found.len(), 2000);
    assert_eq!(found, of(&backwards));
    // What goes leaves the others where they are, but for those that it had displaced.
    forwards.apply(remove(Kind::ServiceEntry, "default/e7"));
    let moved = found
        .iter()
        .filter(|(address, host)| addresses_of(&forwards, host).first() != Some(*address))
        .count();
    assert!((1..5).contains(&moved), "{moved}");
}

fn addresses_of(model: &Model, service: &str) -> Vec<String> {
    model
        .service(&name(service))
        .map(|s| s.addresses.iter().map(|a| a.to_string()).collect())
        .unwrap_or_default()
}

#[test]
fn ranges_stand_for_the_addresses_in_them() {
    let spec = |range: &str| {
        format!(
            "  hosts: [wide.example.com]\n  addresses: [{range}]\n  ports: [{{number: 443, name: tls, protocol: TLS}}]\n"
        )
    };
    let mut model = model(REVIEWS);
    model.apply(batch(&entry("wide", "default", &spec("10.0.0.0/8"))).changes);
    let wide = Some("default/wide.example.com");
    assert_eq!(at(&model, "10.77.0.1", "shop").as_deref(), wide);
    // What is known better is what it is.
    assert_eq!(
        at(&model, "10.0.0.4", "shop").as_deref(),
        Some("default/ratings")
    );
    assert_eq!(at(&model, "10.1.0.6", "shop"), None);
    model.apply(
        batch(&entry(
            "near",
            "shop",
            &spec("10.77.0.0/16").replace("wide", "near"),
        ))
        .changes,
    );
    assert_eq!(
        at(&model, "10.77.0.1", "default").as_deref(),
        Some("shop/near.example.com")
    );
    assert_eq!(at(&model, "10.78.0.1", "default").as_deref(), wide);
    let dirty = model.apply(
        batch(&entry(
            "near",
            "shop",
            &spec("10.78.0.0/16").replace("wide", "near"),
        ))
        .changes,
    );
    assert_eq!(dirty.networks.len(), 2);
    assert_eq!(at(&model, "10.77.0.1", "default").as_deref(), wide);
    model.apply(remove(Kind::ServiceEntry, "default/wide"));
    assert_eq!(at(&model, "10.77.0.1", "default"), None);
    let service = super::service(&model, "shop/near.example.com", "shop");
    assert_eq!(
        (service.addresses.len(), service.resolution()),
        (0, mesh::Resolution::None)
    );
}

#[test]
fn a_pods_address_is_not_another_namespaces_to_take() {
    let taken = DATABASE.replace("10.50.0.1", "10.1.0.6");
    let mut model = model(REVIEWS);
    let pod = model.pod_at("10.1.0.6".parse().unwrap()).cloned().unwrap();
    model.apply(batch(&entry("taken", "attacker", &taken)).changes);
    assert_eq!(at(&model, "10.1.0.6", pod.namespace()), None);
    assert_eq!(at(&model, "10.1.0.6", "elsewhere"), None);
    // Its own clients may see it so.
    let own = at(&model, "10.1.0.6", "attacker");
    assert_eq!(own.as_deref(), Some("attacker/db.example.com"));
    // Where there is no pod it is everybody's.
    let other = at(&model, "10.50.0.2", "elsewhere");
    assert_eq!(other.as_deref(), Some("attacker/db.example.com"));
}

#[test]
fn a_hidden_services_address_is_not_another_namespaces_to_take() {
    let hides = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\nspec: {egress: [{hosts: ['*/db.example.com', '*/wide.example.com']}]}\n";
    let range = DATABASE
        .replace("10.50.0.1, 10.50.0.2/32", "10.0.0.0/24")
        .replace("db.example.com", "wide.example.com")
        .replace("resolution: STATIC", "resolution: NONE");
    let (range, _) = range.split_once("  endpoints:").unwrap();
    // The IP of default/productpage.
    let taken = DATABASE.replace("10.50.0.1", "10.0.0.1");
    let mut model = model(REVIEWS);
    let page = Some("default/productpage");
    assert_eq!(at(&model, "10.0.0.1", "shop").as_deref(), page);
    model.apply(batch(hides).changes);
    model.apply(batch(&entry("taken", "attacker", &taken)).changes);
    model.apply(batch(&entry("range", "attacker", range)).changes);
    // Nothing that shop sees has it: it is no address of the mesh to it.
    assert_eq!(at(&model, "10.0.0.1", "shop"), None);
    assert_eq!(at(&model, "10.0.0.1", "attacker").as_deref(), page);
    // Where there is no Service it is whose it is.
    let free = at(&model, "10.50.0.2", "shop");
    assert_eq!(free.as_deref(), Some("attacker/db.example.com"));
    let of_range = at(&model, "10.0.0.200", "shop");
    assert_eq!(of_range.as_deref(), Some("attacker/wide.example.com"));
    // Who hides it may say what it is instead.
    model.apply(batch(&entry("own", "shop", &taken)).changes);
    let own = at(&model, "10.0.0.1", "shop");
    assert_eq!(own.as_deref(), Some("shop/db.example.com"));
}

#[test]
fn a_host_stays_with_who_had_it_first() {
    let written = |namespace: &str, year: u16| {
        let created = format!("namespace: {namespace}, creationTimestamp: {year}-01-01T00:00:00Z");
        entry("db", namespace, DATABASE).replace(&format!("namespace: {namespace}"), &created)
    };
    let mut model = model(REVIEWS);
    model.apply(batch(&written("shop", 2024)).changes);
    model.apply(batch(&written("attacker", 2025)).changes);
    let seen_by = |namespace: &str| {
        let by_host = model.external("db.example.com", namespace);
        let by_host = by_host.map(|name| name.to_string());
        assert_eq!(by_host, at(&model, "10.50.0.1", namespace));
        by_host.unwrap()
    };
    assert_eq!(seen_by("elsewhere"), "shop/db.example.com");
    assert_eq!(seen_by("attacker"), "attacker/db.example.com");
}
