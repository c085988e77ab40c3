//! Programs that we did not write, each asked by its own client: the answers through two sidecars are
//! those that the same script gets between two pods without any, on ports that declare what they speak
//! and on ports that do not.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread;

use heddle_tests::mesh::{Mesh, sample, string};
use heddle_tests::objects::{self, Certificate, PYTHON};
use heddle_tests::scrape::Scrape;

/// One of the containers of the pod that serves: its name, what it runs, where it then listens.
const SERVERS: &[(&str, &[&str], u16)] = &[
    ("nginx", &["/run/programs/nginx.sh"], 8443),
    (
        "websocket",
        &[PYTHON, "/run/programs/websocket_server.py"],
        8082,
    ),
    ("grpc", &[PYTHON, "/run/programs/grpc_server.py"], 8083),
    ("mariadb", &["/run/programs/mariadb.sh"], 3306),
    ("postgres", &["/run/programs/postgres.sh"], 5432),
    ("redis", &["/run/programs/redis.sh"], 6379),
    ("smtp", &[PYTHON, "/run/programs/smtp_server.py"], 2525),
    ("git", &["/run/programs/git.sh"], 9418),
];

/// How they are called, and what their ports declare.
const SERVICES: &[(&str, &[(&str, u16)])] = &[
    (
        "web",
        &[("http-web", 8080), ("http2-web", 8081), ("https-web", 8443)],
    ),
    ("chat", &[("http-chat", 8082)]),
    ("api", &[("grpc-api", 8083), ("grpc-aging", 8084)]),
    ("mariadb", &[("tcp-mariadb", 3306)]),
    ("postgres", &[("tcp-postgres", 5432)]),
    ("redis", &[("tcp-redis", 6379)]),
    ("smtp", &[("tcp-smtp", 2525)]),
    ("git", &[("tcp-git", 9418)]),
];

/// A script of `tests/programs`, and lines that show that it asked what it is there for.
struct Asked {
    what: &'static str,
    script: &'static [&'static str],
    says: &'static [&'static str],
}

const ASKED: &[Asked] = &[
    Asked {
        what: "nginx by curl, HTTP/1.0",
        script: &["/run/programs/ask_curl.sh", "1.0"],
        says: &[
            "HTTP/1.0 200",
            "status 206",
            "status 304",
            "body: 33554432 bytes",
            "kept in HTTP/1.0: 1 0 0 0 0",
        ],
    },
    Asked {
        what: "nginx by curl, HTTP/1.1",
        script: &["/run/programs/ask_curl.sh", "1.1"],
        says: &[
            "HTTP/1.1 200",
            "status 100",
            "status 413",
            "x-checksum: correct",
            "transfer-encoding: chunked",
        ],
    },
    Asked {
        what: "nginx by curl, HTTP/2 with prior knowledge",
        script: &["/run/programs/ask_curl.sh", "2"],
        says: &["HTTP/2 200", "x-checksum: correct", "400 succeeded"],
    },
    Asked {
        what: "nginx by curl, an offer of HTTP/2 that is not taken",
        script: &["/run/programs/ask_curl.sh", "2-upgrade"],
        says: &["HTTP/1.1 200"],
    },
    Asked {
        what: "nginx by curl, HTTP/2 by ALPN in TLS of its own",
        script: &["/run/programs/ask_curl.sh", "2-tls"],
        says: &["HTTP/2 200", "body: 33554432 bytes"],
    },
    Asked {
        what: "git over HTTPS of its own",
        script: &["/run/programs/ask_git.sh", "https"],
        says: &[
            "refs/heads/main",
            "the commit 3",
            "a server that is not known: 128",
        ],
    },
    Asked {
        what: "git by its own protocol",
        script: &["/run/programs/ask_git.sh", "git"],
        says: &["the commit 3", "refs/heads/pushed"],
    },
    Asked {
        what: "gRPC's Python",
        script: &[PYTHON, "/run/programs/ask_grpc.py"],
        says: &[
            "server streaming: 1000 b'999'",
            "10,000 messages on one stream: True",
            "an error: FAILED_PRECONDITION not today: 50% of é [('grpc-status-details-bin', b'\\x08\\t\\x00\\xff'), ('x-why', 'closed on Saturdays')]",
            "metadata back: [('x-first', 'head'), ('x-first-bin', b'\\x00\\x01\\xfe')] [('x-last', 'tail'), ('x-last-bin', b'\\xff\\x00')]",
            "a deadline reaches the server: b'within 10 s'",
            "a deadline that passes: DEADLINE_EXCEEDED",
            "a call that is cancelled: cancelled",
            "the server sees it: b'ended'",
            "the server sees its end: b'ended'",
            "500 calls of a server that ends its connections: True",
            "and a stream that outlives its own: b'99'",
        ],
    },
    Asked {
        what: "WebSocket by Python's websockets",
        script: &[PYTHON, "/run/programs/ask_websocket.py"],
        says: &[
            "4 MiB, compression deflate True",
            "closed by the server: 4001 'as you wish'",
            "as the server saw it: (3000, 'enough')",
            "when the client is gone: (1006, '')",
            "turned away: 403",
        ],
    },
    Asked {
        what: "MariaDB by its own client",
        script: &["/run/programs/ask_mariadb.sh"],
        says: &["8000000", "doesn't exist", "Access denied"],
    },
    Asked {
        what: "PostgreSQL by its own client, plain and with TLS of its own",
        script: &["/run/programs/ask_postgres.sh"],
        says: &[
            "== sealed?\nf",
            "== sealed?\nt",
            "COPY 19999",
            "canceling statement due to statement timeout",
        ],
    },
    Asked {
        what: "Redis by its own client",
        script: &["/run/programs/ask_redis.sh"],
        says: &[
            "errors: 0, replies: 10000",
            "waited for: queue job",
            "message news last",
        ],
    },
    Asked {
        what: "mail by Python's smtplib",
        script: &[PYTHON, "/run/programs/ask_smtp.py"],
        says: &["greeting: (220,", "starttls: (220,", "sealed, for 1", "550"],
    },
];

/// A namespace: whether its pods have sidecars, whether its ports declare what they speak.
const WORLDS: [(&str, bool, bool); 3] = [
    ("unmeshed", false, true),
    ("declared", true, true),
    ("undeclared", true, false),
];

#[test]
fn programs_get_the_answers_that_they_get_without_a_mesh() {
    let certificate = Certificate::new(&["web", "postgres", "smtp"]);
    let objects = WORLDS
        .iter()
        .flat_map(|world| objects_of(*world, &certificate));
    let apps = objects::manifest(&objects.collect::<Vec<_>>());
    let mesh = Mesh::start(&[("apps.yaml".into(), apps), sample("mesh.yaml")], &[]);

    let mesh = &mesh;
    let [without, declared, undeclared] = thread::scope(|scope| {
        let asking = WORLDS.map(|(world, ..)| scope.spawn(move || ask_everything(mesh, world)));
        asking.map(|thread| thread.join().unwrap())
    });
    let mut wrong = String::new();
    for (n, asked) in ASKED.iter().enumerate() {
        let before = wrong.len();
        for says in asked.says.iter().filter(|says| !without[n].contains(*says)) {
            writeln!(
                wrong,
                "{}: nothing says {says:?} without a mesh:\n{}",
                asked.what, without[n]
            )
            .unwrap();
        }
        for (ports, answers) in [("declared", &declared[n]), ("undeclared", &undeclared[n])] {
            if *answers != without[n] {
                let how = difference(&without[n], answers);
                writeln!(
                    wrong,
                    "{}, {ports} ports: the answers differ:\n{how}",
                    asked.what
                )
                .unwrap();
            }
        }
        println!(
            "{} {}",
            if before == wrong.len() {
                "same "
            } else {
                "WRONG"
            },
            asked.what
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
    everything_was_mutual_tls_and_taken_for_what_it_is(mesh);
}

fn objects_of(
    (world, meshed, declares): (&str, bool, bool),
    certificate: &Certificate,
) -> Vec<serde_json::Value> {
    let servers: Vec<_> = SERVERS
        .iter()
        .map(|(name, command, port)| objects::container(name, command, Some(*port)))
        .collect();
    let sleep = [objects::container("app", &["sleep", "infinity"], None)];
    let mut all = vec![
        objects::namespace(world, meshed),
        certificate.object(world),
        objects::pod(world, "client", &sleep),
        objects::pod(world, "servers", &servers),
    ];
    for (name, ports) in SERVICES {
        let silent = if declares { "" } else { "x-" };
        let ports: Vec<_> = ports
            .iter()
            .map(|(name, port)| (format!("{silent}{name}"), *port))
            .collect();
        all.push(objects::service(world, name, "servers", &ports, !meshed));
    }
    all
}

/// What each script prints in the client's pod of a namespace.
fn ask_everything(mesh: &Mesh, world: &str) -> Vec<String> {
    let ask = |asked: &Asked| {
        let began = std::time::Instant::now();
        let output = mesh
            .command_in(world, "client", asked.script)
            .output()
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        writeln!(text, "{}", output.status).unwrap();
        println!(
            "{:5.1} s {world}: {}",
            began.elapsed().as_secs_f64(),
            asked.what
        );
        text
    };
    ASKED.iter().map(ask).collect()
}

/// The lines that only one of two texts has, those of the first marked `-`, by their longest common
/// subsequence.
fn difference(first: &str, second: &str) -> String {
    let (ours, theirs): (Vec<_>, Vec<_>) = (first.lines().collect(), second.lines().collect());
    // How many lines the rests from here on have in common.
    let mut common = vec![vec![0; theirs.len() + 1]; ours.len() + 1];
    for i in (0..ours.len()).rev() {
        for j in (0..theirs.len()).rev() {
            common[i][j] = match ours[i] == theirs[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text, mut about) = (0, 0, String::new(), "");
    while i < ours.len() || j < theirs.len() {
        let (first, second) = (ours.get(i), theirs.get(j));
        if first.is_some() && first == second {
            about = first
                .filter(|line| line.starts_with("== "))
                .unwrap_or(&about);
            (i, j) = (i + 1, j + 1);
        } else if second.is_none() || (first.is_some() && common[i + 1][j] >= common[i][j + 1]) {
            writeln!(text, "  {about}  - {}", ours[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "  {about}  + {}", theirs[j]).unwrap();
            j += 1;
        }
    }
    text
}

/// Requests are counted as requests, gRPC's as gRPC's, all else as connections; nothing was refused.
fn everything_was_mutual_tls_and_taken_for_what_it_is(mesh: &Mesh) {
    for world in ["declared", "undeclared"] {
        let scrape = |pod| {
            let ip = string(&mesh.pod_in(world, pod)["ip"]);
            Scrape::of(ip.parse().unwrap()).unwrap()
        };
        let (client, server) = (scrape("client"), scrape("servers"));
        for sidecar in [&client, &server] {
            let refused = sidecar.by("heddle_connections_refused_total", "reason", &[]);
            assert!(refused.values().all(|n| *n == 0), "{world}: {refused:?}");
        }
        for name in ["istio_requests_total", "istio_tcp_connections_opened_total"] {
            let policies = server.by(
                name,
                "connection_security_policy",
                &[("reporter", "destination")],
            );
            let policies: Vec<_> = policies.keys().collect();
            assert_eq!(policies, ["mutual_tls"], "{world}: {name}");
        }
        let services = |name: &str, labels: &[(&str, &str)]| -> BTreeSet<String> {
            let labels = [labels, &[("reporter", "source")]].concat();
            client
                .by(name, "destination_service_name", &labels)
                .into_keys()
                .collect()
        };
        let set = |names: &[&str]| {
            names
                .iter()
                .map(ToString::to_string)
                .collect::<BTreeSet<_>>()
        };
        let requests =
            |protocol| services("istio_requests_total", &[("request_protocol", protocol)]);
        assert_eq!(requests("http"), set(&["web", "chat"]), "{world}");
        assert_eq!(requests("grpc"), set(&["api"]), "{world}");
        let opaque = set(&["git", "mariadb", "postgres", "redis", "smtp", "web"]);
        let counted = services("istio_tcp_connections_opened_total", &[]);
        // A client that was silent for a moment had its server connected, to let it speak first.
        let silent = world == "undeclared" && counted.is_superset(&opaque);
        assert!(counted == opaque || silent, "{world}: {counted:?}");
    }
}
