//! HTTP/2 and gRPC through two sidecars.

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::app::App;
use crate::support::http::{Answer, Body, Client, Error};
use crate::support::mesh::Pair;

/// A body that the test feeds.
fn fed() -> (mpsc::Sender<Result<Frame<Bytes>, Error>>, Body) {
    let (feed, frames) = mpsc::channel(1);
    (
        feed,
        StreamBody::new(ReceiverStream::new(frames)).boxed_unsync(),
    )
}

fn trailers(status: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers
}

#[test]
fn requests_share_a_connection() {
    let pair = Pair::new(Protocol::Http2);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let (web, own) = (pair.web.at(), pair.client.id().to_string());
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        for n in 0..50 {
            let answer = client.get(&format!("/{n}")).await.unwrap();
            let first = format!("GET http://{web}/{n} HTTP/2.0\n");
            assert!(answer.text().starts_with(&first), "{}", answer.text());
            assert!(answer.seen("x-forwarded-client-cert")[0].ends_with(&own));
        }
    });
    assert_eq!((app.requests(), app.connections()), (50, 1));
}

#[test]
fn a_grpc_call_keeps_its_trailers_and_is_counted_by_its_status() {
    let pair = Pair::new(Protocol::Grpc);
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let body = request.into_body().map_err(Error::from);
        let reply = Response::builder().header("content-type", "application/grpc");
        let body = body.with_trailers(async { Some(Ok(trailers("7"))) });
        Ok(reply.body(body.boxed_unsync())?)
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let request = client
            .request("POST", "/pkg.Service/Method")
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        let body = crate::support::http::full(vec![0, 0, 0, 0, 2, 8, 1]);
        let answer = client.call(request.body(body).unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 7));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "7");
    });
    for pod in [&pair.client, &pair.server] {
        let labels = ["request_protocol=\"grpc\"", "grpc_response_status=\"7\""];
        assert_eq!(pod.sidecar().metric("istio_requests_total", &labels), 1.0);
    }
}

#[test]
fn both_sides_stream_at_once() {
    let pair = Pair::new(Protocol::Grpc);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let (feed, body) = fed();
        let request = client.request("POST", "/chat").body(body).unwrap();
        let mut response = client.send(request).await.unwrap();
        for n in 0..200u32 {
            let message = Bytes::copy_from_slice(&n.to_be_bytes());
            feed.send(Ok(Frame::data(message.clone()))).await.unwrap();
            let echoed = response.frame().await.unwrap().unwrap();
            assert_eq!(echoed.data_ref(), Some(&message));
        }
        feed.send(Ok(Frame::trailers(trailers("0")))).await.unwrap();
        drop(feed);
        let answer = Answer::of(response).await.unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn no_endpoint_is_unavailable_to_grpc() {
    let pair = Pair::new(Protocol::Grpc);
    pair.web.set(&pair.mesh.control, &[], &[]);
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let grpc = [("content-type", "application/grpc")];
        let answer = client.get_with("/pkg.Service/Method", &grpc).await.unwrap();
        assert_eq!((answer.status, answer.header("grpc-status")), (200, "14"));
        assert!(answer.header("grpc-message").contains("no ready endpoint"));
    });
}

#[test]
fn a_stream_that_the_client_gives_up_ends_at_the_server() {
    let pair = Pair::new(Protocol::Http2);
    let (ended, ending) = std::sync::mpsc::channel();
    let _app = App::http(&pair.server.netns, 8080, move |request| {
        let ended = ended.clone();
        async move {
            let (feed, body) = fed();
            tokio::spawn(async move {
                let mut request = request.into_body();
                feed.send(Ok(Frame::data(Bytes::from_static(b"hello"))))
                    .await
                    .unwrap();
                while let Some(Ok(_)) = request.frame().await {}
                feed.closed().await;
                ended.send(()).unwrap();
            });
            Ok(Response::new(body))
        }
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let (_feed, body) = fed();
        let request = client.request("POST", "/").body(body).unwrap();
        let mut response = client.send(request).await.unwrap();
        assert!(response.frame().await.is_some());
        drop(response);
        // The connection and other streams on it are well.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        drop(_feed);
        assert!(!client.is_closed());
    });
    ending.recv_timeout(crate::support::PATIENCE).unwrap();
    let gone = ["response_flags=\"DC\""];
    crate::support::eventually("it is counted", || {
        pair.server.sidecar().metric("istio_requests_total", &gone) == 1.0
    });
}
