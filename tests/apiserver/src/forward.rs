//! `pods/portforward` over WebSocket, as the real server and its kubelets speak it to clients of
//! `v4.channel.k8s.io`: for each port a channel of data and one of errors, each beginning with the port's
//! number. What is behind a port is the test's to say.

use std::{
    collections::HashMap,
    io,
    net::TcpStream as Connected,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, handshake::derive_accept_key, protocol::Role, protocol::WebSocketConfig,
    },
};

use crate::{
    answer::{Body, Refused},
    request::Asked,
};

const PROTOCOL: &str = "v4.channel.k8s.io";
/// One read.
const CHUNK: usize = 16 * 1024;
/// Clients have little to send before anything is answered.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Connects to a port of a pod; it may block.
pub(crate) type Dial = Arc<dyn Fn(u16) -> io::Result<Connected> + Send + Sync>;

/// Pods whose ports can be reached, by `NAMESPACE/NAME`, and what is being forwarded: that ends when this
/// is dropped.
#[derive(Default)]
pub(crate) struct Ports {
    dials: Mutex<HashMap<String, Dial>>,
    forwarding: Mutex<JoinSet<()>>,
}

impl Ports {
    pub(crate) fn open(&self, pod: &str, dial: Dial) {
        let mut all = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(pod.to_owned(), dial);
    }

    fn of(&self, pod: &str) -> Option<Dial> {
        let all = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(pod).cloned()
    }
}

/// Answers 101 and forwards; a pod that nobody opened refuses every connection, on the channel of errors.
pub(crate) fn start(
    ports: &Ports,
    asked: &Asked,
    headers: &HeaderMap,
    upgrade: OnUpgrade,
) -> Result<Response<Body>, Refused> {
    let text = |name| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.unwrap_or_default()
    };
    if !text(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(Refused::bad_request("you must upgrade to websocket"));
    }
    let mut offered = text(header::SEC_WEBSOCKET_PROTOCOL)
        .split(',')
        .map(str::trim);
    if !offered.any(|one| one == PROTOCOL) {
        return Err(Refused::bad_request("unable to negotiate a protocol"));
    }
    let [port] = asked.parameter("ports").split(',').collect::<Vec<_>>()[..] else {
        return Err(Refused::bad_request("one port is forwarded here"));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(Refused::bad_request("query parameter \"ports\" is no port"));
    };
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = derive_accept_key(text(header::SEC_WEBSOCKET_KEY).as_bytes());
    for (name, value) in [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
        (header::SEC_WEBSOCKET_ACCEPT, &accept),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    let dial = ports.of(&format!("{}/{}", asked.namespace, asked.name));
    let mut forwarding = ports
        .forwarding
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    while forwarding.try_join_next().is_some() {}
    forwarding.spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            // A client that goes away is no news.
            _ = forward(socket, port, dial).await;
        }
    });
    Ok(response)
}

async fn forward(
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    port: u16,
    dial: Option<Dial>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut to_client, mut from_client) = socket.split();
    let on = |channel: u8, bytes: &[u8]| Message::binary([&[channel], bytes].concat());
    for channel in [0, 1] {
        to_client.send(on(channel, &port.to_le_bytes())).await?;
    }
    let dialled = match dial {
        Some(dial) => tokio::task::spawn_blocking(move || dial(port)).await?,
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    let stream = match dialled {
        Ok(stream) => stream,
        Err(error) => {
            let why = format!("failed to connect to localhost:{port} inside namespace: {error}");
            to_client.send(on(1, why.as_bytes())).await?;
            return Ok(to_client.close().await?);
        }
    };
    stream.set_nonblocking(true)?;
    let (mut from_pod, mut to_pod) = TcpStream::from_std(stream)?.into_split();
    let mut chunk = vec![0; CHUNK];
    loop {
        tokio::select! {
            read = from_pod.read(&mut chunk) => match read? {
                0 => return Ok(to_client.close().await?),
                count => to_client.send(on(0, &chunk[..count])).await?,
            },
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&0) => {
                    to_pod.write_all(&bytes[1..]).await?;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}
