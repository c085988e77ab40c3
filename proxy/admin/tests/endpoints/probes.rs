//! The app's probes and hooks, asked of the sidecar as a kubelet does.

use std::time::{Duration, Instant};

use heddle_proxy_admin::AdminSettings;
use serde_json::json;

use crate::app::{App, HANG, answer};
use crate::world::{Sidecar, get, local, nobodys_port, post, request};

const READY: &str = "/app-health/web/readyz";
const STOP: &str = "/app-lifecycle/web/prestopz";

fn http_get(port: u16, more: serde_json::Value) -> serde_json::Value {
    let mut get = json!({"path": "/healthz?deep=1", "port": port});
    get.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({READY: {"httpGet": get, "timeoutSeconds": 5}, STOP: {"httpGet": get, "timeoutSeconds": 60}})
}

#[tokio::test]
async fn the_app_is_asked_what_the_kubelet_would_have_asked() {
    let app = App::plain(|_| answer("200 OK", "", "fine")).await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
    assert_eq!(sidecar.probe(READY).await, (200, "fine".into()));
    let (from, head) = app.last_asked();
    assert_eq!(
        from.to_string(),
        "127.0.0.6",
        "the source that the redirect lets through"
    );
    assert!(
        head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("host: 127.0.0.1:{}\r\n", app.port)),
        "{head}"
    );
    assert!(head.contains("user-agent: kube-probe/1.36\r\n"), "{head}");
    assert_eq!(sidecar.probe(STOP).await, (200, "fine".into()));
}

#[tokio::test]
async fn headers_and_host_are_the_probes_own() {
    let app = App::plain(|_| answer("200 OK", "", "")).await;
    let headers = json!({"httpHeaders": [
        {"name": "Host", "value": "web.test"}, {"name": "User-Agent", "value": "mine"}, {"name": "X-A", "value": "1"}
    ]});
    let sidecar = Sidecar::with_probes(&http_get(app.port, headers));
    assert_eq!(sidecar.probe(READY).await.0, 200);
    let head = app.last_asked().1;
    for line in ["host: web.test\r\n", "user-agent: mine\r\n", "x-a: 1\r\n"] {
        assert!(head.contains(line), "{head}");
    }
}

#[tokio::test]
async fn a_host_is_a_name_and_never_an_address_to_dial() {
    let app = App::plain(|_| answer("200 OK", "", "")).await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({"host": "169.254.169.254"})));
    assert_eq!(sidecar.probe(READY).await.0, 200);
    assert!(
        app.last_asked()
            .1
            .contains(&format!("host: 169.254.169.254:{}\r\n", app.port))
    );
}

#[tokio::test]
async fn statuses_are_the_apps_and_200_to_399_is_success() {
    for (status, expected) in [
        ("200 OK", 200),
        ("204 No Content", 204),
        ("304 Not Modified", 200),
        ("302 Found", 200),
        ("404 Not Found", 404),
        ("503 Service Unavailable", 503),
    ] {
        let app =
            App::plain(move |_| format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n")).await;
        let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
        assert_eq!(sidecar.probe(READY).await.0, expected, "{status}");
    }
}

#[tokio::test]
async fn the_apps_words_are_passed_back_cut_short() {
    let app = App::plain(|_| answer("500 Oops", "", &"x".repeat(100_000))).await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
    let (status, body) = sidecar.probe(READY).await;
    assert_eq!((status, body.len()), (500, 10 << 10));
}

#[tokio::test]
async fn https_is_taken_with_any_certificate() {
    let app = App::tls(|_| answer("200 OK", "", "secret")).await;
    for more in [
        json!({"scheme": "HTTPS"}),
        json!({"scheme": "HTTPS", "host": "web.test"}),
    ] {
        let sidecar = Sidecar::with_probes(&http_get(app.port, more));
        assert_eq!(sidecar.probe(READY).await, (200, "secret".into()));
    }
    let plain = App::plain(|_| answer("200 OK", "", "")).await;
    let sidecar = Sidecar::with_probes(&http_get(plain.port, json!({"scheme": "HTTPS"})));
    let (status, body) = sidecar.probe(READY).await;
    assert!(status == 502 || status == 504, "{status} {body}");
}

#[tokio::test]
async fn redirects_are_followed_in_the_pod_and_not_out_of_it() {
    let elsewhere = App::plain(|_| answer("500 Oops", "", "")).await;
    let other_port = App::plain(|_| answer("200 OK", "", "there")).await;
    let (out, across) = (elsewhere.port, other_port.port);
    let app = App::plain(move |head| {
        let to = match head.split(' ').nth(1).unwrap() {
            "/healthz?deep=1" => "/login".to_owned(),
            "/login" => format!("http://127.0.0.1:{across}/x"),
            path => panic!("{path}"),
        };
        answer("302 Found", &format!("location: {to}\r\n"), "")
    })
    .await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
    assert_eq!(sidecar.probe(READY).await, (200, "there".into()));

    let app = App::plain(move |_| {
        answer(
            "302 Found",
            &format!("location: http://127.0.0.2:{out}/\r\n"),
            "",
        )
    })
    .await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
    let (status, body) = sidecar.probe(READY).await;
    assert_eq!(status, 200);
    assert!(body.contains("out of the pod"), "{body}");
    assert!(elsewhere.asked.lock().unwrap().is_empty());

    let app = App::plain(|_| answer("302 Found", "location: /again\r\n", "")).await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
    let (status, body) = sidecar.probe(READY).await;
    assert_eq!(
        (status, body.as_str()),
        (502, "the app redirects more than 10 times\n")
    );
    assert_eq!(app.asked.lock().unwrap().len(), 11);
}

#[tokio::test]
async fn an_app_that_is_not_there_or_does_not_answer_fails_with_the_reason() {
    let (port, _held) = nobodys_port();
    let probes = json!({
        READY: {"httpGet": {"port": port}, "timeoutSeconds": 5},
        "/app-health/web/livez": {"tcpSocket": {"port": port}},
    });
    let sidecar = Sidecar::with_probes(&probes);
    for path in [READY, "/app-health/web/livez"] {
        let (status, body) = sidecar.probe(path).await;
        assert_eq!(status, 502);
        assert!(
            body.contains(&format!("cannot connect to the app at 127.0.0.1:{port}")),
            "{body}"
        );
    }
    let app = App::plain(|_| HANG.into()).await;
    let sidecar =
        Sidecar::with_probes(&json!({READY: {"httpGet": {"port": app.port}, "timeoutSeconds": 1}}));
    let start = Instant::now();
    assert_eq!(
        sidecar.probe(READY).await,
        (504, "the app did not answer within 1 s\n".into())
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_tcp_probe_wants_a_connection_and_no_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sidecar = Sidecar::with_probes(&json!({READY: {"tcpSocket": {"port": port}}}));
    assert_eq!(sidecar.probe(READY).await.0, 200);
}

#[tokio::test]
async fn only_what_was_written_down_can_be_asked() {
    let app = App::plain(|_| answer("200 OK", "", "")).await;
    let sidecar = Sidecar::with_probes(&http_get(app.port, json!({})));
    for path in [
        "/app-health/web/livez",
        "/app-health/other/readyz",
        "/app-health/web/readyz/",
        "/app-health/web/%72eadyz",
        "/app-health/../app-health/web/readyz",
        "/app-lifecycle/web/poststartz",
        "/",
    ] {
        assert_eq!(sidecar.probe(path).await.0, 404, "{path}");
    }
    assert_eq!(post(local(sidecar.ports.app), READY).await.0, 405);
    let absolute = format!("http://127.0.0.1:{}/x", app.port);
    assert_eq!(
        request(local(sidecar.ports.app), "GET", &absolute, "")
            .await
            .0,
        404
    );
    assert!(app.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn more_probes_at_once_than_allowed_are_refused_and_hooks_do_not_count() {
    let app = App::plain(|head| {
        if head.contains("/slow") {
            HANG.into()
        } else {
            answer("200 OK", "", "")
        }
    })
    .await;
    let slow = json!({"httpGet": {"port": app.port, "path": "/slow"}, "timeoutSeconds": 30});
    let sidecar =
        Sidecar::with_probes(&json!({READY: slow, STOP: {"httpGet": {"port": app.port}}}));
    let at = local(sidecar.ports.app);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..32 {
        waiting.spawn(get(at, READY));
    }
    while app.asked.lock().unwrap().len() < 32 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        get(at, READY).await,
        (503, "too many probes or hooks at once\n".into())
    );
    assert_eq!(get(at, STOP).await.0, 200);
    // Who goes away frees the place.
    waiting.abort_all();
    while waiting.join_next().await.is_some() {}
    let freed = async {
        while get_status_soon(at).await == Some(503) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed)
        .await
        .unwrap();
}

/// The status when it comes at once: 503, or else the probe hangs in the app.
async fn get_status_soon(at: std::net::SocketAddr) -> Option<u16> {
    tokio::time::timeout(Duration::from_millis(500), get(at, READY))
        .await
        .ok()
        .map(|(status, _)| status)
}

#[tokio::test]
async fn over_ipv6_without_the_inbound_source_the_app_is_asked_all_the_same() {
    let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let probes = json!({READY: {"tcpSocket": {"port": port}}});
    let sidecar = Sidecar::start(AdminSettings {
        pod_ip: Some("::1".parse().unwrap()),
        app_probes: probes.to_string().parse().unwrap(),
        ..AdminSettings::default()
    });
    assert_eq!(sidecar.probe(READY).await.0, 200);
}
