//! Envoy as the other sidecar, both ways: it calls a pod that takes only mutual TLS, and is called by a
//! pod of the mesh, with a certificate that our identity service issued to it, offering our names in ALPN,
//! names of its own, or none.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use heddle_identity::SpiffeId;
use heddle_identity::workload::{Settings, Workload};
use heddle_tests::envoy::{self, Spoken, Way};
use heddle_tests::mesh::{Mesh, sample, string, text};
use heddle_tests::objects::{self, Certificate, PYTHON};
use heddle_tests::scrape::Scrape;
use heddle_tests::wait;
use serde_json::{Value, json};

/// What is spoken, the last digit of the application's ports for it, and what declares it.
const SPOKEN: [(Spoken, u16, &str); 3] = [
    (Spoken::Http1, 0, "http"),
    (Spoken::Http2, 1, "http2"),
    (Spoken::Tcp, 4, "tcp"),
];
const STRICT_PORTS: [(&str, u16); 2] = [("a declared", 8000), ("an undeclared", 9000)];
const WORLD: &str = "default";

/// What ALPN may say of it: as our sidecars do, as others do, and nothing.
fn alpn(spoken: Spoken) -> [(&'static str, &'static [&'static str]); 3] {
    match spoken {
        Spoken::Http1 => [
            ("ours", &["heddle/http1"]),
            ("others'", &["http/1.1"]),
            ("no", &[]),
        ],
        Spoken::Http2 => [("ours", &["heddle/h2"]), ("others'", &["h2"]), ("no", &[])],
        Spoken::Tcp => [
            ("ours", &["heddle/tcp"]),
            ("others'", &["istio"]),
            ("no", &[]),
        ],
    }
}

#[test]
fn envoy_is_a_sidecar_too() {
    let mesh = start();
    let called = calls(&mesh);
    let serving = serves();
    let ways = called
        .iter()
        .map(|call| call.way.clone())
        .chain(serving.iter().map(|(_, way)| way.clone()));
    let config = envoy::bootstrap(&ways.collect::<Vec<_>>());
    let identity = certificate(&mesh);
    for pod in ["envoy", "impostor"] {
        configure(&mesh, pod, &identity, &config);
    }
    envoy_calls_a_strict_pod(&mesh, &called);
    envoy_without_a_certificate_is_refused(&mesh, &called);
    a_sidecar_calls_envoy(&mesh, &serving);
    a_sidecar_refuses_an_envoy_that_is_somebody_else(&mesh);
}

fn start() -> Mesh {
    let applications = [
        objects::container(
            "nginx",
            &["nginx", "-c", "/run/programs/matrix-nginx.conf"],
            Some(9005),
        ),
        objects::container(
            "python",
            &[PYTHON, "/run/programs/matrix_server.py"],
            Some(9004),
        ),
    ];
    let sleep = objects::container("app", &["sleep", "infinity"], None);
    let ports = SPOKEN.iter().flat_map(|(_, digit, declares)| {
        [
            (format!("{declares}-{digit}"), 8000 + digit),
            (format!("any-{digit}"), 9000 + digit),
        ]
    });
    let envoy_ports: Vec<(String, u16)> = serves()
        .into_iter()
        .map(|(serving, _)| (serving.port_name, serving.port))
        .collect();
    let objects = [
        Certificate::new(&["*.test"]).object(WORLD),
        objects::pod(WORLD, "server", &applications),
        objects::service(WORLD, "server", "server", &ports.collect::<Vec<_>>(), false),
        objects::pod(WORLD, "client", &[sleep]),
        envoy_pod("envoy", &applications),
        objects::service(WORLD, "envoy", "envoy", &envoy_ports, false),
        envoy_pod("impostor", &applications),
        objects::service(WORLD, "impostor", "impostor", &envoy_ports, false),
    ];
    Mesh::start(
        &[
            ("apps.yaml".into(), objects::manifest(&objects)),
            sample("mesh.yaml"),
        ],
        &[],
    )
}

/// A pod that has Envoy where others have our sidecar: it counts as one of the mesh, with the identity
/// of its service account.
fn envoy_pod(name: &str, applications: &[Value]) -> Value {
    let envoy = "until [ -e /run/data/envoy.json ]; do sleep 0.1; done\n\
        exec /run/venv/lib/python3*/site-packages/envoy/_bin/envoy -c /run/data/envoy.json \
        --concurrency 1 --disable-hot-restart --log-level warning";
    let envoy = objects::container("envoy", &["sh", "-c", envoy], None);
    let mut pod = objects::pod(WORLD, name, &[&[envoy], applications].concat());
    pod["metadata"]["labels"]["heddle.io/inject"] = json!("false");
    pod["metadata"]["annotations"] = json!({"heddle.io/status": "{}"});
    let spec = &mut pod["spec"];
    spec["serviceAccountName"] = json!(name);
    let token = json!({"serviceAccountToken": {"audience": "heddle", "expirationSeconds": 3600, "path": "token"}});
    spec["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "token", "projected": {"sources": [token]}}));
    let mounts = spec["containers"][0]["volumeMounts"]
        .as_array_mut()
        .unwrap();
    mounts.push(json!({"name": "token", "mountPath": "/run/token", "readOnly": true}));
    pod
}

fn id(account: &str) -> String {
    format!("spiffe://cluster.local/ns/{WORLD}/sa/{account}")
}

fn parsed(id: &str) -> SpiffeId {
    id.parse().unwrap()
}

/// The certificate and key that the identity service gives for the token of Envoy's pod.
fn certificate(mesh: &Mesh) -> String {
    let status = mesh.status();
    let dir = mesh.dir().join(".envoy");
    std::fs::create_dir(&dir).unwrap();
    let token_file = dir.join("token");
    std::fs::write(
        &token_file,
        mesh.exec("envoy", &["cat", "/run/token/token"]),
    )
    .unwrap();
    let settings = Settings {
        identity_address: string(&status["identity"]["address"]),
        identity_id: parsed("spiffe://cluster.local/ns/heddle-system/sa/heddle-identity"),
        own_id: parsed(&id("envoy")),
        token_file,
        trust_bundle_file: Path::new(&string(&status["state_dir"])).join("root-cert.pem"),
        state_dir: Some(dir.clone()),
        ttl: None,
        dns_names: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let workload = Workload::start(settings);
        let ready = tokio::time::timeout(Duration::from_secs(30), workload.ready());
        ready
            .await
            .unwrap_or_else(|_| panic!("no certificate: {:?}", workload.status().borrow()));
    });
    std::fs::read_to_string(dir.join("identity.pem")).unwrap()
}

/// Gives Envoy its files, and waits until it takes connections.
fn configure(mesh: &Mesh, pod: &str, identity: &str, config: &Value) {
    let roots = Path::new(&string(&mesh.status()["state_dir"])).join("root-cert.pem");
    let roots = std::fs::read_to_string(roots).unwrap();
    for (file, content) in [
        (envoy::IDENTITY, identity),
        (envoy::ROOTS, &roots),
        ("/run/data/envoy.json", &config.to_string()),
    ] {
        let put = format!("cat > {file}.new && mv {file}.new {file}");
        let mut command = mesh.command_in(WORLD, pod, &["sh", "-c", &put]);
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        process
            .stdin
            .take()
            .unwrap()
            .write_all(content.as_bytes())
            .unwrap();
        assert!(process.wait().unwrap().success(), "{file}");
    }
    wait::answer("Envoy is ready", Duration::from_secs(60), || {
        let url = format!("http://127.0.0.1:{}/ready", envoy::ADMIN);
        match mesh
            .command_in(WORLD, pod, &["curl", "-sS", "--fail", &url])
            .output()
            .unwrap()
        {
            ready if ready.status.success() => Ok(()),
            other => Err(text(&other)),
        }
    });
}

/// A call that Envoy makes to the server: through which of its ports, and what it is.
struct Call {
    what: String,
    spoken: Spoken,
    port: u16,
    /// The server's.
    to: u16,
    certificate: bool,
    way: [Value; 2],
}

fn calls(mesh: &Mesh) -> Vec<Call> {
    let server = string(&mesh.pod("server")["ip"]);
    let mut all: Vec<Call> = Vec::new();
    for (spoken, digit, _) in SPOKEN {
        for (kind, first) in STRICT_PORTS {
            for (whose, names) in alpn(spoken) {
                // One that has no certificate for each thing that is spoken.
                for certificate in
                    [true, false]
                        .into_iter()
                        .take(if whose == "ours" { 2 } else { 1 })
                {
                    let port = 6000 + u16::try_from(all.len()).unwrap();
                    let way = Way {
                        port,
                        spoken,
                        alpn: names,
                    };
                    let to = first + digit;
                    all.push(Call {
                        what: format!("{spoken:?} to {kind} port with {whose} ALPN"),
                        way: envoy::client(&way, (&server, to), &id("default"), certificate),
                        spoken,
                        port,
                        to,
                        certificate,
                    });
                }
            }
        }
    }
    all
}

/// What is said by whoever answers for `/word`, or for a line of it.
fn ask(
    mesh: &Mesh,
    pod: &str,
    spoken: Spoken,
    host: &str,
    port: u16,
    word: &str,
) -> Result<String, String> {
    let url = format!("http://{host}:{port}/{word}");
    let line = format!("echo {word} | nc.openbsd -w 10 {host} {port}");
    let command: &[&str] = match spoken {
        Spoken::Http1 => &["curl", "-sS", "--fail", "-i", "--http1.1", &url],
        Spoken::Http2 => &[
            "curl",
            "-sS",
            "--fail",
            "-i",
            "--http2-prior-knowledge",
            &url,
        ],
        Spoken::Tcp => &["sh", "-c", &line],
    };
    let output = mesh.command_in(WORLD, pod, command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() && said.trim_end().ends_with(word) {
        true => Ok(said),
        false => Err(text(&output)),
    }
}

fn envoy_calls_a_strict_pod(mesh: &Mesh, calls: &[Call]) {
    let calls: Vec<&Call> = calls.iter().filter(|call| call.certificate).collect();
    for (n, call) in calls.iter().enumerate() {
        let word = format!("called-{n}");
        let answer = ask(mesh, "envoy", call.spoken, "127.0.0.1", call.port, &word);
        answer.unwrap_or_else(|why| panic!("Envoy calls {}: {why}", call.what));
        println!("Envoy calls {}: answered", call.what);
    }
    let ip = string(&mesh.pod("server")["ip"]).parse().unwrap();
    let envoy = id("envoy");
    for (name, wanted) in [
        ("istio_requests_total", 12.0),
        ("istio_tcp_connections_opened_total", 6.0),
    ] {
        let labels = [
            ("reporter", "destination"),
            ("connection_security_policy", "mutual_tls"),
            ("source_principal", envoy.as_str()),
        ];
        wait::answer("Envoy is counted", Duration::from_secs(10), || {
            let counted = Scrape::of(ip)?.sum(name, &labels);
            (counted == wanted)
                .then_some(())
                .ok_or(format!("{name} is {counted}, not {wanted}"))
        });
    }
}

fn envoy_without_a_certificate_is_refused(mesh: &Mesh, calls: &[Call]) {
    let ip = string(&mesh.pod("server")["ip"]);
    for call in calls.iter().filter(|call| !call.certificate) {
        let refused = || {
            let scrape = Scrape::of(ip.parse().unwrap()).unwrap();
            scrape.sum("heddle_connections_refused_total", &[("reason", "tls")])
        };
        let before = refused();
        let answer = ask(mesh, "envoy", call.spoken, "127.0.0.1", call.port, "nobody");
        assert!(
            answer.is_err(),
            "Envoy without a certificate calls {}, port {}: {answer:?}",
            call.what,
            call.to
        );
        wait::until("the refusal is counted", Duration::from_secs(10), || {
            refused() > before
        });
    }
}

/// A port of Envoy's pod that is called.
struct Serving {
    what: String,
    spoken: Spoken,
    port: u16,
    port_name: String,
}

fn serves() -> Vec<(Serving, [Value; 2])> {
    let mut all: Vec<(Serving, [Value; 2])> = Vec::new();
    for (spoken, digit, declares) in SPOKEN {
        for (whose, names) in alpn(spoken) {
            let port = 7000 + u16::try_from(all.len()).unwrap();
            let serving = Serving {
                what: format!("{spoken:?} with {whose} ALPN"),
                spoken,
                port,
                port_name: format!("{declares}-{port}"),
            };
            all.push((
                serving,
                envoy::server(
                    &Way {
                        port,
                        spoken,
                        alpn: names,
                    },
                    8000 + digit,
                ),
            ));
        }
    }
    all
}

fn a_sidecar_calls_envoy(mesh: &Mesh, serving: &[(Serving, [Value; 2])]) {
    for (n, (serving, _)) in serving.iter().enumerate() {
        let word = format!("served-{n}");
        let answer = ask(mesh, "client", serving.spoken, "envoy", serving.port, &word);
        let answer = answer.unwrap_or_else(|why| panic!("calling Envoy, {}: {why}", serving.what));
        // Of a connection that is opaque to it, Envoy tells nobody; it had a certificate, or was not taken.
        if serving.spoken != Spoken::Tcp {
            let peer = format!("x-peer: {}", id("default"));
            assert!(answer.contains(&peer), "{}: {answer}", serving.what);
        }
        println!("Envoy is called, {}: answered", serving.what);
    }
}

/// It has a certificate of the mesh, and it is not the one of the pod that it is in.
fn a_sidecar_refuses_an_envoy_that_is_somebody_else(mesh: &Mesh) {
    let (serving, _) = &serves()[0];
    let url = format!("http://impostor:{}/", serving.port);
    let output = mesh
        .command_in(WORLD, "client", &["curl", "-sS", "-i", &url])
        .output()
        .unwrap();
    let answer = text(&output);
    assert!(
        answer.contains(" 503 ") && answer.to_ascii_lowercase().contains("x-heddle-flag: uf"),
        "{answer}"
    );
    let client = Scrape::of(string(&mesh.pod("client")["ip"]).parse().unwrap()).unwrap();
    assert!(
        client.sum(
            "heddle_connections_refused_total",
            &[("reason", "upstream-tls")]
        ) > 0.0
    );
}
