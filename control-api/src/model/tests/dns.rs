//! What host names stand for.

use heddle_proto::mesh::dns_name;

use super::*;

/// None: unknown.
fn ask(model: &Model, name: &str, namespace: &str) -> Option<Vec<String>> {
    let answer = model.dns_name(name, &client(namespace));
    match mesh::DnsName::decode(&*answer.body).unwrap().kind {
        Some(dns_name::Kind::Addresses(addresses)) => {
            assert!(addresses.ttl_seconds > 0);
            Some(addresses.ips)
        }
        Some(dns_name::Kind::Unknown(_)) => None,
        None => panic!("no answer"),
    }
}

fn list(ips: &[&str]) -> Option<Vec<String>> {
    Some(ips.iter().map(|ip| (*ip).to_owned()).collect())
}

#[test]
fn cluster_names_are_known_in_every_form() {
    let model = model(REVIEWS);
    for name in [
        "ratings.default.svc.cluster.local",
        "ratings.default.svc",
        "ratings.default",
        "ratings",
    ] {
        assert_eq!(ask(&model, name, "default"), list(&["10.0.0.4"]), "{name}");
    }
    assert_eq!(
        ask(&model, "ratings.default.svc.cluster.local", "shop"),
        list(&["10.0.0.4"])
    );
    for name in ["ratings", "ratings.shop.svc.cluster.local"] {
        assert_eq!(ask(&model, name, "shop"), None, "{name}");
    }
    for name in [
        "ratings.svc",
        "ratings.default.svc.cluster",
        "x.ratings.default.svc.cluster.local",
        "example.com",
        "svc.cluster.local",
        "cluster.local",
        "a.b.c.d.e.f",
    ] {
        assert_eq!(ask(&model, name, "default"), None, "{name}");
    }
}

const HEADLESS: &str = "apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
";

fn member(index: u8) -> String {
    let name = format!("db-{index}");
    pod(&name, &format!("10.1.7.{index}"), "db", "v1").replace(
        "spec:\n",
        &format!("spec:\n  hostname: {name}\n  subdomain: db\n"),
    )
}

#[test]
fn a_headless_name_stands_for_addresses_of_its_families() {
    let ips = "podIPs: [{ip: 10.1.7.0}, {ip: 'fd00::7'}]";
    let both = member(0).replace("podIP: 10.1.7.0", ips);
    assert_ne!(both, member(0));
    for (families, ips) in [
        ("", &["10.1.7.0", "fd00::7"][..]),
        ("[IPv4]", &["10.1.7.0"]),
        ("[IPv6]", &["fd00::7"]),
    ] {
        let families = match families {
            "" => String::new(),
            families => format!("ipFamilies: {families}, "),
        };
        let headless = HEADLESS.replace("spec: {", &format!("spec: {{{families}"));
        let model = model(&format!("{headless}---\n{both}"));
        assert_eq!(ask(&model, "db", "default"), list(ips), "{headless}");
        assert_eq!(ask(&model, "db-0.db.default", "shop"), list(ips));
    }
}

#[test]
fn a_headless_name_stands_for_its_pods_and_each_has_its_own() {
    let mut model = model(&format!("{REVIEWS}---\n{HEADLESS}"));
    assert_eq!(
        ask(&model, "db.default.svc.cluster.local", "shop"),
        list(&[]),
        "it is there, and empty"
    );
    let dirty = model.apply(batch(&member(0)).changes);
    assert!(
        dirty.names.contains("db.default.svc.cluster.local")
            && dirty.suffixes.contains(".db.default.svc.cluster.local")
    );
    model.apply(batch(&member(1)).changes);
    assert_eq!(
        ask(&model, "db", "default"),
        list(&["10.1.7.0", "10.1.7.1"])
    );
    assert_eq!(
        ask(&model, "db-1.db.default.svc.cluster.local", "shop"),
        list(&["10.1.7.1"])
    );
    assert_eq!(ask(&model, "db-1.db.default", "shop"), list(&["10.1.7.1"]));
    assert_eq!(
        ask(&model, "db-2.db.default.svc.cluster.local", "shop"),
        None
    );
    model.apply(batch(&member(1).replace("status: 'True'", "status: 'False'")).changes);
    assert_eq!(ask(&model, "db", "default"), list(&["10.1.7.0"]));
    assert_eq!(
        ask(&model, "db-1.db.default.svc.cluster.local", "shop"),
        None
    );
    // Pods of other services have no such names.
    assert_eq!(
        ask(
            &model,
            "ratings-1.ratings.default.svc.cluster.local",
            "default"
        ),
        None
    );
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-x, labels: {kubernetes.io/service-name: db}}\naddressType: IPv4\nports: [{port: 5432}]\nendpoints:\n- {addresses: [10.8.0.1], hostname: far}\n";
    model.apply(batch(slice).changes);
    assert_eq!(
        ask(&model, "far.db.default.svc.cluster.local", "default"),
        list(&["10.8.0.1"])
    );
    let dirty = model.apply(remove(Kind::Service, "default/db"));
    assert!(
        dirty.names.contains("db.default.svc")
            && dirty.suffixes.contains(".db.default.svc.cluster.local")
    );
    assert_eq!(ask(&model, "db", "default"), None);
}

#[test]
fn hosts_of_entries_are_known_where_they_have_addresses() {
    let entry = |name: &str, spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}\n"
        )
    };
    let all = [
        entry("a", "hosts: [api.example.com], resolution: DNS"),
        entry(
            "b",
            "hosts: [db.example.com], addresses: [10.50.0.1], resolution: NONE",
        ),
        entry("c", "hosts: [free.example.com]"),
        entry("d", "hosts: ['*.wild.example'], addresses: [10.50.0.2]"),
        entry(
            "e",
            "hosts: [own.example.com], addresses: [10.50.0.3], exportTo: ['.']",
        ),
    ];
    let model = model(&all.join("---\n"));
    let allotted = ask(&model, "api.example.com", "shop").unwrap();
    assert_eq!(allotted.len(), 2);
    assert_eq!(ask(&model, "db.example.com", "shop"), list(&["10.50.0.1"]));
    assert_eq!(
        ask(&model, "free.example.com", "shop"),
        None,
        "the pod's resolvers know"
    );
    assert_eq!(
        ask(&model, "x.y.wild.example", "shop"),
        list(&["10.50.0.2"])
    );
    assert_eq!(ask(&model, "wild.example", "shop"), None);
    assert_eq!(
        (
            ask(&model, "own.example.com", "default"),
            ask(&model, "own.example.com", "shop")
        ),
        (list(&["10.50.0.3"]), None)
    );
}

#[test]
fn names_of_elsewhere_are_not_ours() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: out}\nspec: {type: ExternalName, externalName: example.com}\n---\n\
                   apiVersion: v1\nkind: Service\nmetadata: {name: young}\nspec: {ports: [{port: 80}]}\n";
    let model = model(service);
    assert_eq!(
        ask(&model, "out.default.svc.cluster.local", "default"),
        None
    );
    assert_eq!(
        ask(&model, "young.default.svc.cluster.local", "default"),
        None,
        "its IP is still to come"
    );
}
