//! A client of HTTP/1.1: one request after the other over a kept connection. Every answer must be
//! 200 with the id of its request. A connection that the server closes between two requests is
//! simply replaced; one that fails under a request has failed that request.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::record::{Failure, Kind};
use super::{ANSWER, Work};

/// A client that makes new connections makes one for so many requests.
const FRESH: u32 = 10;
/// Largest answer that is read.
const LARGEST: usize = 64 * 1024;

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    asked: u32,
    _driver: JoinSet<()>,
}

/// Asks until the end. `fresh`: over new connections.
pub(super) async fn run(mut work: Work, fresh: bool) {
    let mut connection: Option<Connection> = None;
    let mut tick = interval(work.plan.pace);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !work.stopped() {
        let id = work.id();
        let started = Instant::now();
        let asked = timeout(ANSWER, ask(&mut connection, &work, id)).await;
        let asked = asked.unwrap_or_else(|_| Err(Failure::new(format!("no answer in {ANSWER:?}"))));
        match asked {
            Ok(()) => work.record.answer(Kind::Http, started.elapsed()),
            Err(failure) => {
                // An answer that says why leaves the connection as good as it was.
                if failure.flag.is_none() {
                    connection = None;
                }
                work.record.failed(Kind::Http, failure);
                work.pause(Duration::from_millis(10)).await;
            }
        }
        if fresh && connection.as_ref().is_some_and(|c| c.asked >= FRESH) {
            connection = None;
        }
        tick.tick().await;
    }
}

async fn ask(connection: &mut Option<Connection>, work: &Work, id: u64) -> Result<(), Failure> {
    let text = Bytes::from(id.to_string());
    let (address, host) = &work.plan.http;
    let request = match work.plan.posts && id % 2 == 1 {
        true => Request::post("/echo").body(Full::new(text.clone())),
        false => Request::get(format!("/echo/{id}")).body(Full::default()),
    };
    let mut request = request.map_err(|e| Failure::new(e.to_string()))?;
    let host = host
        .parse()
        .map_err(|_| Failure::new("the host is no header"))?;
    request.headers_mut().insert(header::HOST, host);
    loop {
        let current = match connection {
            Some(current) => current,
            None => connection.insert(connect(*address).await?),
        };
        current.asked += 1;
        match current.sender.try_send_request(request).await {
            Ok(response) => return answered(response, &text).await,
            Err(mut error) => match error.take_message() {
                // It was closed since the last request, and nothing of this one was sent.
                Some(unsent) if current.asked > 1 => {
                    request = unsent;
                    *connection = None;
                }
                _ => return Err(Failure::new(chain(&error.into_error()))),
            },
        }
    }
}

async fn connect(address: std::net::SocketAddr) -> Result<Connection, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::new(format!("cannot connect: {e}"));
    let stream = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
    stream.set_nodelay(true).map_err(|e| failed(&e))?;
    let shaken = handshake(TokioIo::new(stream)).await;
    let (sender, driver) = shaken.map_err(|e| failed(&e))?;
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move {
        // Whoever asks over it is told.
        let _ = driver.await;
    });
    Ok(Connection {
        sender,
        asked: 0,
        _driver: tasks,
    })
}

async fn answered(response: Response<Incoming>, expected: &Bytes) -> Result<(), Failure> {
    let (head, body) = response.into_parts();
    let flag = head.headers.get("x-heddle-flag");
    let flag = flag.and_then(|flag| flag.to_str().ok()).map(str::to_owned);
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|e| Failure::new(format!("the answer broke off: {e}")))?;
    let body = body.to_bytes();
    if head.status == StatusCode::OK && body == *expected {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&body);
    Err(Failure {
        flag,
        what: format!("{} {}", head.status.as_u16(), text.trim_end()),
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
