//! What applications speak, through two sidecars in STRICT, with programs that we did not write:
//! curl, nghttpd, gRPC's Python, Python's http.server, netcat.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::time::{Duration, Instant};

use heddle_tests::mesh::Mesh;

/// Names itself, then echoes: the server speaks first.
const BANNER: &str = r#"
import socketserver
class H(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 ready\r\n")
        for line in self.rfile: self.wfile.write(line)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", 7000), H).serve_forever()
"#;

/// Answers with how much it read, once the client has closed its half.
const COUNTER: &str = r#"
import socketserver
class H(socketserver.StreamRequestHandler):
    def handle(self):
        data = self.rfile.read()
        self.wfile.write(b"%d bytes\n" % len(data))
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", 7001), H).serve_forever()
"#;

const GRPC_SERVER: &str = r#"
import grpc
from concurrent import futures
def upper(request, context):
    context.set_trailing_metadata((("served-by", "python"),))
    return request.upper()
def count(request, context):
    for n in range(int(request)):
        yield b"%d" % n
def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
def join(requests, context):
    return b"".join(requests)
def echo(requests, context):
    yield from requests
class Api(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/api/upper": grpc.unary_unary_rpc_method_handler(upper),
            "/api/count": grpc.unary_stream_rpc_method_handler(count),
            "/api/join": grpc.stream_unary_rpc_method_handler(join),
            "/api/echo": grpc.stream_stream_rpc_method_handler(echo),
            "/api/fail": grpc.unary_unary_rpc_method_handler(fail),
        }.get(call.method)
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Api(),))
server.add_insecure_port("[::]:7002")
server.start()
server.wait_for_termination()
"#;

const GRPC_CLIENT: &str = r#"
import grpc
channel = grpc.insecure_channel("grpc:7002")
answer, call = channel.unary_unary("/api/upper").with_call(b"hello", timeout=10)
assert answer == b"HELLO", answer
assert ("served-by", "python") in [tuple(m) for m in call.trailing_metadata()], call.trailing_metadata()
numbers = list(channel.unary_stream("/api/count")(b"1000", timeout=10))
assert len(numbers) == 1000 and numbers[-1] == b"999", len(numbers)
assert channel.stream_unary("/api/join")(iter([b"a", b"b", b"c"]), timeout=10) == b"abc"
messages = [b"%d" % n for n in range(500)]
assert list(channel.stream_stream("/api/echo")(iter(messages), timeout=10)) == messages
try:
    channel.unary_unary("/api/fail")(b"", timeout=10)
    raise SystemExit("it should have failed")
except grpc.RpcError as e:
    assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and e.details() == "not today", e
print("grpc ok")
"#;

/// A Deployment and its Service. `port` is "name: number", a name that declares nothing or something.
fn app(name: &str, port_name: &str, port: u16, command: &[&str]) -> String {
    let command = serde_json::to_string(command).unwrap();
    let mut text = String::new();
    write!(
        text,
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec:\n      containers:\n      - name: app\n        image: none\n        command: {command}\n        \
         readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1, failureThreshold: 60}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  \
         ports:\n  - {{name: {port_name}, port: {port}}}\n"
    )
    .unwrap();
    text
}

fn python(script: &str) -> Vec<&str> {
    vec!["/usr/bin/python3", "-c", script]
}

#[test]
fn what_applications_speak() {
    let (_, strict) = heddle_tests::mesh::sample("mesh.yaml");
    let mut apps = String::new();
    apps += &app("banner", "smtp-like", 7000, &python(BANNER));
    apps += &app("banner-tcp", "tcp-banner", 7000, &python(BANNER));
    apps += &app("counter", "tcp", 7001, &python(COUNTER));
    apps += &app("grpc", "grpc", 7002, &python(GRPC_SERVER));
    apps += &app(
        "h2",
        "http2",
        7003,
        &["nghttpd", "--no-tls", "-d", "/usr/share", "7003"],
    );
    apps += &app(
        "h2-undeclared",
        "web",
        7003,
        &["nghttpd", "--no-tls", "-d", "/usr/share", "7003"],
    );
    apps += &app(
        "web",
        "web",
        7004,
        &[
            "/usr/bin/python3",
            "-m",
            "http.server",
            "-d",
            "/usr/share/common-licenses",
            "7004",
        ],
    );
    apps += "---\napiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec:\n  containers:\n  - name: app\n    \
             image: none\n    command: [sleep, infinity]\n";
    let mesh = Mesh::start(
        &[("apps.yaml".into(), apps), ("mesh.yaml".into(), strict)],
        &[],
    );
    http1_undeclared(&mesh);
    http2(&mesh);
    grpc_of_all_four_kinds(&mesh);
    server_speaks_first(&mesh);
    half_close(&mesh);
    a_pod_by_its_address(&mesh);
    a_pod_calls_itself(&mesh);
    everything_was_mutual_tls(&mesh);
}

fn http1_undeclared(mesh: &Mesh) {
    for _ in 0..3 {
        let license = mesh.exec(
            "client",
            &["curl", "-sS", "--fail", "http://web:7004/Apache-2.0"],
        );
        assert!(license.contains("Apache License"), "{license}");
    }
    let old = mesh.exec(
        "client",
        &["curl", "-sS", "--fail", "-0", "http://web:7004/BSD"],
    );
    assert!(old.contains("Redistribution"), "{old}");
    let head = mesh.exec(
        "client",
        &["curl", "-sS", "--fail", "-I", "http://web:7004/BSD"],
    );
    assert!(
        head.to_ascii_lowercase().contains("content-length:"),
        "{head}"
    );
}

fn http2(mesh: &Mesh) {
    for host in ["h2", "h2-undeclared"] {
        let url = format!("http://{host}:7003/common-licenses/Apache-2.0");
        let version = [
            "curl",
            "-sS",
            "--fail",
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version}",
            &url,
        ];
        assert_eq!(mesh.exec("client", &version), "2", "{host}");
        let load = mesh.exec(
            "client",
            &["h2load", "-n", "500", "-c", "4", "-m", "10", &url],
        );
        assert!(
            load.contains("500 succeeded, 0 failed, 0 errored"),
            "{host}: {load}"
        );
    }
}

fn grpc_of_all_four_kinds(mesh: &Mesh) {
    assert_eq!(mesh.exec("client", &python(GRPC_CLIENT)).trim(), "grpc ok");
}

fn server_speaks_first(mesh: &Mesh) {
    for host in ["banner", "banner-tcp"] {
        let script = format!(
            "import socket\ns = socket.create_connection(('{host}', 7000), 10)\nf = s.makefile('rwb')\n\
             print(f.readline().decode().strip())\nf.write(b'hello\\n')\nf.flush()\nprint(f.readline().decode().strip())"
        );
        let started = Instant::now();
        assert_eq!(
            mesh.exec("client", &python(&script)),
            "220 ready\nhello\n",
            "{host}"
        );
        // Other meshes wait for ten seconds here.
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "{host} stalled: {:?}",
            started.elapsed()
        );
    }
}

fn half_close(mesh: &Mesh) {
    let answer = mesh.exec(
        "client",
        &[
            "sh",
            "-c",
            "head -c 3000000 /dev/zero | nc.openbsd -N -w 20 counter 7001",
        ],
    );
    assert_eq!(answer, "3000000 bytes\n");
}

fn a_pod_by_its_address(mesh: &Mesh) {
    let ip = heddle_tests::mesh::string(&mesh.pod("web")["ip"]);
    let license = mesh.exec(
        "client",
        &["curl", "-sS", "--fail", &format!("http://{ip}:7004/BSD")],
    );
    assert!(license.contains("Redistribution"), "{license}");
    let ips = mesh.pod("web")["ips"].as_array().unwrap().clone();
    let v6 = ips
        .iter()
        .filter_map(|ip| ip.as_str())
        .find(|ip| ip.contains(':'));
    if let Some(v6) = v6 {
        let url = format!("http://[{v6}]:7002/");
        // gRPC's Python listens on IPv6; what curl gets is HTTP/2 all the way.
        let grpc = mesh.pod("grpc")["ips"].as_array().unwrap().clone();
        let grpc = grpc
            .iter()
            .filter_map(|ip| ip.as_str())
            .find(|ip| ip.contains(':'))
            .unwrap();
        let url = url.replace(v6, grpc);
        let version = [
            "curl",
            "-sS",
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version}",
            &url,
        ];
        assert_eq!(mesh.exec("client", &version), "2");
    }
}

fn a_pod_calls_itself(mesh: &Mesh) {
    for url in ["http://web:7004/BSD", "http://127.0.0.1:7004/BSD"] {
        let license = mesh.exec("web", &["curl", "-sS", "--fail", url]);
        assert!(license.contains("Redistribution"), "{url}: {license}");
    }
}

fn everything_was_mutual_tls(mesh: &Mesh) {
    let metrics = mesh.exec(
        "web",
        &["curl", "-sS", "http://127.0.0.1:15090/stats/prometheus"],
    );
    let served: Vec<&str> = metrics
        .lines()
        .filter(|l| {
            l.starts_with("istio_requests_total{") && l.contains("reporter=\"destination\"")
        })
        .collect();
    assert!(!served.is_empty(), "{metrics}");
    for line in served {
        assert!(
            line.contains("connection_security_policy=\"mutual_tls\""),
            "{line}"
        );
    }
}
