//! What HTTP/2 servers say about their streams and connections, and what a sidecar makes of it: what
//! they have not looked at is asked again, what they will not take goes elsewhere, what they have no
//! room for waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, SendResponse};
use heddle_proto::mesh::Protocol;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::http::Client;
use crate::support::mesh::Pair;
use crate::support::tcp::Server;

type Asked = (Request<h2::RecvStream>, SendResponse<Bytes>);

async fn answer((_request, mut reply): Asked) {
    let mut body = reply.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
}

fn all_are_answered(pair: &Pair, requests: usize) {
    let to = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(to).await.unwrap();
        for n in 0..requests {
            let answer = client.get("/").await.unwrap();
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, &b"hello"[..]),
                "{n}"
            );
        }
    });
}

/// Serves with `each`, which is told the number of the request on its connection.
async fn serve<F: Future<Output = ()> + Send>(
    stream: TcpStream,
    each: impl Fn(usize, Asked) -> F + Send,
) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut number = 0;
    while let Some(Ok(asked)) = connection.accept().await {
        each(number, asked).await;
        number += 1;
    }
}

#[test]
fn a_refused_stream_is_asked_again() {
    let pair = Pair::new(Protocol::Http2);
    let refused = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&refused);
    let _app = Server::start(&pair.server.netns, 8080, move |stream, _| {
        let count = Arc::clone(&count);
        async move {
            let each = |number, mut asked: Asked| {
                let count = Arc::clone(&count);
                async move {
                    match number % 2 {
                        0 => answer(asked).await,
                        _ => {
                            count.fetch_add(1, Ordering::SeqCst);
                            asked.1.send_reset(Reason::REFUSED_STREAM);
                        }
                    }
                }
            };
            serve(stream, each).await;
        }
    });
    all_are_answered(&pair, 4);
    assert!(refused.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_server_that_goes_away_is_connected_to_anew() {
    let pair = Pair::new(Protocol::Http2);
    let app = Server::start(&pair.server.netns, 8080, |stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut number = 0;
        while let Some(Ok(asked)) = connection.accept().await {
            number += 1;
            if number == 2 {
                connection.graceful_shutdown();
            }
            answer(asked).await;
        }
    });
    all_are_answered(&pair, 10);
    assert!(app.connections() > 1, "{}", app.connections());
}

#[test]
fn more_requests_than_a_server_takes_at_a_time_wait() {
    let pair = Pair::new(Protocol::Http2);
    let app = Server::start(&pair.server.netns, 8080, |stream, _| async move {
        let builder = Builder::new().max_concurrent_streams(2).clone();
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        while let Some(Ok(asked)) = connection.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                answer(asked).await;
            });
        }
    });
    let to = pair.web.at();
    pair.client.run(async move {
        // Until the server's word is known, as many are sent as any server takes.
        let mut client = Client::http2(to).await.unwrap();
        assert_eq!(client.get("/").await.unwrap().status, 200);
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..20 {
            all.spawn(async move {
                let mut client = Client::http2(to).await.unwrap();
                let body = vec![b'x'; 100_000];
                client.post("/", body).await.unwrap().status
            });
        }
        assert_eq!(all.join_all().await, [200; 20]);
    });
    assert_eq!(app.connections(), 1);
}

#[test]
fn a_request_ends_with_its_answer_when_that_is_given_up() {
    let pair = Pair::new(Protocol::Http2);
    let (reset, resets) = std::sync::mpsc::channel();
    let _app = Server::start(&pair.server.netns, 8080, move |stream, _| {
        let reset = reset.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut reply))) = connection.accept().await {
                let reset = reset.clone();
                tokio::spawn(async move {
                    let mut body: h2::SendStream<Bytes> =
                        reply.send_response(Response::new(()), false).unwrap();
                    let why = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
                    reset.send(why.unwrap()).unwrap();
                    drop(request);
                });
            }
        }
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let stream = crate::support::tcp::connect(to).await;
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("http://{to}/")).body(()).unwrap();
        let mut requests = requests.ready().await.unwrap();
        let (answer, upload): (_, h2::SendStream<Bytes>) =
            requests.send_request(request, false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        // The last that holds the stream resets it.
        drop(upload);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    });
    let why = resets.recv_timeout(crate::support::PATIENCE).unwrap();
    assert_eq!(why, Reason::CANCEL);
}

/// What became of a body.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    CutShort,
}

async fn ending(mut body: h2::RecvStream) -> Ending {
    loop {
        match body.data().await {
            Some(Ok(data)) => drop(body.flow_control().release_capacity(data.len())),
            Some(Err(_)) => return Ending::CutShort,
            None => break,
        }
    }
    match body.trailers().await {
        Ok(_) => Ending::Whole,
        Err(_) => Ending::CutShort,
    }
}

async fn requests_to(to: std::net::SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = crate::support::tcp::connect(to).await;
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

#[test]
fn a_request_that_is_given_up_without_an_error_is_not_whole() {
    let pair = Pair::new(Protocol::Http2);
    let (began, beginning) = std::sync::mpsc::channel();
    let (ended, endings) = std::sync::mpsc::channel();
    let _app = Server::start(&pair.server.netns, 8080, move |stream, _| {
        let (began, ended) = (began.clone(), ended.clone());
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, _reply))) = connection.accept().await {
                let (began, ended) = (began.clone(), ended.clone());
                tokio::spawn(async move {
                    let _reply: SendResponse<Bytes> = _reply;
                    began.send(()).unwrap();
                    ended.send(ending(request.into_body()).await).unwrap();
                });
            }
        }
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut requests = requests_to(to).await;
        let request = Request::post(format!("http://{to}/pay")).body(()).unwrap();
        let (_answer, mut upload) = requests.send_request(request, false).unwrap();
        upload
            .send_data(Bytes::from_static(b"amount=1"), false)
            .unwrap();
        let arrived = move || beginning.recv_timeout(crate::support::PATIENCE).unwrap();
        tokio::task::spawn_blocking(arrived).await.unwrap();
        upload.send_reset(Reason::NO_ERROR);
        let seen = move || endings.recv_timeout(crate::support::PATIENCE).unwrap();
        let seen = tokio::task::spawn_blocking(seen).await.unwrap();
        assert_eq!(seen, Ending::CutShort);
    });
}

#[test]
fn an_answer_that_is_given_up_without_an_error_is_not_whole() {
    let pair = Pair::new(Protocol::Http2);
    // A reset that comes along with the head takes its place on the way, and the answer is 503.
    let head_is_there = Arc::new(Semaphore::new(0));
    let arrived = Arc::clone(&head_is_there);
    let _app = Server::start(&pair.server.netns, 8080, move |stream, _| {
        let arrived = Arc::clone(&arrived);
        async move {
            let each = |_, (request, mut reply): Asked| async {
                let arrived = Arc::clone(&arrived);
                tokio::spawn(async move {
                    let head = Response::builder();
                    let head = match request.uri().path() {
                        "/known" => head.header("content-length", "10"),
                        _ => head,
                    };
                    let mut body = reply.send_response(head.body(()).unwrap(), false).unwrap();
                    body.send_data(Bytes::from_static(b"hello"), false).unwrap();
                    arrived.acquire().await.unwrap().forget();
                    body.send_reset(Reason::NO_ERROR);
                });
            };
            serve(stream, each).await;
        }
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut requests = requests_to(to).await;
        for path in ["known", "unknown"] {
            let request = Request::get(format!("http://{to}/{path}"))
                .body(())
                .unwrap();
            let (answer, _) = requests.send_request(request, true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            head_is_there.add_permits(1);
            assert_eq!(ending(answer.into_body()).await, Ending::CutShort, "{path}");
        }
    });
}

#[test]
fn an_answer_before_the_end_of_its_request_arrives_whole() {
    let pair = Pair::new(Protocol::Http2);
    let _app = Server::start(&pair.server.netns, 8080, |stream, _| async move {
        let each = |_, (request, mut reply): Asked| async move {
            let head = Response::builder().status(413).body(()).unwrap();
            let mut body = reply.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"too much"), true)
                .unwrap();
            // Its stream is reset with NO_ERROR then.
            drop((request, reply));
        };
        serve(stream, each).await;
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut requests = requests_to(to).await;
        for size in [1, 100_000, 1_000_000] {
            let request = Request::post(format!("http://{to}/")).body(()).unwrap();
            let (answer, mut upload) = requests.send_request(request, false).unwrap();
            upload.send_data(vec![b'x'; size].into(), false).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 413);
            assert_eq!(ending(answer.into_body()).await, Ending::Whole, "{size}");
        }
    });
}

#[test]
fn what_a_server_may_have_looked_at_before_it_failed_is_not_asked_again() {
    let pair = Pair::new(Protocol::Http2);
    let paid = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&paid);
    let _app = Server::start(&pair.server.netns, 8080, move |stream, _| {
        let count = Arc::clone(&count);
        async move {
            let mut connection: h2::server::Connection<_, Bytes> =
                h2::server::handshake(stream).await.unwrap();
            while let Some(Ok(asked)) = connection.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
                drop(asked);
            }
        }
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(to).await.unwrap();
        let answer = client.post("/pay", Vec::new()).await.unwrap();
        assert_eq!(answer.status, 503);
    });
    assert_eq!(paid.load(Ordering::SeqCst), 1);
}

#[test]
fn an_answer_of_the_sidecars_own_to_head_has_no_body() {
    let pair = Pair::new(Protocol::Http2);
    pair.web.set(&pair.mesh.control, &[], &[]);
    let to = pair.web.at();
    pair.client.run(async move {
        let mut requests = requests_to(to).await;
        let request = Request::head(format!("http://{to}/")).body(()).unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_ne!(answer.headers()["content-length"], "0");
        assert_eq!(ending(answer.into_body()).await, Ending::Whole);
    });
}
