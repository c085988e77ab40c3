//! What clients see when something goes wrong, and what is repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heddle_proto::mesh::{Protocol, RetryPolicy};
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::frames::{DATA, END_HEADERS, HEADERS, RST_STREAM, SETTINGS, block, frame};
use crate::support::http::{self, Client};
use crate::support::mesh::{Mesh, Pair, Pod};
use crate::support::resources::{ServiceSpec, header_is, millis, rule};
use crate::support::tcp::{Server, connect, read_all, read_head};

fn requests(pod: &Pod, labels: &[&str]) -> f64 {
    pod.sidecar().metric("istio_requests_total", labels)
}

#[test]
fn what_the_application_answers_passes_unchanged() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        for status in ["503", "500", "404", "204", "304", "200"] {
            let answer = client.get_with("/", &[("x-status", status)]).await.unwrap();
            assert_eq!(
                (answer.status.to_string().as_str(), answer.app()),
                (status, "server")
            );
            assert_eq!(answer.header("x-heddle-flag"), "");
        }
        let head = client.request("HEAD", "/").body(http::empty()).unwrap();
        let answer = client.call(head).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_ne!(answer.header("content-length"), "0");
    });
    assert_eq!((app.requests(), app.connections()), (7, 1));
    for (status, count) in [("503", 1.0), ("204", 1.0), ("200", 2.0)] {
        let status = format!("response_code=\"{status}\"");
        let labels = [status.as_str(), "response_flags=\"-\""];
        assert_eq!(requests(&pair.client, &labels), count, "{status}");
        assert_eq!(requests(&pair.server, &labels), count, "{status}");
    }
}

#[test]
fn no_ready_endpoint_and_no_route_are_said_and_counted() {
    let pair = Pair::new(Protocol::Http1);
    let mut only = rule("only", vec![pair.web.to("", 1)]);
    only.matches = vec![header_is("known", "yes")];
    pair.web.set(&pair.mesh.control, &[], &[]);
    pair.web.set_rules(&pair.mesh.control, vec![only]);
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let answer = client.get_with("/", &[("known", "yes")]).await.unwrap();
        assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UH"));
        assert!(
            answer
                .text()
                .contains("default/web port 80 has no ready endpoint")
        );
        let answer = client.get("/there").await.unwrap();
        assert_eq!((answer.status, answer.header("x-heddle-flag")), (404, "NR"));
        assert!(answer.text().contains("GET /there"));
    });
    for flag in ["UH", "NR"] {
        let flag = format!("response_flags=\"{flag}\"");
        let to = "destination_service=\"web.default.svc.cluster.local\"";
        let nobody = "destination_workload=\"unknown\"";
        assert_eq!(requests(&pair.client, &[&flag, to, nobody]), 1.0);
    }
}

#[test]
fn another_endpoint_is_asked_when_one_refuses() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let (dead, alive) = (mesh.pod(unmeshed("dead")), mesh.strict("alive"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&dead, &alive], &[]);
    let app = App::echo(&alive.netns, 8080, "alive");
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for _ in 0..30 {
            let answer = client.post("/", "once").await.unwrap();
            assert_eq!((answer.status, answer.app()), (200, "alive"));
        }
    });
    assert_eq!(app.requests(), 30);
}

fn unmeshed(name: &'static str) -> crate::support::mesh::PodSpec {
    crate::support::mesh::PodSpec {
        meshed: false,
        ..crate::support::mesh::PodSpec::new(name)
    }
}

#[test]
fn an_endpoint_that_comes_back_soon_is_waited_for() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(unmeshed("server"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &[]);
    let answer = client.netns.spawn(http::get(web.at(), "/"));
    eventually("it has been tried in vain", || {
        client.sidecar().metric("heddle_retries_total", &[]) >= 5.0
    });
    let _app = App::echo(&server.netns, 8080, "server");
    let answer = client.run(async move { answer.await.unwrap().unwrap() });
    assert_eq!((answer.status, answer.app()), (200, "server"));
}

#[test]
fn a_post_is_not_repeated_when_the_upstream_dies() {
    let pair = Pair::new(Protocol::Http1);
    let app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        assert!(read_head(&mut stream).await.starts_with("POST"));
        drop(stream);
    });
    let web = pair.web.at();
    let answer = pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        client.post("/pay", "100").await.unwrap()
    });
    assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UC"));
    assert_eq!(app.connections(), 1);
}

/// Closes each connection when its second request has come.
fn closing_on_reuse(pair: &Pair, seen: Arc<AtomicUsize>) -> Server {
    Server::start(&pair.server.netns, 8080, move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            if !read_head(&mut stream).await.is_empty() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn a_get_on_a_connection_that_is_just_closing_is_replayed_and_a_post_is_not() {
    let pair = Pair::new(Protocol::Http1);
    let broken = Arc::<AtomicUsize>::default();
    let _app = closing_on_reuse(&pair, Arc::clone(&broken));
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        for _ in 0..20 {
            assert_eq!(client.get("/").await.unwrap().status, 200);
        }
        // The connection that the last one left is reused, and dies.
        let answer = client.post("/", "100").await.unwrap();
        assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UC"));
    });
    assert_eq!(broken.load(Ordering::SeqCst), 20);
}

#[test]
fn a_routes_timeout_is_504() {
    let pair = Pair::new(Protocol::Http1);
    let mut slow = rule("slow", vec![pair.web.to("", 1)]);
    slow.timeout = millis(150);
    pair.web.set_rules(&pair.mesh.control, vec![slow]);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let begun = Instant::now();
        let slow = [("x-delay-millis", "15000")];
        let answer = client.get_with("/", &slow).await.unwrap();
        assert_eq!((answer.status, answer.header("x-heddle-flag")), (504, "UT"));
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(client.get("/").await.unwrap().status, 200);
    });
    let labels = ["response_code=\"504\"", "response_flags=\"UT\""];
    assert_eq!(requests(&pair.client, &labels), 1.0);
    // The server's sidecar, and with it the application, is told to stop.
    let gone = ["response_flags=\"DC\"", "response_code=\"0\""];
    eventually("the request is given up", || {
        requests(&pair.server, &gone) == 1.0
    });
}

#[test]
fn a_try_that_takes_too_long_is_repeated_when_harmless() {
    let pair = Pair::new(Protocol::Http1);
    let mut tries = rule("tries", vec![pair.web.to("", 1)]);
    tries.retries = Some(RetryPolicy {
        attempts: 2,
        per_try_timeout: millis(200),
        retry_on: vec![],
        ..Default::default()
    });
    pair.web.set_rules(&pair.mesh.control, vec![tries]);
    let app = Server::start(&pair.server.netns, 8080, |mut stream, number| async move {
        read_head(&mut stream).await;
        if number == 0 {
            // Until it is given up.
            let _ = read_all(&mut stream).await;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        // The one that was given up is gone.
        let _ = stream.write_all(answer).await;
    });
    let web = pair.web.at();
    let answer = pair.client.run(http::get(web, "/")).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(app.connections(), 2);
}

#[test]
fn retries_that_the_route_asks_for() {
    let pair = Pair::new(Protocol::Http1);
    let mut tries = rule("tries", vec![pair.web.to("", 1)]);
    tries.retries = Some(RetryPolicy {
        attempts: 3,
        per_try_timeout: None,
        retry_on: vec!["503".into()],
        ..Default::default()
    });
    pair.web.set_rules(&pair.mesh.control, vec![tries]);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let answer = client.get_with("/", &[("x-status", "503")]).await.unwrap();
        assert_eq!((answer.status, answer.app()), (503, "server"));
        let answer = client.get_with("/", &[("x-status", "500")]).await.unwrap();
        assert_eq!(answer.status, 500);
    });
    assert_eq!(app.requests(), 4 + 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_is_counted_and_frees_the_upstream() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        while stream.write_all(&[1; 4096]).await.is_ok() {}
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut stream).await;
    });
    for pod in [&pair.client, &pair.server] {
        eventually("the end is counted", || {
            requests(pod, &["response_flags=\"DC\""]) == 1.0
        });
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_is_counted() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    let stream = pair.client.run(async move {
        let mut stream = connect(web).await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nx-delay-millis: 60000\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    });
    eventually("it is asked", || app.requests() == 1);
    drop(stream);
    for pod in [&pair.client, &pair.server] {
        eventually("the end is counted", || {
            requests(pod, &["response_flags=\"DC\"", "response_code=\"0\""]) == 1.0
        });
    }
}

/// Reads the whole request before it says anything.
fn patient_app(pair: &Pair) -> App {
    App::http(&pair.server.netns, 8080, |request| async move {
        http_body_util::BodyExt::collect(request.into_body()).await?;
        Ok(::http::Response::new(http::full("all of it")))
    })
}

/// How the sidecars count a request of which the client sends this, and then does as it says.
fn broken_off(protocol: Protocol, app: fn(&Pair) -> App, sent: Vec<u8>, how: Leaves) -> Pair {
    let pair = Pair::new(protocol);
    let app = app(&pair);
    let web = pair.web.at();
    let mut stream = pair.client.run(async move {
        let mut stream = connect(web).await;
        stream.write_all(&sent).await.unwrap();
        stream
    });
    eventually("it is asked", || app.requests() == 1);
    pair.client.run(async move {
        match how {
            Leaves::Ends => {}
            Leaves::Breaks => {
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
            Leaves::Resets => {
                let reset = frame(RST_STREAM, 0, 1, &8u32.to_be_bytes());
                stream.write_all(&reset).await.unwrap();
            }
        }
        if let Leaves::Resets = how {
            // The connection goes on, and ends with the test.
            std::mem::forget(stream);
        }
    });
    pair
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    Ends,
    Breaks,
    Resets,
}

fn half_a_post() -> Vec<u8> {
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf of".to_vec()
}

fn half_a_chunk() -> Vec<u8> {
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf of".to_vec()
}

fn half_a_stream() -> Vec<u8> {
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "web"),
    ];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &block(&post)),
        frame(DATA, 0, 1, b"half of"),
    ]
    .concat()
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_is_not_taken_for_a_liar() {
    for (protocol, sent, how) in [
        (Protocol::Http1, half_a_post(), Leaves::Ends),
        (Protocol::Http1, half_a_post(), Leaves::Breaks),
        (Protocol::Http1, half_a_chunk(), Leaves::Ends),
        (Protocol::Http2, half_a_stream(), Leaves::Ends),
        (Protocol::Http2, half_a_stream(), Leaves::Resets),
    ] {
        let pair = broken_off(protocol, patient_app, sent, how);
        for pod in [&pair.client, &pair.server] {
            eventually("the end is counted", || requests(pod, &[]) == 1.0);
            let left = ["response_flags=\"DC\"", "response_code=\"0\""];
            assert_eq!(requests(pod, &left), 1.0, "{protocol:?} {how:?}");
        }
    }
}

/// Whichever side of the sidecar sees it first.
#[test]
fn a_client_that_leaves_while_it_is_answered_is_not_held_against_the_server() {
    for (protocol, sent, how) in [
        (Protocol::Http1, half_a_post(), Leaves::Ends),
        (Protocol::Http1, half_a_post(), Leaves::Breaks),
        (Protocol::Http2, half_a_stream(), Leaves::Ends),
        (Protocol::Http2, half_a_stream(), Leaves::Resets),
    ] {
        let echo = |pair: &Pair| App::echo(&pair.server.netns, 8080, "server");
        let pair = broken_off(protocol, echo, sent, how);
        for pod in [&pair.client, &pair.server] {
            eventually("the end is counted", || requests(pod, &[]) == 1.0);
            let left = ["response_flags=\"DC\""];
            assert_eq!(requests(pod, &left), 1.0, "{protocol:?} {how:?}");
        }
    }
}
