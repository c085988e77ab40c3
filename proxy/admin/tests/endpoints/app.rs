//! Apps: one that answers each request by a function of its head, plainly or over TLS, and remembers who asked what.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) struct App {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<(IpAddr, String)>>>,
    _serving: JoinSet<()>,
}

impl App {
    pub(crate) async fn plain(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(None, answer).await
    }

    /// With a certificate that nobody trusts, for another name, out of date.
    pub(crate) async fn tls(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["elsewhere.test".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        let remembered = asked.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                let (tls, answer, remembered) = (tls.clone(), answer.clone(), remembered.clone());
                connections.spawn(async move {
                    let remember = |head: &str| {
                        remembered
                            .lock()
                            .unwrap()
                            .push((peer.ip(), head.to_owned()))
                    };
                    match tls {
                        None => converse(stream, remember, &*answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, remember, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            asked,
            _serving: serving,
        }
    }

    pub(crate) fn last_asked(&self) -> (IpAddr, String) {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    remember: impl Fn(&str),
    answer: impl Fn(&str) -> String,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    remember(&head);
    let answer = answer(&head);
    if answer == HANG {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let (answer, hang) = match answer.strip_suffix(HANG) {
        Some(begun) => (begun, true),
        None => (&*answer, false),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    if hang {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let _ = stream.shutdown().await;
}

/// At the end of an answer: nothing more comes, and the connection stays.
pub(crate) const HANG: &str = "\u{0}hang";

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
