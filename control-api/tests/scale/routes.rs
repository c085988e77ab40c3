//! How the work of one look at everything grows with routes of Gateway API at one Service, with its pods and
//! with the ports of headless Services: counted in allocations.

use std::fmt::Write as _;

use allocation_counter::measure;
use heddle_control::model::{Client, Model, Settings};
use heddle_control::resources::labels::Labels;
use heddle_control::source::{Change, directory};

/// Allocations and their bytes, of what is named.
type Costs = Vec<(&'static str, (u64, u64))>;

fn read(yaml: &str) -> Vec<Change> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yaml");
    std::fs::write(&file, yaml).unwrap();
    let batch = directory::read_once(&[file]).unwrap();
    assert_eq!(batch.refusals.len(), 0, "{:?}", batch.refusals.first());
    batch.changes
}

/// A Service with pods without sidecars.
fn service(pods: usize) -> String {
    let mut text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
                    spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: web, port: 80}, {name: calls, port: 90}]}\n"
        .to_owned();
    for pod in 0..pods {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: web-{pod}, labels: {{app: web}}}}\n\
             spec: {{containers: [{{name: web, ports: [{{containerPort: 80}}]}}]}}\n\
             status: {{podIP: 10.1.{}.{}, conditions: [{{type: Ready, status: 'True'}}]}}\n",
            pod / 250,
            pod % 250 + 1
        );
    }
    text
}

/// Routes of a kind that are attached to a port of it, HTTPRoutes with redirects.
fn routes(kind: &str, routes: usize) -> String {
    let mut text = String::new();
    for route in 0..routes {
        let (port, rule) = match kind {
            "GRPCRoute" => (
                90,
                format!("- matches: [{{method: {{service: s{route}, method: m}}}}]"),
            ),
            _ => {
                let to = "{type: ReplaceFullPath, replaceFullPath: /x}";
                let filter = format!("{{type: RequestRedirect, requestRedirect: {{path: {to}}}}}");
                (
                    80,
                    format!("- {{matches: [{{path: {{value: /r{route}}}}}], filters: [{filter}]}}"),
                )
            }
        };
        let kind_of = &kind[..1];
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {}{route}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: web, port: {port}}}]\n  rules:\n  {rule}\n",
            kind_of.to_lowercase()
        );
    }
    text
}

fn looks(yaml: &str) -> Costs {
    let changes = read(yaml);
    let mut model = Model::new(Settings::default());
    let mut changes = Some(changes);
    let mut all: Costs = Vec::new();
    let mut phase = |name, work: &mut dyn FnMut()| {
        let used = measure(work);
        all.push((name, (used.count_total, used.bytes_total)));
    };
    phase("apply", &mut || {
        model.apply(changes.take().unwrap());
    });
    phase("refusals", &mut || assert_eq!(model.refusals().len(), 0));
    phase("warnings", &mut || drop(model.warnings()));
    phase("statuses", &mut || {
        model.route_statuses().count();
    });
    all
}

#[test]
fn ten_times_the_routes_of_a_service_are_ten_times_the_work() {
    for kinds in [
        &["HTTPRoute"][..],
        &["GRPCRoute"],
        &["HTTPRoute", "GRPCRoute"],
    ] {
        let all = |count: usize| {
            let of_kinds = kinds.iter().map(|kind| routes(kind, count));
            service(2) + &of_kinds.collect::<String>()
        };
        linear(&kinds.join(" and "), looks(&all(60)), looks(&all(600)));
    }
}

fn linear(what: &str, few: Costs, many: Costs) {
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        println!("{what}, {name}: 60 {few:?}, 600 {many:?} allocations and bytes");
        assert!(
            many.0 <= 12 * few.0 + 2000,
            "{what}, {name}: {few:?}, {many:?} allocations"
        );
        assert!(
            many.1 <= 14 * few.1 + 100_000,
            "{what}, {name}: {few:?}, {many:?} bytes"
        );
    }
}

#[test]
fn pods_of_a_service_are_looked_at_once_for_all_of_its_routes() {
    let warnings = |pods| looks(&(service(pods) + &routes("HTTPRoute", 200)))[2].1;
    let (few, many) = (warnings(2), warnings(202));
    println!("200 routes, 2 pods and 202 pods: {few:?}, {many:?} allocations and bytes");
    assert!(many.0 <= few.0 + 20 * 200, "{few:?}, {many:?}");
}

#[test]
fn ports_of_headless_services_are_each_asked_about_once() {
    let cost = |ports: usize| {
        let all: Vec<String> = (0..ports)
            .map(|n| {
                format!(
                    "{{name: http-{n}, port: {}, targetPort: {}}}",
                    1000 + n,
                    20_000 + n
                )
            })
            .collect();
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: db}}\nspec: {{clusterIP: None, selector: {{app: db}}, ports: [{}]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: db}}\n\
             spec: {{host: db, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}\n\
             ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: db-0, labels: {{app: db}}}}\n\
             spec: {{containers: [{{name: db}}]}}\n\
             status: {{podIP: 10.1.0.1, conditions: [{{type: Ready, status: 'True'}}]}}\n",
            all.join(", ")
        );
        let mut model = Model::new(Settings::default());
        model.apply(read(&yaml));
        let client = Client {
            namespace: "default".into(),
            labels: Labels::default(),
        };
        let mut bytes = 0;
        let used = measure(|| {
            bytes = model
                .address("10.1.0.1".parse().unwrap(), &client)
                .body
                .len();
        });
        assert!(bytes > 20 * ports, "every port is told: {bytes}");
        used.count_total
    };
    let (few, many) = (cost(20), cost(200));
    println!("20 and 200 ports: {few}, {many} allocations");
    // A place has a name, and sets that grow.
    assert!(many <= few + 180 * 5, "{few}, {many}");
}
