//! The app's metrics joined with ours.

use std::net::Ipv4Addr;

use heddle_proxy_admin::{AdminSettings, AppMetrics};
use serde_json::json;

use crate::app::{App, HANG, answer};
use crate::world::{OWN_METRICS, Sidecar, nobodys_port};

const PATH: &str = "/stats/prometheus";

fn sidecar(port: u16) -> Sidecar {
    let metrics: AppMetrics = json!({"port": port, "path": "/m"})
        .to_string()
        .parse()
        .unwrap();
    Sidecar::start(AdminSettings {
        pod_ip: Some(Ipv4Addr::LOCALHOST.into()),
        app_metrics: Some(metrics),
        ..AdminSettings::default()
    })
}

fn success(value: u8) -> String {
    format!(
        "# HELP heddle_app_scrape_success Whether the app's own metrics before these are complete.\n\
         # TYPE heddle_app_scrape_success gauge\nheddle_app_scrape_success {value}\n"
    )
}

#[tokio::test]
async fn the_apps_metrics_come_first_and_end_in_a_whole_line() {
    for body in ["a 1\nb 2\n", "a 1\nb 2"] {
        let app = App::plain(move |_| answer("200 OK", "", body)).await;
        let sidecar = sidecar(app.port);
        let expected = format!("a 1\nb 2\n{OWN_METRICS}{}", success(1));
        assert_eq!(sidecar.probe(PATH).await, (200, expected));
        let (from, head) = app.last_asked();
        assert_eq!(from.to_string(), "127.0.0.6");
        assert!(head.starts_with("GET /m HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("accept: text/plain; version=0.0.4"), "{head}");
    }
}

#[tokio::test]
async fn without_the_app_ours_are_there() {
    let expected = (200, format!("{OWN_METRICS}{}", success(0)));
    let (port, _held) = nobodys_port();
    assert_eq!(sidecar(port).probe(PATH).await, expected);
    let failing = App::plain(|_| answer("500 Oops", "", "a 1\n")).await;
    assert_eq!(sidecar(failing.port).probe(PATH).await, expected);
    let hanging = App::plain(|_| HANG.into()).await;
    assert_eq!(sidecar(hanging.port).probe(PATH).await, expected);
}

#[tokio::test]
async fn an_app_that_breaks_off_leaves_whole_lines() {
    let expected = (200, format!("a 1\n{OWN_METRICS}{}", success(0)));
    let short = App::plain(|_| "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\na 1\nb".into()).await;
    assert_eq!(sidecar(short.port).probe(PATH).await, expected);
    let hanging =
        App::plain(|_| format!("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\na 1\nb{HANG}")).await;
    assert_eq!(sidecar(hanging.port).probe(PATH).await, expected);
}

#[tokio::test]
async fn a_line_without_end_and_a_body_without_end_are_cut() {
    let line = App::plain(|_| answer("200 OK", "", &format!("a 1\n{}", "x".repeat(1 << 20)))).await;
    assert_eq!(
        sidecar(line.port).probe(PATH).await,
        (200, format!("a 1\n{OWN_METRICS}{}", success(0)))
    );
    let body = App::plain(|_| answer("200 OK", "", &"a 1\n".repeat(9 << 20))).await;
    let (status, text) = sidecar(body.port).probe(PATH).await;
    assert_eq!(status, 200);
    assert!(text.len() < (33 << 20) && text.ends_with(&format!("\n{OWN_METRICS}{}", success(0))));
}

#[tokio::test]
async fn an_app_without_metrics_is_not_asked() {
    let sidecar = Sidecar::start(AdminSettings::default());
    assert_eq!(sidecar.probe(PATH).await, (200, OWN_METRICS.into()));
}
