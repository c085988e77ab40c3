//! What a request costs a sidecar in instructions, counted by callgrind while the optimised program
//! carries requests on one kept-alive connection, or messages on one stream, between real redirects. A count is the same on a
//! loaded machine as on an idle one. Two runs that differ only in how many requests there are tell
//! what one costs. Run by `cargo xtask guard`, which builds the program and names it.

mod figures;

use std::env::consts::ARCH;
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ::http::Response;
use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use self::figures::{Figures, read, write};
use crate::support::http::Client;
use crate::support::mesh::{Mesh, PodSpec};
use crate::support::resources::{ServiceSpec, header_is, rule};
use crate::support::tcp::{Server, connect};
use crate::support::{app::App, http};

/// Requests of the shorter and the longer run. The longer one is long enough for what start-up
/// varies by (keys, handshakes) to vanish in the difference.
const RUNS: [usize; 2] = [200, 2200];

/// How far a figure may be from the committed one, either way, as a share of it. What is added by
/// one careless change is more; what compilers and code placement vary by is less.
const TOLERANCE: f64 = 0.05;

const BODY: usize = 1024;
const MESSAGE: usize = 64;

/// What a case is called and how it is made.
struct Case {
    name: &'static str,
    protocol: Protocol,
    /// Whether the server has a sidecar, and so the connection between them mutual TLS.
    meshed: bool,
    /// What is counted: requests (0), or messages both ways on so many streams, [`TOGETHER`] to a connection.
    streams: usize,
}

/// Streams of one connection, where there are several.
const TOGETHER: usize = 4;

const CASES: [Case; 5] = [
    Case {
        name: "http1-plain",
        protocol: Protocol::Http1,
        meshed: false,
        streams: 0,
    },
    Case {
        name: "http1-mtls",
        protocol: Protocol::Http1,
        meshed: true,
        streams: 0,
    },
    Case {
        name: "http2-mtls",
        protocol: Protocol::Http2,
        meshed: true,
        streams: 0,
    },
    Case {
        name: "grpc-stream-mtls",
        protocol: Protocol::Grpc,
        meshed: true,
        streams: 1,
    },
    Case {
        name: "grpc-streams-mtls",
        protocol: Protocol::Grpc,
        meshed: true,
        streams: 64,
    },
];

#[test]
#[ignore = "counts the optimised program under valgrind: cargo xtask guard"]
fn a_request_costs_what_was_committed() {
    let measured: Figures = CASES.iter().flat_map(measure).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    let committed = read(&file);
    // What it is set to is the compiler.
    if let Ok(compiler) = std::env::var("HEDDLE_GUARD_UPDATE") {
        return std::fs::write(&file, write(&compiler, &committed, &measured)).unwrap();
    }
    if !committed.keys().any(|name| name.starts_with(ARCH)) {
        return println!("no figures are committed for {ARCH}: {measured:#?}");
    }
    let mut table = String::new();
    let mut off = 0;
    for (name, now) in &measured {
        let Some(then) = committed.get(name) else {
            off += 1;
            let _ = writeln!(table, "{name:<36} {now:>8}, and no committed figure");
            continue;
        };
        let change = *now as f64 / *then as f64 - 1.0;
        let far = change.abs() > TOLERANCE;
        off += usize::from(far);
        let mark = if far { "  <-- too far" } else { "" };
        let percent = 100.0 * change;
        let _ = writeln!(
            table,
            "{name:<36} {now:>8}, committed {then:>8} ({percent:+.1} %){mark}"
        );
    }
    println!("instructions for a request:\n{table}");
    assert_eq!(
        off, 0,
        "figures have left the committed ones by more than 5 %. If that is meant (or the compiler is \
         another one), `cargo xtask guard --update` commits the new ones:\n{table}"
    );
}

/// What one request costs each of the case's sidecars.
fn measure(case: &Case) -> Vec<(String, u64)> {
    let [few, many] = RUNS.map(|requests| count(case, requests));
    let requests = (RUNS[1] - RUNS[0]) as u64;
    few.into_iter()
        .zip(many)
        .map(|((side, few), (_, many))| {
            let name = format!("{ARCH}.{}.{side}", case.name);
            (name, (many - few) / requests)
        })
        .collect()
}

/// All instructions of each sidecar in a life with so many requests.
fn count(case: &Case, requests: usize) -> Vec<(&'static str, u64)> {
    let dir = tempfile::tempdir().unwrap();
    // The sidecars are another user's.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let counted = |name: &'static str| PodSpec {
        launcher: callgrind(&dir.path().join(name)),
        ..PodSpec::new(name)
    };
    let mesh = Mesh::new();
    let mut client = mesh.pod(counted("client"));
    let mut server = mesh.pod(PodSpec {
        meshed: case.meshed,
        ..counted("server")
    });
    let web = ServiceSpec::new("web", 1, case.protocol);
    web.set(&mesh.control, &[&server], &["v1"]);
    let mut premium = rule("premium", vec![web.to("v1", 100)]);
    premium.matches = vec![header_is("user-type", "premium")];
    let rest = rule("rest", vec![web.to("v1", 90), web.to("v1", 10)]);
    web.set_rules(&mesh.control, vec![premium, rest]);
    match case.protocol {
        Protocol::Http1 => {
            let _app = raw_app(&server.netns);
            client.run(raw_client(web.at(), requests));
        }
        _ if case.streams > 0 => {
            let _app = App::echo(&server.netns, 8080, "server");
            client.run(conversations(web.at(), case.streams, requests));
        }
        _ => {
            let _app = App::http(&server.netns, 8080, |_| async {
                Ok(::http::Response::new(http::full(vec![b'x'; BODY])))
            });
            client.run(async move {
                let mut client = Client::http2(web.at()).await.unwrap();
                for _ in 0..requests {
                    let premium = [("user-type", "premium")];
                    let answer = client.get_with("/cart?id=1", &premium).await.unwrap();
                    assert_eq!((answer.status, answer.body.len()), (200, BODY));
                }
            });
        }
    }
    let mut sides = vec![("outbound", &mut client)];
    if case.meshed {
        sides.push(("inbound", &mut server));
    }
    sides
        .into_iter()
        .map(|(side, pod)| {
            let sidecar = pod.sidecar.as_mut().unwrap();
            sidecar.signal(Signal::SIGTERM);
            assert!(sidecar.ended(), "{}", sidecar.log());
            let profile = dir.path().join(pod.name);
            if let Some(keep) = std::env::var_os("HEDDLE_GUARD_PROFILES") {
                let name = format!("callgrind.{}.{side}.{requests}", case.name);
                std::fs::copy(&profile, Path::new(&keep).join(name)).unwrap();
            }
            (side, total(&profile))
        })
        .collect()
}

fn callgrind(out: &Path) -> Vec<String> {
    let out = format!("--callgrind-out-file={}", out.display());
    ["valgrind", "--tool=callgrind", &out]
        .map(str::to_owned)
        .to_vec()
}

/// The sum that callgrind writes at the end of a program.
fn total(out: &Path) -> u64 {
    let text = std::fs::read_to_string(out).unwrap();
    let sum = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .unwrap();
    sum.trim().parse().unwrap()
}

const REQUEST: &[u8] =
    b"GET /cart?id=1 HTTP/1.1\r\nhost: web\r\nuser-agent: test\r\naccept: */*\r\nuser-type: premium\r\n\r\n";

fn raw_answer() -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\n\
         content-length: {BODY}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + BODY, b'x');
    answer
}

/// Answers each read as one request.
fn raw_app(netns: &crate::support::netns::Netns) -> Server {
    Server::start(netns, 8080, |mut stream, _| async move {
        let mut buffer = vec![0; 4096];
        let answer = raw_answer();
        while let Ok(1..) = stream.read(&mut buffer).await {
            stream.write_all(&answer).await.unwrap();
        }
    })
}

/// So many messages, on all streams alike.
async fn conversations(to: SocketAddr, streams: usize, count: usize) {
    let (mut clients, mut all) = (Vec::new(), JoinSet::new());
    for stream in 0..streams {
        if stream % TOGETHER == 0 {
            clients.push(Client::http2(to).await.unwrap());
        }
        let count = count * (stream + 1) / streams - count * stream / streams;
        let (feed, response) = begin(clients.last_mut().unwrap()).await;
        all.spawn(converse(feed, response, count));
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

type Feed = Sender<Result<Frame<Bytes>, http::Error>>;

async fn begin(client: &mut Client) -> (Feed, Response<Incoming>) {
    let (feed, frames) = channel(1);
    let body = StreamBody::new(ReceiverStream::new(frames)).boxed_unsync();
    let request = client
        .request("POST", "/chat")
        .header("content-type", "application/grpc")
        .header("user-type", "premium");
    let response = client.send(request.body(body).unwrap()).await.unwrap();
    (feed, response)
}

/// So many messages on one stream, each when the echo of the one before has come.
async fn converse(feed: Feed, mut response: Response<Incoming>, count: usize) {
    let message = Bytes::from_static(&[b'x'; MESSAGE]);
    for _ in 0..count {
        feed.send(Ok(Frame::data(message.clone()))).await.unwrap();
        let echo = response.frame().await.unwrap().unwrap();
        assert_eq!(echo.data_ref().map(Bytes::len), Some(MESSAGE));
    }
    drop(feed);
    while let Some(rest) = response.frame().await {
        assert_eq!(rest.unwrap().data_ref().map(Bytes::len), Some(0));
    }
}

async fn raw_client(to: SocketAddr, requests: usize) {
    let mut stream = connect(to).await;
    let mut buffer = vec![0; 8192];
    for _ in 0..requests {
        stream.write_all(REQUEST).await.unwrap();
        let mut read = 0;
        let whole = |read: &[u8]| {
            let head = read.windows(4).position(|four| four == b"\r\n\r\n");
            head.is_some_and(|head| read.len() == head + 4 + BODY)
        };
        while !whole(&buffer[..read]) {
            match stream.read(&mut buffer[read..]).await.unwrap() {
                0 => panic!("{}", String::from_utf8_lossy(&buffer[..read])),
                more => read += more,
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200 "));
    }
}
