//! The sidecar's own health, metrics and admin.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heddle_proxy_admin::{AdminHandles, AdminSettings, Ports, Readiness, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{OWN_METRICS, Sidecar, ask, get, local, not_ready, outside_address, post};

#[tokio::test]
async fn health_says_why_not_and_a_start_is_remembered() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let health = local(sidecar.ports.health);
    assert_eq!(
        get(health, "/healthz/ready").await,
        (503, "no certificate yet\n".into())
    );
    assert_eq!(
        get(health, "/healthz/startup").await,
        (503, "no certificate yet\n".into())
    );
    assert_eq!(get(health, "/healthz/live").await.0, 200);
    assert_eq!(get(local(sidecar.ports.admin), "/ready").await.0, 503);

    sidecar.ready.send_replace(Readiness {
        ready: true,
        reason: "ready".into(),
    });
    assert_eq!(get(health, "/healthz/ready").await, (200, "ok\n".into()));
    assert_eq!(get(health, "/healthz/startup").await.0, 200);
    assert_eq!(get(local(sidecar.ports.admin), "/ready").await.0, 200);

    sidecar.ready.send_replace(not_ready("draining"));
    assert_eq!(
        get(health, "/healthz/ready").await,
        (503, "draining\n".into())
    );
    assert_eq!(get(health, "/healthz/startup").await.0, 200);
    assert_eq!(get(health, "/other").await.0, 404);
    sidecar.stop().await;
}

#[tokio::test]
async fn others_reach_health_and_metrics_over_both_families_and_never_admin() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, sidecar.ports.health));
    assert_eq!(get(v6, "/healthz/live").await.0, 200);
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, sidecar.ports.admin));
    assert!(TcpStream::connect(v6).await.is_err());
    if let Some(outside) = outside_address() {
        assert_eq!(
            get((outside, sidecar.ports.metrics).into(), "/stats/prometheus").await,
            (200, OWN_METRICS.into())
        );
        assert!(
            TcpStream::connect((outside, sidecar.ports.admin))
                .await
                .is_err()
        );
        assert_eq!(
            post((outside, sidecar.ports.app).into(), "/quitquitquit")
                .await
                .0,
            403
        );
        assert_eq!(sidecar.quit.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn admin_shows_what_the_sidecar_knows() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let admin = local(sidecar.ports.admin);
    assert_eq!(
        get(admin, "/status").await,
        (200, r#"{"version":"v1"}"#.into())
    );
    assert_eq!(
        get(admin, "/config_dump").await,
        (200, r#"{"services":[]}"#.into())
    );
    assert_eq!(
        get(admin, "/stats/prometheus").await,
        (200, OWN_METRICS.into())
    );
    let index = get(admin, "/").await.1;
    for path in [
        "/status",
        "/config_dump",
        "/stats/prometheus",
        "/explain",
        "/explain/inbound",
        "/ready",
        "/drain",
        "/quitquitquit",
    ] {
        assert!(index.contains(path), "{path} is not in the index");
    }
}

#[tokio::test]
async fn what_would_become_of_something_is_asked_by_post_within_bounds() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let admin = local(sidecar.ports.admin);
    assert_eq!(
        ask(admin, "/explain", "{\"a\": 1}").await,
        (200, r#"{"request":8}"#.into())
    );
    assert_eq!(
        ask(admin, "/explain/inbound", "{}").await,
        (200, r#"{"connection":2}"#.into())
    );
    assert_eq!(
        ask(admin, "/explain", "").await,
        (400, r#"{"error":"nothing is asked"}"#.into())
    );
    let (status, said) = ask(admin, "/explain", &"x".repeat((64 << 10) + 1)).await;
    assert_eq!(status, 413);
    assert!(said.contains("at most 65536 bytes"), "{said}");
    assert_eq!(get(admin, "/explain").await.0, 405);
    sidecar.stop().await;
}

#[tokio::test]
async fn drain_and_quit_are_asked_for_by_post_alone() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let admin = local(sidecar.ports.admin);
    assert_eq!(
        (
            get(admin, "/drain").await.0,
            get(admin, "/quitquitquit").await.0
        ),
        (405, 405)
    );
    assert_eq!(
        sidecar.drained.load(Ordering::SeqCst) + sidecar.quit.load(Ordering::SeqCst),
        0
    );
    assert_eq!(post(admin, "/drain").await.0, 200);
    assert_eq!(sidecar.drained.load(Ordering::SeqCst), 1);
    assert_eq!(
        post(admin, "/drain?wait").await,
        (200, "2 connections are left\n".into())
    );
    assert_eq!(post(admin, "/drain?now").await.0, 400);
    assert_eq!(sidecar.drained.load(Ordering::SeqCst), 1);
    assert_eq!(post(admin, "/quitquitquit").await.0, 200);
    assert_eq!(post(local(sidecar.ports.app), "/quitquitquit").await.0, 200);
    assert_eq!(sidecar.quit.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_named() {
    let taken = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_ready, ready_seen) = tokio::sync::watch::channel(not_ready(""));
    let handles = AdminHandles {
        ready: ready_seen,
        metrics: Arc::new(|_| {}),
        status: Arc::new(|| serde_json::Value::Null),
        config_dump: Arc::new(|| serde_json::Value::Null),
        explain: Arc::new(|_, _| Box::pin(async { Ok(serde_json::Value::Null) })),
        drain: Arc::new(|| {}),
        drained: Arc::new(|| Box::pin(async { 0 })),
        quit: Arc::new(|| {}),
    };
    let ports = Ports {
        admin: 0,
        app: 0,
        health: port,
        metrics: 0,
    };
    let refused = bind(
        AdminSettings {
            ports,
            ..AdminSettings::default()
        },
        handles,
    )
    .unwrap_err()
    .to_string();
    assert!(
        refused.contains(&format!("cannot listen on port {port} (health)")),
        "{refused}"
    );
}

#[tokio::test]
async fn the_end_does_not_wait_for_idle_connections() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let mut idle = TcpStream::connect(local(sidecar.ports.health))
        .await
        .unwrap();
    idle.write_all(b"GET /healthz/live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 12];
    idle.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
    timeout(Duration::from_secs(10), sidecar.stop())
        .await
        .unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn garbage_closes_its_own_connection_and_nothing_else() {
    let sidecar = Sidecar::start(AdminSettings::default());
    let mut garbage = TcpStream::connect(local(sidecar.ports.app)).await.unwrap();
    garbage
        .write_all(b"\x16\x03\x01 not http\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    timeout(Duration::from_secs(10), garbage.read_to_end(&mut said))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        get(local(sidecar.ports.health), "/healthz/live").await.0,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn idle_and_slow_connections_are_closed() {
    let sidecar = Sidecar::start(AdminSettings::default());
    for begun in [
        "",
        "GET /healthz/li",
        "GET /healthz/live HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut idle = TcpStream::connect(local(sidecar.ports.health))
            .await
            .unwrap();
        idle.write_all(begun.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // The clock runs ahead while nobody has anything to do.
        timeout(Duration::from_secs(60), idle.read_to_end(&mut said))
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn who_holds_all_connections_keeps_nobody_from_an_answer() {
    let sidecar = Sidecar::start(AdminSettings::default());
    for port in [
        sidecar.ports.health,
        sidecar.ports.metrics,
        sidecar.ports.app,
    ] {
        let mut held = Vec::new();
        for n in 0..150 {
            let mut stream = TcpStream::connect(local(port)).await.unwrap();
            if n % 2 == 0 {
                // One of those that gave way may be this one.
                let _ = stream.write_all(b"GET /healthz/live HTTP/1.1\r\nx-").await;
            }
            held.push(stream);
        }
        let path = match port {
            metrics if metrics == sidecar.ports.metrics => "/stats/prometheus",
            _ => "/healthz/live",
        };
        let (status, _) = get(local(port), path).await;
        let expected = if port == sidecar.ports.app { 404 } else { 200 };
        assert_eq!(status, expected, "{path}");
        drop(held);
    }
    sidecar.stop().await;
}
