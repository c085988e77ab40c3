//! Names and destinations outside the mesh, in a whole mesh: `heddle up`, real pods, `dig`, libc and
//! curl as the application's user.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use heddle_tests::mesh::{Mesh, string};
use heddle_tests::objects;
use heddle_tests::scrape::Scrape;
use heddle_tests::wait;
use serde_json::{Value, json};

/// Longer than a change takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A pod that serves its own name on port 8080, or only waits.
fn pod(namespace: &str, name: &str, serves: bool) -> Value {
    let script = match serves {
        true => format!(
            "cd $(mktemp -d) && echo {name} > index.html && exec python3 -m http.server --bind :: 8080"
        ),
        false => "exec sleep infinity".to_owned(),
    };
    let listens = serves.then_some(8080);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [objects::container("app", &["sh", "-c", &script], listens)]}})
}

fn service(namespace: &str, name: &str, app: &str, headless: bool) -> Value {
    let mut service = objects::service(namespace, name, app, &[], headless);
    service["spec"]["ports"] = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    service
}

/// A host outside the mesh whose only endpoint is another host.
fn entry(host: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": host.replace('.', "-"), "namespace": "shop"},
        "spec": {"hosts": [host], "location": "MESH_EXTERNAL", "resolution": "DNS",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
            "endpoints": [{"address": "outside.other.svc.cluster.local"}]}})
}

fn mesh() -> Mesh {
    let mut database = pod("shop", "db-0", true);
    database["spec"]["hostname"] = json!("db-0");
    database["spec"]["subdomain"] = json!("db");
    database["metadata"]["labels"]["app"] = json!("db");
    let objects = [
        objects::namespace("shop", true),
        objects::namespace("other", false),
        pod("shop", "client", false),
        pod("shop", "web", true),
        database,
        pod("other", "outside", true),
        service("shop", "web", "web", false),
        service("shop", "db", "db", true),
        service("other", "outside", "outside", true),
        entry("api.example.com"),
    ];
    let files = [("mesh.yaml".to_owned(), objects::manifest(&objects))];
    let mesh = Mesh::start(&files, &[]);
    mesh.settled();
    mesh
}

/// What a command in the client's pod prints, whether it fails or not.
fn client(mesh: &Mesh, command: &[&str]) -> String {
    let output = mesh.command_in("shop", "client", command).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The addresses among the words of what it prints, each once.
fn ips(mesh: &Mesh, command: &[&str]) -> Vec<IpAddr> {
    let text = client(mesh, command);
    let mut ips: Vec<IpAddr> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    ips.sort();
    ips.dedup();
    ips
}

fn dig(mesh: &Mesh, name: &str, kind: &str) -> Vec<IpAddr> {
    ips(mesh, &["dig", "+short", "+tries=1", "+time=10", name, kind])
}

fn ip_of(mesh: &Mesh, name: &str) -> IpAddr {
    string(&mesh.pod_in("shop", name)["ip"]).parse().unwrap()
}

fn curl(mesh: &Mesh, url: &str) -> String {
    client(mesh, &["curl", "-s", "--max-time", "20", url])
}

#[test]
fn a_pods_names_are_answered_by_its_sidecar_whatever_else_is_away() {
    let mesh = mesh();
    let service = mesh.json(&["get", "service", "web", "-n", "shop"]);
    let service = service["items"].get(0).unwrap_or(&service);
    let web: IpAddr = string(&service["spec"]["clusterIP"]).parse().unwrap();
    let full = "web.shop.svc.cluster.local";
    assert!(dig(&mesh, full, "A").contains(&web) || dig(&mesh, full, "AAAA").contains(&web));
    for name in ["web", "web.shop", "web.shop.svc", full] {
        assert!(
            ips(&mesh, &["getent", "ahosts", name]).contains(&web),
            "{name}"
        );
    }
    assert_eq!(curl(&mesh, "http://web/"), "web\n");

    let database = ip_of(&mesh, "db-0");
    for name in ["db", "db-0.db"] {
        assert!(
            ips(&mesh, &["getent", "ahosts", name]).contains(&database),
            "{name}"
        );
    }
    assert_eq!(curl(&mesh, "http://db-0.db:8080/"), "db-0\n");

    let none = client(&mesh, &["dig", "none.shop.svc.cluster.local", "A"]);
    assert!(none.contains("NXDOMAIN") && none.contains("SOA"), "{none}");
    let tcp = ips(&mesh, &["dig", "+short", "+tcp", full, "A", full, "AAAA"]);
    assert!(tcp.contains(&web));

    let sidecar = Scrape::of(ip_of(&mesh, "client")).unwrap();
    let count = |outcome| sidecar.sum("heddle_dns_queries_total", &[("outcome", outcome)]);
    assert!(count("mesh") > 8.0 && count("forwarded") > 0.0);
    assert_eq!(count("malformed") + count("overload"), 0.0);

    mesh.ok(&["system", "stop", "control-plane"]);
    assert!(ips(&mesh, &["getent", "ahosts", "web"]).contains(&web));
    assert_eq!(curl(&mesh, "http://web/"), "web\n");
}

#[test]
fn a_service_entrys_host_has_an_address_and_leads_outside() {
    let mesh = mesh();
    let host = "api.example.com";
    let [IpAddr::V4(v4)] = dig(&mesh, host, "A")[..] else {
        panic!("{:?}", dig(&mesh, host, "A"))
    };
    assert_eq!(v4.octets()[..2], [240, 240]);
    let v6 = dig(&mesh, host, "AAAA");
    let allotted = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
    assert!(
        v6.iter().all(
            |ip| matches!(ip, IpAddr::V6(ip) if ip.segments()[..3] == allotted.segments()[..3])
        )
    );
    assert!(ips(&mesh, &["getent", "ahosts", host]).contains(&IpAddr::V4(v4)));
    assert_eq!(curl(&mesh, "http://api.example.com/"), "outside\n");
    let sidecar = Scrape::of(ip_of(&mesh, "client")).unwrap();
    let labels = [("destination_service", host), ("response_code", "200")];
    assert_eq!(sidecar.sum("istio_requests_total", &labels), 1.0);

    // Another one appears, and the first keeps its address.
    mesh.write("more.yaml", &objects::manifest(&[entry("pay.example.com")]));
    let mut late: Option<Ipv4Addr> = None;
    wait::until("the new host is known", SOON, || {
        let found = dig(&mesh, "pay.example.com", "A");
        late = found.iter().find_map(|ip| match ip {
            IpAddr::V4(ip) if ip.octets()[..2] == [240, 240] => Some(*ip),
            _ => None,
        });
        late.is_some()
    });
    assert_ne!(late, Some(v4));
    assert_eq!(dig(&mesh, host, "A"), [IpAddr::V4(v4)]);
    assert_eq!(curl(&mesh, "http://pay.example.com/"), "outside\n");
}

#[test]
fn a_pod_kept_to_the_registry_calls_what_is_named_and_nothing_else() {
    let mesh = mesh();
    let outside = string(&mesh.pod_in("other", "outside")["ip"]);
    let direct = format!("http://{outside}:8080/");
    let status = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "--max-time",
        "20",
        "-w",
        "%{http_code}",
    ];
    let status = |url: &str| client(&mesh, &[&status[..], &[url]].concat());
    let unknown = json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
        "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}});
    mesh.write("sidecar.yaml", &objects::manifest(&[unknown]));
    // An address that neither a pod nor a service has.
    wait::until("the policy holds", SOON, || {
        status("http://198.51.100.7/") == "502"
    });
    let why = curl(&mesh, "http://198.51.100.7/");
    assert!(
        why.contains("REGISTRY_ONLY") && why.contains("ServiceEntry"),
        "{why}"
    );
    assert_eq!(curl(&mesh, "http://web/"), "web\n");
    assert_eq!(curl(&mesh, "http://api.example.com/"), "outside\n");
    assert_eq!(
        curl(&mesh, &direct),
        "outside\n",
        "a pod is known, meshed or not"
    );
}
