//! Requests that become tunnels: protocol upgrades, CONNECT, and CONNECT for another protocol over
//! HTTP/2, through two sidecars.

use std::time::Duration;

use heddle_proto::mesh::{DirectResponse, Protocol, http_rule};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{Body, Client, Error, empty};
use crate::support::mesh::Pair;
use crate::support::resources::rule;
use crate::support::tcp::{Server, connect, exchange, read_all, read_exact, read_head};

const CONNECT: &[u8] = b"CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n";
const WEBSOCKET: &[u8] = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";

/// Nothing comes for a while.
async fn is_silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte));
    read.await.is_err()
}

/// Reads the head, which must contain all of these; agrees when nothing was sent ahead of that; gives
/// everything back, and says goodbye when the client has ended.
fn agreeing(pair: &Pair, contains: &'static [&'static str], answer: &'static [u8]) -> Server {
    Server::start(&pair.server.netns, 8080, move |mut stream, _| async move {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        for part in contains {
            assert!(head.contains(part), "{head}");
        }
        // The client has sent more; it waits.
        if !is_silent(&mut stream).await {
            return;
        }
        stream.write_all(answer).await.unwrap();
        stream.write_all(b"early").await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..n]).await.unwrap();
        }
        stream.write_all(b"bye").await.unwrap();
    })
}

async fn talk(mut stream: TcpStream, request: &[u8], status: &str) {
    stream
        .write_all(&[request, b"ahead"].concat())
        .await
        .unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with(status), "{head}");
    assert!(
        !head.to_ascii_lowercase().contains("content-length"),
        "{head}"
    );
    assert_eq!(read_exact(&mut stream, 10).await, b"earlyahead");
    for n in 0..50u8 {
        stream.write_all(&[n; 100]).await.unwrap();
        assert_eq!(read_exact(&mut stream, 100).await, [n; 100]);
    }
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await.0, b"bye");
}

fn counted(pair: &Pair, code: &str) {
    let labels = [
        &format!("response_code=\"{code}\"")[..],
        "response_flags=\"-\"",
    ];
    for pod in [&pair.client, &pair.server] {
        eventually("the tunnel is counted", || {
            pod.sidecar().metric("istio_requests_total", &labels) == 1.0
        });
        let bytes = pod.sidecar().metric("istio_request_bytes_sum", &labels);
        assert_eq!(bytes, 5005.0);
    }
}

#[test]
fn an_upgrade_joins_the_connections_when_it_is_accepted() {
    let pair = Pair::new(Protocol::Http1);
    let expected = &["\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n"];
    let answer =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let _app = agreeing(&pair, expected, answer);
    let to = pair.web.at();
    let talk = async move { talk(connect(to).await, WEBSOCKET, "HTTP/1.1 101").await };
    pair.client.run(talk);
    counted(&pair, "101");
}

#[test]
fn connect_joins_the_connections_when_it_is_accepted() {
    let pair = Pair::new(Protocol::Http1);
    let expected = &[
        "connect db.example:5432 http/1.1\r\n",
        "\r\nhost: db.example:5432\r\n",
    ];
    // A length that CONNECT's answer must not have, and that some have.
    let _app = agreeing(
        &pair,
        expected,
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    );
    let to = pair.web.at();
    let talk = async move { talk(connect(to).await, CONNECT, "HTTP/1.1 200").await };
    pair.client.run(talk);
    counted(&pair, "200");
}

#[test]
fn a_refused_connect_ends_the_connection_and_what_was_sent_ahead() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::http(&pair.server.netns, 8080, |_| async {
        Ok(Response::builder().status(403).body(empty())?)
    });
    let to = pair.web.at();
    let answer = pair.client.run(async move {
        let ahead = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        exchange(to, &[CONNECT, ahead].concat()).await
    });
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!(app.requests(), 1);
}

#[test]
fn a_connect_without_a_route_ends_the_connection_too() {
    let pair = Pair::new(Protocol::Http1);
    let mut never = rule("VirtualService/default/web#0", vec![pair.web.to("", 1)]);
    never.answer = Some(http_rule::Answer::DirectResponse(DirectResponse {
        status: 403,
        ..DirectResponse::default()
    }));
    pair.web.set_rules(&pair.mesh.control, vec![never]);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let answer = pair.client.run(async move {
        let ahead = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        exchange(to, &[CONNECT, ahead].concat()).await
    });
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!(app.requests(), 0);
}

#[test]
fn an_upgrade_to_another_http_is_not_asked_for() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let upgrade = [
            ("connection", "upgrade, http2-settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ];
        let answer = client.get_with("/", &upgrade).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.seen("upgrade"), [""; 0]);
    });
}

#[test]
fn an_upgrade_that_the_server_declines_is_an_answer() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::http(&pair.server.netns, 8080, |_| async {
        Ok(Response::builder().status(426).body(empty())?)
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        for _ in 0..3 {
            let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
            assert_eq!(client.get_with("/", &upgrade).await.unwrap().status, 426);
        }
    });
}

/// Accepts any CONNECT, says who it is for, and gives everything back.
async fn accept(request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    let protocol = protocol.map_or("none", |p| p.as_str());
    let mut hello = format!("{} {} {protocol}\n", request.method(), request.uri());
    tokio::spawn(async move {
        let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        stream.write_all(hello.as_bytes()).await.unwrap();
        hello.clear();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..n]).await.unwrap();
        }
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    Ok(Response::new(empty()))
}

fn connect_request(uri: &str, protocol: Option<&'static str>) -> Request<Body> {
    let mut request = Request::connect(uri).body(empty()).unwrap();
    if let Some(protocol) = protocol {
        let protocol = hyper::ext::Protocol::from_static(protocol);
        request.extensions_mut().insert(protocol);
    }
    request
}

/// A tunnel in one stream: what it says first must be this.
async fn talk_in_a_stream(response: Response<Incoming>, first: &str) {
    assert_eq!(response.status(), 200);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    assert_eq!(read_exact(&mut stream, first.len()).await, first.as_bytes());
    for n in 0..20u8 {
        let sent = vec![n; 1 + usize::from(n) * 1000];
        stream.write_all(&sent).await.unwrap();
        assert!(read_exact(&mut stream, sent.len()).await == sent);
    }
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await.0, b"bye");
}

#[test]
fn connect_and_websocket_over_http2_are_streams_of_their_own() {
    let pair = Pair::new(Protocol::Http2);
    let app = App::http(&pair.server.netns, 8080, accept);
    let to = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(to).await.unwrap();
        let plain = client
            .send(connect_request("db.example:5432", None))
            .await
            .unwrap();
        let mut all = tokio::task::JoinSet::new();
        all.spawn(async move { talk_in_a_stream(plain, "CONNECT db.example:5432 none\n").await });
        for n in 0..30 {
            let uri = format!("http://chat.example/room/{n}");
            let first = format!("CONNECT {uri} websocket\n");
            let response = client
                .send(connect_request(&uri, Some("websocket")))
                .await
                .unwrap();
            all.spawn(async move { talk_in_a_stream(response, &first).await });
        }
        all.join_all().await;
        assert!(!client.is_closed());
    });
    assert_eq!((app.requests(), app.connections()), (31, 1));
    for pod in [&pair.client, &pair.server] {
        eventually("the tunnels are counted", || {
            let labels = ["response_code=\"200\"", "response_flags=\"-\""];
            pod.sidecar().metric("istio_requests_total", &labels) == 31.0
        });
    }
}

#[test]
fn a_declined_websocket_over_http2_is_an_answer() {
    let pair = Pair::new(Protocol::Http2);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(to).await.unwrap();
        let mut request = connect_request("http://chat.example/", Some("websocket"));
        request
            .headers_mut()
            .insert("x-status", "404".parse().unwrap());
        assert_eq!(client.send(request).await.unwrap().status(), 404);
        assert_eq!(client.get("/").await.unwrap().status, 200);
    });
}

#[test]
fn a_tunnel_whose_client_vanishes_ends_at_the_server() {
    let pair = Pair::new(Protocol::Http1);
    let (ended, ending) = std::sync::mpsc::channel();
    let _app = Server::start(&pair.server.netns, 8080, move |mut stream, _| {
        let ended = ended.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            ended.send(read_all(&mut stream).await.1).unwrap();
        }
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(to).await;
        stream.write_all(CONNECT).await.unwrap();
        read_head(&mut stream).await;
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let end = ending.recv_timeout(crate::support::PATIENCE).unwrap();
    let kind = end.unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
}
