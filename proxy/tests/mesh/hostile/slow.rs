//! Peers that take their time: they are not waited for without end, and nobody waits for them.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http::Response;
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{Client, full};
use crate::support::mesh::{Pair, Pod, PodSpec};
use crate::support::tcp::{connect, read_all, read_head};

/// Both sidecars allow a peer to stand still for so many seconds.
fn impatient() -> Pair {
    let pod = |name| PodSpec {
        environment: vec![("HEDDLE_STALL_SECONDS", "2".into())],
        ..PodSpec::new(name)
    };
    Pair::with(Protocol::Http1, pod("client"), pod("server"))
}

fn refused(pair: &Pair, reason: &str) {
    let reason = format!("reason=\"{reason}\"");
    let name = "heddle_connections_refused_total";
    // Where both are as patient, either may be the first to lose it.
    eventually("the refusal is counted", || {
        let counted = |pod: &Pod| pod.sidecar().metric(name, &[&reason]);
        counted(&pair.client) + counted(&pair.server) >= 1.0
    });
}

/// While one is slow, another client is served at once.
async fn while_others_are_served<T>(to: std::net::SocketAddr, slow: impl Future<Output = T>) -> T {
    let others = async {
        let mut client = Client::http1(to).await.unwrap();
        loop {
            assert_eq!(client.get("/").await.unwrap().status, 200);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        done = slow => done,
        () = others => unreachable!(),
    }
}

#[test]
fn a_head_that_never_ends_is_closed() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut slow = connect(web).await;
        let trickle = async {
            slow.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n")
                .await
                .unwrap();
            // One second for each of the ten that a head may take, and as many more for the look that
            // finds it late.
            for _ in 0..50 {
                if slow.write_all(b"x-a: b\r\n").await.is_err() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            false
        };
        assert!(while_others_are_served(web, trickle).await);
    });
    refused(&pair, "slow-head");
}

#[test]
fn a_body_that_stops_is_closed() {
    let pair = impatient();
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let stops = async {
            let mut slow = connect(web).await;
            let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nten bytes.";
            slow.write_all(head).await.unwrap();
            // The echo has begun; the end comes from the sidecar.
            let _ = read_all(&mut slow).await.1;
        };
        while_others_are_served(web, stops).await;
    });
    refused(&pair, "slow-body");
}

#[test]
fn a_reader_that_stops_is_closed() {
    let pair = impatient();
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        let body = match request.uri().path() {
            "/big" => Bytes::from(vec![b'x'; 64 << 20]),
            _ => Bytes::from_static(b"small"),
        };
        Ok(Response::new(full(body)))
    });
    let web = pair.web.at();
    let mut slow = pair.client.run(async move {
        let mut slow = connect(web).await;
        slow.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut slow).await;
        slow
    });
    let others = pair
        .client
        .netns
        .spawn(while_others_are_served(web, std::future::pending::<()>()));
    refused(&pair, "slow-reader");
    assert!(!others.is_finished());
    others.abort();
    pair.client.run(async move {
        // It broke, and did not end.
        let (rest, ended) = read_all(&mut slow).await;
        assert!(rest.len() < 32 << 20, "{}", rest.len());
        ended.unwrap_err();
    });
}

#[test]
fn an_application_may_take_longer() {
    let pair = impatient();
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        Ok(Response::new(full(body.to_bytes())))
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let answer = client.post("/", "words").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"words"[..]));
    });
}
