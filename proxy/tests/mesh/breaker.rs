//! Bounds of what goes to a service, and endpoints that are left out because they fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heddle_proto::mesh::{
    ConnectionPool, HttpRule, OutlierDetection, Protocol, RetryPolicy, TrafficPolicy,
};
use tokio::io::AsyncWriteExt;

use crate::balance::{Servers, unmeshed};
use crate::support::http::{Answer, Client};
use crate::support::mesh::Mesh;
use crate::support::resources::{ServiceSpec, header_is, millis, rule};
use crate::support::tcp::{Server, connect, read_all, read_exact, read_head};
use crate::support::{PATIENCE, eventually};

fn pool(pool: ConnectionPool) -> TrafficPolicy {
    TrafficPolicy {
        connection_pool: Some(pool),
        ..Default::default()
    }
}

/// Requests that take so long, each over a connection of its own.
fn slow(
    servers: &Servers,
    count: usize,
    millis: &'static str,
) -> Vec<tokio::task::JoinHandle<Answer>> {
    let to = servers.web.at();
    let one = |_| {
        servers.client.netns.spawn(async move {
            let mut client = Client::http1(to).await.unwrap();
            client
                .get_with("/", &[("x-delay-millis", millis)])
                .await
                .unwrap()
        })
    };
    (0..count).map(one).collect()
}

fn joined(servers: &Servers, all: Vec<tokio::task::JoinHandle<Answer>>) -> Vec<(u16, String)> {
    let join = |one: tokio::task::JoinHandle<Answer>| {
        let answer = servers.client.run(async move { one.await.unwrap() });
        (answer.status, answer.header("x-heddle-flag").to_owned())
    };
    all.into_iter().map(join).collect()
}

fn overflows(servers: &Servers, limit: &str) -> f64 {
    let limit = format!("limit=\"{limit}\"");
    let service = "destination_service=\"default/web\"";
    let name = "heddle_circuit_breaker_overflow_total";
    servers.client.sidecar().metric(name, &[&limit, service])
}

#[test]
fn more_requests_than_there_may_be_are_refused_at_once() {
    let policy = pool(ConnectionPool {
        max_requests: 2,
        ..Default::default()
    });
    let servers = Servers::new(&["web"], policy);
    let under_way = slow(&servers, 2, "3000");
    eventually("two are under way", || servers.apps[0].requests() == 2);
    let refused = joined(&servers, slow(&servers, 3, "0"));
    assert_eq!(refused, vec![(503, "UO".to_owned()); 3]);
    let answered = joined(&servers, under_way);
    assert_eq!(answered, vec![(200, String::new()); 2]);
    assert_eq!(joined(&servers, slow(&servers, 1, "0"))[0].0, 200);
    assert_eq!(servers.apps[0].requests(), 3);
    assert_eq!(overflows(&servers, "requests"), 3.0);
    let labels = ["response_flags=\"UO\"", "response_code=\"503\""];
    assert_eq!(
        servers
            .client
            .sidecar()
            .metric("istio_requests_total", &labels),
        3.0
    );
}

#[test]
fn requests_wait_for_a_connection_but_only_so_many() {
    let policy = pool(ConnectionPool {
        max_connections: 1,
        max_pending_requests: 2,
        ..Default::default()
    });
    let servers = Servers::new(&["web"], policy);
    let mut all = slow(&servers, 1, "1500");
    eventually("the only connection is taken", || {
        servers.apps[0].requests() == 1
    });
    all.extend(slow(&servers, 6, "0"));
    let mut answers = joined(&servers, all);
    answers.sort();
    let (answered, refused) = answers.split_at(3);
    assert_eq!(answered, vec![(200, String::new()); 3]);
    assert_eq!(refused, vec![(503, "UO".to_owned()); 4]);
    assert_eq!(
        (servers.apps[0].requests(), servers.apps[0].connections()),
        (3, 1)
    );
    assert_eq!(overflows(&servers, "pending"), 4.0);
}

#[test]
fn who_waits_for_a_connection_does_not_wait_for_ever() {
    let policy = pool(ConnectionPool {
        max_connections: 1,
        connect_timeout: millis(300),
        ..Default::default()
    });
    let servers = Servers::new(&["web"], policy);
    let under_way = slow(&servers, 1, "4000");
    eventually("the only connection is taken", || {
        servers.apps[0].requests() == 1
    });
    assert_eq!(
        joined(&servers, slow(&servers, 1, "0")),
        [(503, "UO".to_owned())]
    );
    assert_eq!(overflows(&servers, "connections"), 1.0);
    assert_eq!(joined(&servers, under_way)[0].0, 200);
}

#[test]
fn a_connection_serves_so_many_requests_and_rests_so_long() {
    let policy = pool(ConnectionPool {
        max_requests_per_connection: 2,
        ..Default::default()
    });
    let servers = Servers::new(&["web"], policy);
    assert_eq!(servers.share(6)["web"], 6);
    assert_eq!(servers.apps[0].connections(), 3);
    let policy = pool(ConnectionPool {
        idle_timeout: millis(50),
        ..Default::default()
    });
    let servers = Servers::new(&["web"], policy);
    for _ in 0..3 {
        assert_eq!(servers.share(2)["web"], 2);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(servers.apps[0].connections() >= 3);
}

#[test]
fn a_connection_that_is_not_made_in_time_is_given_up() {
    let policy = pool(ConnectionPool {
        connect_timeout: millis(200),
        ..Default::default()
    });
    let servers = Servers::new(&["web"], policy);
    let mut nowhere = servers.endpoints();
    // TEST-NET-1, by the default route to a node that forwards nothing.
    nowhere[0].address = "192.0.2.1".into();
    servers.set_endpoints(nowhere);
    let to = servers.web.at();
    let answer = servers.client.run(async move {
        let mut client = Client::http1(to).await.unwrap();
        client.get("/").await.unwrap()
    });
    assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UF"));
    assert!(
        answer.text().contains("no connection within 200ms"),
        "{}",
        answer.text()
    );
}

#[test]
fn opaque_connections_are_bounded_too() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(unmeshed("server"));
    let chat = ServiceSpec::new("chat", 1, Protocol::Tcp);
    chat.set(&mesh.control, &[&server], &[]);
    let policy = pool(ConnectionPool {
        max_connections: 1,
        ..Default::default()
    });
    chat.set_policy(&mesh.control, policy);
    let _server = Server::start(&server.netns, 8080, |mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let mut first = client.run(async move {
        let mut first = connect(chat.at()).await;
        first.write_all(b"one").await.unwrap();
        assert_eq!(read_exact(&mut first, 3).await, b"one");
        let mut second = connect(chat.at()).await;
        assert_eq!(read_all(&mut second).await.0, b"");
        first
    });
    client
        .sidecar()
        .logs(&["refused", "1 connections to service default/chat port 80"]);
    let labels = ["response_flags=\"UO\""];
    assert_eq!(
        client
            .sidecar()
            .metric("istio_tcp_connections_closed_total", &labels),
        1.0
    );
    client.run(async move {
        first.shutdown().await.unwrap();
        assert_eq!(read_all(&mut first).await.0, b"");
    });
    eventually("there is room again", || {
        client.run(async move {
            let mut stream = connect(chat.at()).await;
            // Refused while the first is still being ended.
            let _ = stream.write_all(b"two").await;
            let _ = stream.shutdown().await;
            read_all(&mut stream).await.0 == b"two"
        })
    });
}

#[test]
fn one_that_fails_is_left_out_through_pushes_and_comes_back() {
    let policy = TrafficPolicy {
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: Some(3),
            base_ejection_time: millis(4_000),
            max_ejection_percent: Some(50),
            ..Default::default()
        }),
        ..Default::default()
    };
    let servers = Servers::new(&["well", "ill"], policy);
    let ill = &servers.ill[1];
    ill.store(true, Ordering::SeqCst);
    let failed = servers.answers(60).iter().filter(|a| a.0 == 500).count();
    assert_eq!(failed, 3);
    let sidecar = servers.client.sidecar();
    sidecar.logs(&[
        "ejected",
        "default/ill",
        "consecutive-5xx",
        "service default/web port 80",
    ]);
    ill.store(false, Ordering::SeqCst);
    for n in 0..5 {
        let mut endpoints = servers.endpoints();
        endpoints[0].labels.insert("version".into(), n.to_string());
        servers.set_endpoints(endpoints);
        let answers = servers.answers(10);
        assert!(answers.iter().all(|a| a.1 == "well"), "{answers:?}");
    }
    eventually("it gets requests again", || {
        servers.answers(20).iter().any(|a| a.1 == "ill")
    });
    assert!(servers.answers(40).iter().all(|a| a.0 == 200));
    sidecar.logs(&["returned", "default/ill"]);
    assert_eq!(sidecar.metric("heddle_outlier_returns_total", &[]), 1.0);
    assert_eq!(sidecar.metric("heddle_outlier_ejected", &[]), 0.0);
}

#[test]
fn who_waits_for_a_connection_too_long_does_not_count_against_the_server() {
    let policy = TrafficPolicy {
        connection_pool: Some(ConnectionPool {
            max_connections: 1,
            ..Default::default()
        }),
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: Some(1),
            base_ejection_time: millis(60_000),
            max_ejection_percent: Some(100),
            ..Default::default()
        }),
        ..Default::default()
    };
    let servers = Servers::new(&["web"], policy);
    let patient = HttpRule {
        matches: vec![header_is("x-delay-millis", "3000")],
        ..rule("patient", vec![servers.web.to("", 1)])
    };
    let quick = HttpRule {
        timeout: millis(300),
        ..rule("quick", vec![servers.web.to("", 1)])
    };
    let per_try = HttpRule {
        matches: vec![header_is("x-delay-millis", "1")],
        retries: Some(RetryPolicy {
            attempts: 0,
            per_try_timeout: millis(300),
            ..Default::default()
        }),
        ..rule("per try", vec![servers.web.to("", 1)])
    };
    let rules = vec![patient, per_try, quick];
    servers.web.set_rules(&servers.mesh.control, rules);
    let under_way = slow(&servers, 1, "3000");
    eventually("the only connection is taken", || {
        servers.apps[0].requests() == 1
    });
    for millis in ["0", "1"] {
        let late = joined(&servers, slow(&servers, 1, millis));
        assert_eq!(late, [(504, "UT".to_owned())]);
    }
    assert_eq!(joined(&servers, under_way)[0].0, 200);
    assert_eq!(joined(&servers, slow(&servers, 1, "0"))[0].0, 200);
    let sidecar = servers.client.sidecar();
    assert_eq!(sidecar.metric("heddle_outlier_ejections_total", &[]), 0.0);
}

#[test]
fn a_client_that_breaks_off_is_no_failure_of_its_server() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(unmeshed("server"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &[]);
    let outlier = OutlierDetection {
        consecutive_5xx: Some(1),
        base_ejection_time: millis(60_000),
        max_ejection_percent: Some(100),
        ..Default::default()
    };
    let policy = TrafficPolicy {
        outlier_detection: Some(outlier),
        ..Default::default()
    };
    web.set_policy(&mesh.control, policy);
    let ended = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ended);
    let app = Server::start(&server.netns, 8080, move |mut stream, _| {
        let ended = Arc::clone(&counted);
        async move {
            if read_head(&mut stream).await.starts_with("GET") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
            }
            let _ = read_all(&mut stream).await;
            ended.fetch_add(1, Ordering::SeqCst);
        }
    });
    for n in 1..=3 {
        let upload = client.run(async move {
            let mut stream = connect(web.at()).await;
            let upload = b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nabc";
            stream.write_all(upload).await.unwrap();
            stream
        });
        eventually("the upload has begun", || app.connections() == n);
        drop(upload);
        eventually("it is broken off", || {
            ended.load(Ordering::SeqCst) == n as u64
        });
    }
    let answer = client.run(crate::support::http::get(web.at(), "/"));
    assert_eq!(answer.unwrap().status, 200);
    let sidecar = client.sidecar();
    assert_eq!(sidecar.metric("heddle_outlier_ejections_total", &[]), 0.0);
}

#[test]
fn a_server_that_closes_idle_connections_at_any_moment_fails_no_request() {
    const CLIENTS: u64 = 4;
    const REQUESTS: u64 = 500;
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(unmeshed("server"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &[]);
    let draws = Arc::new(AtomicU64::new(1));
    let app = Server::start(&server.netns, 8080, move |mut stream, _| {
        let draws = Arc::clone(&draws);
        async move {
            // It waits for the first request: nobody closes a connection that has just been made.
            let mut idle = false;
            loop {
                let draw = draws.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst) >> 52;
                let patience = match idle {
                    true => Duration::from_micros(draw * 2),
                    false => PATIENCE,
                };
                idle = true;
                let head = tokio::time::timeout(patience, stream.peek(&mut [0])).await;
                if head.is_err() || read_head(&mut stream).await.is_empty() {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    });
    let one = |n: u64| {
        client.netns.spawn(async move {
            let mut client = Client::http1(web.at()).await.unwrap();
            for request in 0..REQUESTS {
                let answer = client.get("/").await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                let pause = (n * 7919 + request * 104_729) % 8;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(one).collect();
    for one in clients {
        client.run(async move { one.await.unwrap() });
    }
    // It did close many.
    assert!(app.connections() > 100, "{}", app.connections());
}

#[test]
fn an_opaque_connection_ends_when_it_is_as_old_as_it_may_be() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(unmeshed("server"));
    let chat = ServiceSpec::new("chat", 1, Protocol::Tcp);
    chat.set(&mesh.control, &[&server], &[]);
    let policy = pool(ConnectionPool {
        max_connection_duration: millis(500),
        ..Default::default()
    });
    chat.set_policy(&mesh.control, policy);
    let _server = Server::start(&server.netns, 8080, |mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    client.run(async move {
        let mut stream = connect(chat.at()).await;
        stream.write_all(b"one").await.unwrap();
        assert_eq!(read_exact(&mut stream, 3).await, b"one");
        assert_eq!(read_all(&mut stream).await.0, b"");
    });
}
