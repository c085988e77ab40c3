//! What is tried again, where, and how often; and what time a request has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_proto::mesh::{HttpRule, Protocol, RetryPolicy};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::{Barrier, Notify};

use crate::support::app::{App, echo};
use crate::support::eventually;
use crate::support::http::{Answer, Body, Client, Error, empty, full};
use crate::support::mesh::{Mesh, Pair, Pod, PodSpec};
use crate::support::resources::{ServiceSpec, millis, rule};

fn metric(pod: &Pod, name: &str, labels: &[&str]) -> usize {
    pod.sidecar().metric(name, labels) as usize
}

fn retrying(web: &ServiceSpec, attempts: u32, on: &[&str]) -> HttpRule {
    HttpRule {
        retries: Some(RetryPolicy {
            attempts,
            retry_on: on.iter().map(ToString::to_string).collect(),
            ..RetryPolicy::default()
        }),
        ..rule("tries", vec![web.to("", 1)])
    }
}

/// Answers 503 as often as it is told, having read the request; else it echoes.
fn failing(pod: &Pod, times: usize) -> (App, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(times));
    let told = Arc::clone(&left);
    let fails = move || {
        let fewer = |left: usize| left.checked_sub(1);
        told.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer)
            .is_ok()
    };
    let app = App::http(&pod.netns, 8080, move |request| {
        let fails = fails();
        async move {
            if !fails {
                return echo("server", request).await;
            }
            request.into_body().collect().await?;
            Ok(Response::builder().status(503).body(empty())?)
        }
    });
    (app, left)
}

#[test]
fn another_endpoint_is_tried_and_never_the_same() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let (bad, good) = (mesh.strict("bad"), mesh.strict("good"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&bad, &good], &[]);
    web.set_rules(&mesh.control, vec![retrying(&web, 1, &["5xx"])]);
    let (broken, _) = failing(&bad, usize::MAX);
    let app = App::echo(&good.netns, 8080, "good");
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for _ in 0..40 {
            let answer = client.get("/").await.unwrap();
            assert_eq!((answer.status, answer.app()), (200, "good"));
        }
    });
    assert_eq!(app.requests(), 40);
    let to = "destination_service=\"default/web\"";
    let retried = metric(&client, "heddle_retries_total", &["reason=\"status\"", to]);
    assert_eq!(retried, broken.requests());
    assert!(retried > 0);
}

#[test]
fn what_is_repeated_stays_within_the_budget() {
    const REQUESTS: usize = 40;
    let pair = Pair::new(Protocol::Http1);
    let rules = vec![retrying(&pair.web, 1, &["503"])];
    pair.web.set_rules(&pair.mesh.control, rules);
    let (together, released) = (Arc::new(Barrier::new(REQUESTS)), Arc::new(Notify::new()));
    let (seen, held) = (Arc::<AtomicUsize>::default(), Arc::clone(&released));
    let app = App::http(&pair.server.netns, 8080, move |_| {
        let number = seen.fetch_add(1, Ordering::SeqCst);
        let (together, held) = (Arc::clone(&together), Arc::clone(&held));
        async move {
            if number < REQUESTS {
                together.wait().await;
            } else {
                held.notified().await;
            }
            Ok(Response::builder().status(503).body(empty())?)
        }
    });
    let web = pair.web.at();
    let clients =
        (0..REQUESTS).map(|_| pair.client.netns.spawn(crate::support::http::get(web, "/")));
    let clients: Vec<_> = clients.collect();
    let denied = || {
        let spent = ["reason=\"budget\""];
        metric(&pair.client, "heddle_retries_denied_total", &spent)
    };
    eventually("every request is repeated or not", || {
        app.requests() + denied() == 2 * REQUESTS
    });
    let repeated = app.requests() - REQUESTS;
    assert!((3..=REQUESTS / 5).contains(&repeated), "{repeated}");
    for _ in 0..repeated {
        released.notify_one();
    }
    pair.client.run(async move {
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap().status, 503);
        }
    });
    let overflow = ["response_flags=\"UO\"", "response_code=\"503\""];
    let exhausted = ["response_flags=\"URX\"", "response_code=\"503\""];
    let requests = |labels: &[&str]| metric(&pair.client, "istio_requests_total", labels);
    assert_eq!(
        (requests(&overflow), requests(&exhausted)),
        (denied(), repeated)
    );
}

#[test]
fn a_post_is_repeated_with_its_body_only_when_its_route_asks() {
    let pair = Pair::new(Protocol::Http1);
    let (control, web) = (&pair.mesh.control, pair.web);
    let at = web.at();
    let posted = |path: &'static str, bytes: usize| -> Answer {
        pair.client.run(async move {
            let mut client = Client::http1(at).await.unwrap();
            client.post(path, vec![b'a'; bytes]).await.unwrap()
        })
    };
    let (app, left) = failing(&pair.server, 1);
    assert_eq!(posted("/", 100).status, 503);
    assert_eq!(app.requests(), 1);

    web.set_rules(control, vec![retrying(&web, 2, &["5xx"])]);
    eventually("the routes are there", || {
        pair.client.sidecar().keeps("tries")
    });
    left.store(2, Ordering::SeqCst);
    let answer = posted("/", 64 * 1024);
    assert_eq!((answer.status, answer.body.len()), (200, 64 * 1024));
    assert_eq!(app.requests(), 1 + 3);

    // Longer than what is kept.
    left.store(1, Ordering::SeqCst);
    assert_eq!(posted("/", 64 * 1024 + 1).status, 503);
    assert_eq!(app.requests(), 1 + 3 + 1);
    let counted = pair.client.sidecar().metric("istio_request_bytes_sum", &[]);
    assert_eq!(counted as usize, 100 + 2 * 64 * 1024 + 1);
}

#[test]
fn a_chunked_body_is_repeated_with_its_trailers() {
    let pair = Pair::new(Protocol::Http2);
    let rules = vec![retrying(&pair.web, 2, &["5xx"])];
    pair.web.set_rules(&pair.mesh.control, rules);
    let (_app, _) = failing(&pair.server, 1);
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let trailers = [("x-sum".parse().unwrap(), "7".parse().unwrap())];
        let frames = [
            Frame::data("one".into()),
            Frame::data(" two".into()),
            Frame::trailers(trailers.into_iter().collect()),
        ];
        let frames = frames.map(Ok::<_, Error>);
        let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
        let request = client.request("POST", "/").body(body).unwrap();
        let answer = client.call(request).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "one two"));
        assert_eq!(answer.trailers.unwrap()["x-sum"], "7");
    });
}

#[test]
fn a_try_that_finds_no_connection_in_time_moves_on_even_with_a_post() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let unmeshed = PodSpec {
        meshed: false,
        ..PodSpec::new("hole")
    };
    let (hole, alive) = (mesh.pod(unmeshed), mesh.strict("alive"));
    let drop_all = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP"];
    hole.netns.exec("iptables", &drop_all);
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&hole, &alive], &[]);
    let mut rule = retrying(&web, 2, &[]);
    rule.retries.as_mut().unwrap().per_try_timeout = millis(1000);
    web.set_rules(&mesh.control, vec![rule]);
    let app = App::echo(&alive.netns, 8080, "alive");
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for _ in 0..6 {
            let answer = client.post("/", "once").await.unwrap();
            assert_eq!((answer.status, answer.app()), (200, "alive"));
        }
    });
    assert_eq!(app.requests(), 6);
}

fn call(client: &Client, headers: &[(&str, &str)]) -> Request<Body> {
    let request = client
        .request("POST", "/pkg.Service/Method")
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    let request = headers.iter().fold(request, |r, (k, v)| r.header(*k, *v));
    request.body(full(vec![0; 5])).unwrap()
}

#[test]
fn a_grpc_status_in_the_head_is_tried_again_by_name() {
    let pair = Pair::new(Protocol::Grpc);
    let rules = vec![retrying(&pair.web, 2, &["unavailable"])];
    pair.web.set_rules(&pair.mesh.control, rules);
    let seen = Arc::<AtomicUsize>::default();
    let app = App::http(&pair.server.netns, 8080, move |_: Request<Incoming>| {
        let status = ["14", "13", "0"][seen.fetch_add(1, Ordering::SeqCst).min(2)];
        let reply = Response::builder().header("content-type", "application/grpc");
        async move { Ok(reply.header("grpc-status", status).body(empty())?) }
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let request = call(&client, &[]);
        assert_eq!(
            client.call(request).await.unwrap().header("grpc-status"),
            "13"
        );
        let request = call(&client, &[]);
        assert_eq!(
            client.call(request).await.unwrap().header("grpc-status"),
            "0"
        );
    });
    assert_eq!(app.requests(), 3);
}

#[test]
fn a_grpc_deadline_is_kept_and_told_on() {
    let pair = Pair::new(Protocol::Grpc);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let (web, control) = (pair.web, &pair.mesh.control);
    let at = web.at();
    let asked = |deadline: &'static str, delay: &'static str| -> Answer {
        pair.client.run(async move {
            let mut client = Client::http2(at).await.unwrap();
            let headers = [("grpc-timeout", deadline), ("x-delay-millis", delay)];
            let request = client
                .request("GET", "/")
                .header("content-type", "application/grpc");
            let request = headers.iter().fold(request, |r, (k, v)| r.header(*k, *v));
            client.call(request.body(empty()).unwrap()).await.unwrap()
        })
    };
    let late = asked("200m", "60000");
    let said = ["grpc-status", "x-heddle-flag"].map(|name| late.header(name).to_owned());
    assert_eq!((late.status, said), (200, ["4", "UT"].map(String::from)));
    assert!(
        late.header("grpc-message")
            .contains("its caller's deadline of 200ms")
    );

    let in_time = asked("10S", "0");
    let [left] = in_time.seen("grpc-timeout").try_into().unwrap();
    let left: u64 = left.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..10_000_000).contains(&left), "{left}");

    let mut short = rule("short", vec![web.to("", 1)]);
    short.timeout = millis(100);
    web.set_rules(control, vec![short]);
    eventually("the routes are there", || {
        pair.client.sidecar().keeps("short")
    });
    let late = asked("10S", "60000");
    assert_eq!(late.header("grpc-status"), "4");
    assert!(
        late.header("grpc-message")
            .contains("the route's timeout of 100ms")
    );
}

#[test]
fn a_grpc_answer_that_stalls_ends_with_its_deadline() {
    let pair = Pair::new(Protocol::Grpc);
    let _app = App::http(&pair.server.netns, 8080, |_| async {
        let first = tokio_stream::once(Ok::<_, Error>(Frame::data("first".into())));
        let stalled = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
        let reply = Response::builder().header("content-type", "application/grpc");
        Ok(reply.body(StreamBody::new(stalled).boxed_unsync())?)
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let request = call(&client, &[("grpc-timeout", "500m")]);
        let answer = client.call(request).await.unwrap();
        assert_eq!(answer.text(), "first");
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "4");
    });
    eventually("the end is counted", || {
        let late = ["response_flags=\"UT\"", "grpc_response_status=\"4\""];
        metric(&pair.client, "istio_requests_total", &late) == 1
    });
    // The server is told that nobody waits any more.
    eventually("the server's is too", || {
        let gone = ["response_flags=\"DC\""];
        metric(&pair.server, "istio_requests_total", &gone) == 1
    });
}
