//! Heads that two readers could take for different requests: refused with 400, and the connection
//! closed, by whichever sidecar meets them first. Nothing of them reaches the application.

use std::net::SocketAddr;

use heddle_proto::mesh::{MtlsMode, Protocol};
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{Client, full};
use crate::support::mesh::{Pair, PodSpec};
use crate::support::tcp::{Server, connect, exchange, read_all, read_head};

/// What each is, and its bytes.
const REFUSED: &[(&str, &str)] = &[
    (
        "content-length, then transfer-encoding",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "transfer-encoding, then content-length",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "two content-lengths that differ",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    ),
    (
        "two content-lengths that agree",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    ),
    (
        "a list of content-lengths",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello",
    ),
    (
        "a signed content-length",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello",
    ),
    (
        "two transfer-encodings",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "transfer-encoding repeated",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "another transfer-encoding",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a transfer-encoding with a tail",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    ),
    (
        "transfer-encoding in HTTP/1.0",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a bare line feed after the request line",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
    ),
    (
        "a bare line feed after a field",
        "GET / HTTP/1.1\r\nhost: a\nx-a: b\r\n\r\n",
    ),
    (
        "a bare line feed at the end",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
    ),
    (
        "a bare carriage return",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\rx-c: d\r\n\r\n",
    ),
    (
        "a folded field",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n",
    ),
    (
        "a space before the colon",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n",
    ),
    (
        "a space before the first field",
        "GET / HTTP/1.1\r\n host: a\r\n\r\n",
    ),
    ("an empty name", "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n"),
    (
        "a null in a value",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n",
    ),
    (
        "a control character in a value",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\x01c\r\n\r\n",
    ),
    (
        "a null in a name",
        "GET / HTTP/1.1\r\nhost: a\r\nx\0a: b\r\n\r\n",
    ),
    (
        "a control character in the target",
        "GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    ("a fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
    (
        "a fragment in absolute form",
        "GET http://a/a#b HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "an escaped null in the path",
        "GET /a%00 HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("a host with a space", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
    (
        "a host with a path",
        "GET / HTTP/1.1\r\nhost: a/../b\r\n\r\n",
    ),
    ("a host with a user", "GET / HTTP/1.1\r\nhost: b@a\r\n\r\n"),
    (
        "a target with a user",
        "GET http://b:c@a/ HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "a host and port for a path",
        "GET other:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "a path without a slash",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "a path without a slash and with one",
        "GET a/b HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    ("a query alone", "GET ?a HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("the whole server", "GET * HTTP/1.1\r\nhost: a\r\n\r\n"),
    (
        "a URL of something else",
        "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    ("options of a name", "OPTIONS a HTTP/1.1\r\nhost: a\r\n\r\n"),
    (
        "a tunnel to a path",
        "CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "a tunnel to a URL",
        "CONNECT http://a:1/ HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "a tunnel to no port",
        "CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    ("another version", "GET / HTTP/1.2\r\nhost: a\r\n\r\n"),
];

/// Those that were not refused as they must be.
async fn taken(to: SocketAddr) -> Vec<(&'static str, String)> {
    let mut taken = Vec::new();
    for (name, request) in REFUSED {
        // What follows in the same packet is never answered.
        let behind = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = exchange(to, format!("{request}{behind}").as_bytes()).await;
        let refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400");
        if !refused || answer.matches("HTTP/1.").count() != 1 {
            taken.push((*name, answer));
        }
    }
    taken
}

#[test]
fn an_application_that_sends_them_is_refused() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let taken = pair.client.run(taken(pair.web.at()));
    assert!(taken.is_empty(), "{taken:#?}");
    assert_eq!(app.requests(), 0);
    let labels = ["response_code=\"400\"", "response_flags=\"DPE\""];
    let counted = pair
        .client
        .sidecar()
        .metric("istio_requests_total", &labels);
    assert!(counted >= 10.0, "{counted}");
}

#[test]
fn a_caller_that_sends_them_is_refused() {
    let server = PodSpec {
        mtls: MtlsMode::Permissive,
        ..PodSpec::new("server")
    };
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), server);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let taken = pair.mesh.node.run(taken(pair.server.at(8080)));
    assert!(taken.is_empty(), "{taken:#?}");
    assert_eq!(app.requests(), 0);
}

#[test]
fn the_reason_is_said() {
    let pair = Pair::new(Protocol::Http1);
    let to = pair.web.at();
    let answer = pair.client.run(exchange(to, REFUSED[0].1.as_bytes()));
    assert!(
        answer.contains("both Content-Length and Transfer-Encoding"),
        "{answer}"
    );
    assert!(answer.contains("x-heddle-flag: DPE"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

/// The head is good, and on its way before the body is known to be none.
#[test]
fn a_malformed_body_is_its_senders_fault() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    for body in ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n"] {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = format!("{head}{body}");
        let answer = pair
            .client
            .run(async move { exchange(to, request.as_bytes()).await });
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("x-heddle-flag: DPE"), "{answer}");
        assert!(answer.contains("its body is malformed"), "{answer}");
        let labels = ["response_code=\"400\"", "response_flags=\"DPE\""];
        eventually("it is counted", || {
            let counted = |labels: &[_]| {
                let sidecar = pair.client.sidecar();
                sidecar.metric("istio_requests_total", labels)
            };
            counted(&labels) >= 1.0 && counted(&labels) == counted(&[])
        });
        assert!(
            !answer.contains("server"),
            "nobody else is blamed: {answer}"
        );
    }
}

#[test]
fn a_target_that_is_none_is_shown() {
    let pair = Pair::new(Protocol::Http1);
    let to = pair.web.at();
    let request = b"GET other:80 HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = pair.client.run(exchange(to, request));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("x-heddle-flag: DPE"), "{answer}");
    assert!(
        answer.contains("its target \"other:80\" is neither a path"),
        "{answer}"
    );
}

#[test]
fn options_of_the_whole_server_reach_it() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let request = b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = pair.client.run(exchange(to, request));
    assert!(answer.contains("OPTIONS * HTTP/1.1\n"), "{answer}");
}

#[test]
fn one_behind_good_requests_is_refused_and_they_are_not() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let answer = pair.client.run(async move {
        let good = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n#\n\n\n\
                    POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\n#\n\r\n0\r\n\r\n";
        exchange(to, format!("{good}{}", REFUSED[0].1).as_bytes()).await
    });
    let of = |status: &str| answer.matches(&format!("HTTP/1.1 {status}")).count();
    assert_eq!((of("200"), of("400")), (2, 1), "{answer}");
    assert_eq!(app.requests(), 2);
}

#[test]
fn one_that_comes_in_two_parts_with_a_pause_is_refused() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let answer = pair.client.run(async move {
        let mut stream = connect(to).await;
        let first = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-le";
        stream.write_all(first).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
        // A connection without a request under way is soon given up by all but its socket.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let rest = b"ngth: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        stream.write_all(rest).await.unwrap();
        String::from_utf8(read_all(&mut stream).await.0).unwrap()
    });
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    assert_eq!(app.requests(), 1);
}

#[test]
fn an_answer_with_both_lengths_goes_on_with_one() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nhello\r\n0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let to = pair.web.at();
    let answer = pair
        .client
        .run(async move { Client::http1(to).await.unwrap().get("/").await.unwrap() });
    assert_eq!(
        (answer.text().as_str(), answer.header("content-length")),
        ("hello", "")
    );
}

#[test]
fn the_target_wins_over_host_for_route_and_application() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let request = b"GET http://target/x HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n";
        let answer = exchange(web, request).await;
        assert!(
            answer.contains("GET /x HTTP/1.1\nhost: target\n"),
            "{answer}"
        );
    });
}

#[test]
fn what_connection_names_is_taken_off_and_the_meshs_word_is_not() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let (web, own) = (pair.web.at(), pair.client.id().to_string());
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let forged = [
            ("connection", "x-secret, x-forwarded-client-cert, te"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("x-forwarded-client-cert", "By=me;URI=spiffe://forged"),
        ];
        let answer = client.get_with("/", &forged).await.unwrap();
        assert_eq!(answer.seen("x-secret"), [""; 0]);
        assert_eq!(answer.seen("te"), ["trailers"]);
        let seen = answer.seen("x-forwarded-client-cert");
        assert!(seen.len() == 1 && seen[0].ends_with(&own), "{seen:?}");
        let again = client.request("POST", "/").body(full("x")).unwrap();
        assert_eq!(client.call(again).await.unwrap().status, 200);
    });
}
