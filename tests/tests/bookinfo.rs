//! The Bookinfo sample, as the README shows it: exact splits, header matches, cluster names, TLS on
//! the wire, and callers without a certificate kept out.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use heddle_apiserver::{ApiServer, Options, istio};
use heddle_tests::mesh::{Mesh, string, text};
use heddle_tests::{netns, wait};
use serde_json::Value;
use tokio::runtime::Runtime;

/// GETs reviews many times over one connection from productpage's pod; counts the versions.
fn versions(mesh: &Mesh, n: usize, header: Option<&str>) -> BTreeMap<String, usize> {
    let url = format!("http://reviews:9080/reviews/0?n=[1-{n}]");
    let mut command = vec!["curl", "-sS", "--fail", "-w", "\\n"];
    if let Some(header) = header {
        command.extend(["-H", header]);
    }
    command.push(&url);
    let mut counts = BTreeMap::new();
    for answer in mesh
        .exec("productpage-v1", &command)
        .lines()
        .filter(|l| !l.is_empty())
    {
        let answer: Value = serde_json::from_str(answer).unwrap();
        *counts.entry(string(&answer["version"])).or_default() += 1;
    }
    counts
}

#[test]
fn bookinfo() {
    let mesh = Mesh::bookinfo();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(cluster_of(&mesh));
    every_pod_is_ready_and_has_an_identity(&mesh);
    a_split_is_exact_and_a_header_decides(&mesh);
    cluster_names_resolve_to_service_addresses(&mesh);
    the_pod_network_carries_only_tls_1_3(&mesh);
    plain_text_is_refused(&mesh);
    a_foreign_certificate_is_refused(&mesh);
    sidecars_are_small(&mesh);
    metrics_have_the_names_dashboards_know(&mesh);
    a_sidecar_explains_what_it_does(&mesh);
    a_route_is_shown_with_its_status(&mesh);
    recorded_requests_are_decided_again(&mesh);
    logs_are_shown_and_followed(&mesh);
    a_cluster_is_asked_as_this_machine_is(&mesh, &runtime, &api);
}

fn every_pod_is_ready_and_has_an_identity(mesh: &Mesh) {
    let status = mesh.status();
    let pods = status["pods"].as_array().unwrap();
    assert_eq!(pods.len(), 6, "{status:#}");
    for pod in pods {
        assert_eq!(pod["ready"], true, "{pod:#}");
        let app = string(&pod["name"]);
        let app = app.split('-').next().unwrap();
        let expected = format!("spiffe://cluster.local/ns/default/sa/bookinfo-{app}");
        assert_eq!(pod["identity"], expected, "{pod:#}");
        assert!(pod["certificate_expiry"].is_string(), "{pod:#}");
        let proxy = pod["proxy_pid"].as_u64().unwrap();
        assert_eq!(uid(proxy), 1337, "the sidecar's user");
        let app = pod["app_pids"][0].as_u64().unwrap();
        assert_eq!(uid(app), 1000, "the application's user");
    }
}

/// As the node keeps them; what comes is shown too, by whose it is.
fn logs_are_shown_and_followed(mesh: &Mesh) {
    let kept = mesh.sidecar_log("productpage-v1");
    let shown = mesh.ok(&["logs", "productpage-v1"]);
    assert!(!kept.is_empty() && shown.starts_with(&kept), "{shown}");
    let all = mesh.ok(&["logs"]);
    let first = kept.lines().next().unwrap();
    let named = format!("{} heddle-proxy: {first}", pod_name(mesh, "productpage"));
    assert!(all.lines().any(|line| line == named), "{named}: {all}");

    let mut following = mesh
        .command(&["logs", "--app", "-f", "productpage-v1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pod = mesh.pod("productpage");
    let containers = pod["containers"].as_array().unwrap();
    let app = containers
        .iter()
        .find(|one| one["kind"] == "app" && one["name"] != "heddle-proxy");
    let log = string(&app.unwrap()["log"]);
    // As if the application wrote it, when there is nothing to be written any more.
    let mut file = std::fs::OpenOptions::new().append(true).open(log).unwrap();
    writeln!(file, "written by a test").unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let found = lines
        .map_while(Result::ok)
        .any(|line| line == "written by a test");
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(found, "it ended before");
}

fn pod_name(mesh: &Mesh, prefix: &str) -> String {
    string(&mesh.pod(prefix)["name"])
}

fn uid(pid: u64) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("Uid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn a_split_is_exact_and_a_header_decides(mesh: &Mesh) {
    let everyone = versions(mesh, 1000, None);
    assert_eq!(everyone, [("v1".into(), 900), ("v2".into(), 100)].into());
    let premium = versions(mesh, 100, Some("user-type: premium"));
    assert_eq!(premium, [("v2".into(), 100)].into());
}

/// By the command line, the daemon, and the pod's own sidecar; the servers' sidecars tell their side.
fn a_sidecar_explains_what_it_does(mesh: &Mesh) {
    let explain = |more: &[&str]| {
        let args = ["explain", "--from", "default/productpage-v1"];
        mesh.json(&[&args[..], more].concat())
    };
    let url = "http://reviews:9080/reviews/0";
    let premium = explain(&["-H", "user-type: premium", url]);
    assert_eq!(premium["answered_by"], "sidecar", "{premium:#}");
    assert_eq!(premium["service"], "default/reviews");
    assert_eq!(premium["destinations"][0]["subset"], "v2");
    assert_eq!(premium["destinations"][0]["percent"], 100.0);
    let told = &premium["decision"]["pod"];
    assert!(string(told).starts_with("default/productpage-v1"), "{told}");
    let everyone = explain(&[url]);
    let shares: Vec<_> = (everyone["destinations"].as_array().unwrap().iter())
        .map(|share| (string(&share["subset"]), share["percent"].as_f64().unwrap()))
        .collect();
    assert_eq!(shares, [("v1".into(), 90.0), ("v2".into(), 10.0)]);
    let admissions = everyone["admissions"].as_array().unwrap();
    assert_eq!(admissions.len(), 2, "{everyone:#}");
    for admission in admissions {
        assert_eq!(
            (&admission["mtls"], &admission["allowed"]),
            (&"STRICT".into(), &true.into())
        );
        assert_eq!(admission["policy"]["kind"], "PeerAuthentication");
    }
    // Nobody called it from there yet.
    let fresh = explain(&["http://details:9080/"]);
    assert_eq!(fresh["decision"]["outcome"], "forwarded", "{fresh:#}");
    let nowhere = explain(&["http://nowhere.invalid/"]);
    assert_eq!(
        nowhere["decision"]["outcome"], "no_such_name",
        "{nowhere:#}"
    );
    let nobody = mesh.heddle(&["explain", "--from", "default/nobody", url]);
    assert!(!nobody.status.success());
    let told = text(&nobody);
    assert!(told.contains("no pod or workload `nobody`"), "{told}");
}

fn recorded_requests_are_decided_again(mesh: &Mesh) {
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {name: reviews-route}\nspec:\n  hosts: [reviews]\n  http:\n  \
                 - match: [{headers: {user-type: {exact: premium}}}]\n    \
                 route: [{destination: {host: reviews, subset: v2}}]\n  \
                 - route: [{destination: {host: reviews, subset: v1}}]\n";
    mesh.write("what-if.txt", route);
    let file = mesh.dir().join("what-if.txt");
    let traces = mesh.dir().join("traces.txt");
    let what_if = |more: &[&str]| {
        let file = file.display().to_string();
        mesh.json(&[&["what-if", "-f", &file][..], more].concat())
    };
    let report = what_if(&[]);
    let moves = report["moves"].as_array().unwrap();
    assert!(!moves.is_empty(), "{report:#}");
    for one in moves {
        assert_eq!(
            (&one["from"]["subset"], &one["to"]["subset"]),
            (&"v2".into(), &"v1".into())
        );
    }
    assert_eq!(report["undecided"], serde_json::json!([]), "{report:#}");
    std::fs::write(&traces, mesh.ok(&["traces", "--spans", "-o", "json"])).unwrap();
    let again = what_if(&["--from-traces", &traces.display().to_string()]);
    assert!(
        again["requests"].as_u64() >= report["requests"].as_u64(),
        "{again:#}"
    );
    // Nothing was applied.
    assert_eq!(versions(mesh, 100, None)["v2"], 10);
}

fn a_route_is_shown_with_its_status(mesh: &Mesh) {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: details}\n\
                 spec:\n  parentRefs: [{group: '', kind: Service, name: details}]\n  \
                 rules:\n  - backendRefs: [{name: nobody, port: 9080}]\n";
    mesh.write("route.yaml", route);
    let shown = || mesh.heddle(&["get", "httproute", "details", "-o", "json"]);
    wait::until("the route's status", Duration::from_secs(30), || {
        let route: Value = serde_json::from_slice(&shown().stdout).unwrap_or_default();
        let conditions = route["status"]["parents"][0]["conditions"].as_array();
        let told: Vec<_> = (conditions.into_iter().flatten())
            .map(|one| {
                (
                    string(&one["type"]),
                    string(&one["status"]),
                    string(&one["reason"]),
                )
            })
            .collect();
        let wanted = [
            ("Accepted", "True", "Accepted"),
            ("ResolvedRefs", "False", "BackendNotFound"),
        ];
        told == wanted.map(|(kind, status, reason)| (kind.into(), status.into(), reason.into()))
    });
    let table = mesh.ok(&["get", "httproutes"]);
    assert!(
        table.contains("ACCEPTED") && table.contains("True"),
        "{table}"
    );
    std::fs::remove_file(mesh.dir().join("route.yaml")).unwrap();
    wait::until("the route to be gone", Duration::from_secs(30), || {
        !shown().status.success()
    });
}

/// The mesh's objects in an API server, and its pods behind the port-forward there.
async fn cluster_of(mesh: &Mesh) -> ApiServer {
    let api = ApiServer::start(Options::default()).await.unwrap();
    api.install(&istio()).await;
    for namespace in ["heddle-system", "istio-system"] {
        api.namespace(namespace).await;
    }
    let pods = mesh.status();
    for pod in pods["pods"].as_array().unwrap() {
        let netns = string(&pod["netns"]);
        let name = format!("{}/{}", string(&pod["namespace"]), string(&pod["name"]));
        api.open_ports(&name, move |port| {
            netns::run(&netns, move || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            })
        });
    }
    let objects = mesh.json(&["get", "pods,svc,vs,dr,pa", "-A"]);
    for object in objects["items"].as_array().unwrap() {
        api.put(object.clone()).await.unwrap();
    }
    api
}

/// The runtime is what the API server runs on.
fn a_cluster_is_asked_as_this_machine_is(mesh: &Mesh, _runtime: &Runtime, api: &ApiServer) {
    let kubeconfig = mesh.dir().join("kubeconfig.txt");
    std::fs::write(&kubeconfig, api.kubeconfig(&api.admin_token(), None)).unwrap();
    let ask = |args: &[&str]| -> Value {
        let mut command = mesh.command(&[args, &["-o", "json"]].concat());
        let output = command.env("KUBECONFIG", &kubeconfig).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for more in [&["-H", "user-type: premium"][..], &[]] {
        let url = "http://reviews:9080/reviews/0";
        let asked = ["explain", "--from", "default/productpage-v1", url];
        let asked = [&asked[..], more].concat();
        let (here, there) = (ask(&asked), ask(&[&asked[..], &["--cluster"]].concat()));
        assert_eq!(there["answered_by"], "sidecar");
        assert!(!there["admissions"].as_array().unwrap().is_empty());
        assert_eq!(here, there);
    }
    // In a cluster a rule has no file.
    let mut traces: Value =
        serde_json::from_str(&mesh.ok(&["traces", "--spans", "-o", "json"])).unwrap();
    for trace in traces.as_array_mut().unwrap() {
        for span in trace["spans"].as_array_mut().unwrap() {
            if let Some(Value::String(route)) = span["attributes"].get_mut("heddle.route") {
                route.truncate(route.find(" (").unwrap_or(route.len()));
            }
        }
    }
    let in_cluster = mesh.dir().join("cluster.txt");
    std::fs::write(&in_cluster, traces.to_string()).unwrap();
    let file = mesh.dir().join("what-if.txt").display().to_string();
    let in_cluster = in_cluster.display().to_string();
    let report = ask(&[
        "what-if",
        "-f",
        &file,
        "--from-traces",
        &in_cluster,
        "--cluster",
    ]);
    assert!(report["requests"].as_u64() > Some(100), "{report:#}");
    let moves = report["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 1, "{report:#}");
    assert_eq!(
        (&moves[0]["from"]["subset"], &moves[0]["to"]["subset"]),
        (&"v2".into(), &"v1".into())
    );
    let rule = "VirtualService/default/reviews-route#1";
    assert_eq!(moves[0]["from_rule"], rule, "{report:#}");
    let undecided = report["undecided"].as_array().unwrap();
    let open: u64 = undecided
        .iter()
        .filter_map(|one| one["count"].as_u64())
        .sum();
    // Those of the second in which the route was written are not proven by it.
    assert!(open < report["requests"].as_u64().unwrap(), "{report:#}");
}

fn cluster_names_resolve_to_service_addresses(mesh: &Mesh) {
    let expected = mesh.service_ip("reviews");
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        "reviews.default.svc.cluster.local",
    ] {
        let answer = mesh.exec("ratings-v1", &["getent", "ahostsv4", name]);
        let ip = answer.split_whitespace().next().unwrap_or_default();
        assert_eq!(ip, expected, "{name}: {answer}");
    }
    let nobody = mesh.heddle(&["exec", "ratings-v1", "--", "getent", "ahostsv4", "nobody"]);
    assert!(!nobody.status.success());
}

fn the_pod_network_carries_only_tls_1_3(mesh: &Mesh) {
    let netns = mesh.netns("reviews-v2");
    let capture = mesh.dir().join("capture.pcap");
    let mut tshark = Command::new("ip")
        .args([
            "netns",
            "exec",
            &netns,
            "tshark",
            "-q",
            "-i",
            "eth0",
            "-f",
            "tcp port 9080",
            "-w",
        ])
        .arg(&capture)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("tshark captures", Duration::from_secs(20), || {
        capture.exists()
    });
    let read = |filter: &str, fields: &[&str]| {
        let output = Command::new("tshark")
            .args([
                "-d",
                "tcp.port==9080,tls",
                "-Y",
                filter,
                "-T",
                "fields",
                "-r",
            ])
            .arg(&capture)
            .args(fields.iter().flat_map(|f| ["-e", f]))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // A restarted sidecar makes new connections, so that a handshake is seen.
    let before = mesh.pod("reviews-v2")["proxy_pid"].clone();
    kill(before.as_u64().unwrap());
    wait::until("the sidecar is back", Duration::from_secs(30), || {
        let pod = mesh.pod("reviews-v2");
        pod["ready"] == true && pod["proxy_pid"] != before
    });
    wait::until("a handshake is captured", Duration::from_secs(30), || {
        versions(mesh, 5, Some("user-type: premium"));
        !read(
            "tls.handshake.type == 2",
            &["tls.handshake.extensions.supported_version"],
        )
        .is_empty()
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(tshark.id() as i32),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    tshark.wait().unwrap();
    let versions = read(
        "tls.handshake.type == 2",
        &["tls.handshake.extensions.supported_version"],
    );
    for version in versions.lines() {
        assert_eq!(version, "0x0304", "a ServerHello that is not TLS 1.3");
    }
    let clear = read("frame contains \"/reviews/\"", &["frame.number"]);
    assert!(clear.is_empty(), "requests in the clear in frames {clear}");
}

fn kill(pid: u64) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn plain_text_is_refused(mesh: &Mesh) {
    let ip = string(&mesh.pod("reviews-v1")["ip"]);
    // From the host, which reaches pods but has no sidecar.
    let output = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "10",
            &format!("http://{ip}:9080/reviews/0"),
        ])
        .output()
        .unwrap();
    assert!(
        !output.status.success(),
        "plain text was answered: {output:?}"
    );
    wait::until("the refusal is logged", Duration::from_secs(10), || {
        let log = mesh.sidecar_log("reviews-v1");
        log.lines()
            .any(|l| l.contains("refused") && l.contains("plain text"))
    });
}

fn a_foreign_certificate_is_refused(mesh: &Mesh) {
    let ip = string(&mesh.pod("reviews-v1")["ip"]);
    let (key, certificate) = (
        mesh.dir().join("foreign.key"),
        mesh.dir().join("foreign.pem"),
    );
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x"
                .split(' '),
        )
        .args([
            "-addext",
            "subjectAltName=URI:spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let address = format!("{ip}:9080");
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address,
            "-tls1_3",
            "-alpn",
            "heddle/http1",
            "-quiet",
        ])
        .arg("-cert")
        .arg(&certificate)
        .arg("-key")
        .arg(&key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    // The refusal may close the pipe first.
    let _ = std::io::Write::write_all(
        &mut stdin,
        b"GET /reviews/0 HTTP/1.1\r\nHost: reviews\r\n\r\n",
    );
    let output = client.wait_with_output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(
        !answer.contains("HTTP/1.1"),
        "a foreign certificate was answered: {answer}"
    );
    wait::until("the refusal is logged", Duration::from_secs(10), || {
        let log = mesh.sidecar_log("reviews-v1");
        log.lines()
            .any(|l| l.contains("refused") && l.contains("certificate"))
    });
}

/// The issue's bound for an idle sidecar is 15 MiB; these have served, and are unoptimised.
fn sidecars_are_small(mesh: &Mesh) {
    let pid = mesh.pod("details-v1")["proxy_pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // What the process has allocated: pages of the unoptimised binary are not counted.
    let anonymous = field("RssAnon:");
    assert!(
        anonymous < 15 * 1024,
        "an idle sidecar has {anonymous} KiB of its own memory"
    );
}

fn metrics_have_the_names_dashboards_know(mesh: &Mesh) {
    let ip = string(&mesh.pod("productpage-v1")["ip"]);
    let scrape = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "--max-time",
            "10",
            &format!("http://{ip}:15020/stats/prometheus"),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&scrape.stdout);
    let line = text
        .lines()
        .find(|l| {
            l.starts_with("istio_requests_total{")
                && l.contains("reporter=\"source\"")
                && l.contains("destination_service_name=\"reviews\"")
                && l.contains("destination_version=\"v1\"")
                && l.contains("response_code=\"200\"")
        })
        .unwrap_or_else(|| panic!("no such series in:\n{text}"));
    let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 900.0, "{line}");
    // The loopback port of the sidecar is not for others.
    let netns = mesh.netns("productpage-v1");
    let reached = netns::run(&netns, move || {
        let addr = format!("{ip}:15000").parse().unwrap();
        std::net::TcpStream::connect_timeout(&addr, Duration::from_secs(2)).is_ok()
    });
    assert!(!reached, "the admin port listens beyond loopback");
}
