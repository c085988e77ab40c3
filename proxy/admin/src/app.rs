//! Asks the app what the kubelet would have asked: at the pod's own address, from the source that the redirect lets
//! through, within the probe's own time. The answer is the app's, cut to what a kubelet reads.

mod dial;
mod grpc;
mod http1;
mod redirect;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time;

use crate::checks::{Action, AppMetrics, Check};

pub(crate) use http1::Streaming;

/// What a kubelet reads of an answer (pkg/probe/http).
const BODY_LIMIT: usize = 10 << 10;

/// The app of this pod.
pub(crate) struct App {
    address: IpAddr,
    tls: Arc<rustls::ClientConfig>,
}

/// What the app said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why the app did not say anything that counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect to the app at {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error("the app at {0} does not speak TLS: {1}")]
    Tls(SocketAddr, std::io::Error),
    #[error("the app at {0} does not speak HTTP: {1}")]
    Http(SocketAddr, hyper::Error),
    #[error("the app redirects {0}")]
    Redirect(String),
    #[error("the app's gRPC health at {0}: {1}")]
    Grpc(SocketAddr, String),
    #[error("the app did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl Failure {
    /// As which the kubelet is told of it; all count as failed.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Grpc(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(..) | Self::Tls(..) | Self::Http(..) | Self::Redirect(_) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }
}

impl App {
    pub(crate) fn new(pod_ip: Option<IpAddr>) -> Self {
        Self {
            address: pod_ip.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            tls: tls::unverified(),
        }
    }

    pub(crate) async fn ask(
        &self,
        check: &Check,
        agent: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        let asked = async {
            match &check.action {
                Action::Http(get) => http1::get(self, get, agent).await,
                Action::Tcp { port } => {
                    dial::connect(self.at(*port)).await?;
                    Ok(Answer {
                        status: StatusCode::OK,
                        body: Bytes::from_static(b"connected\n"),
                    })
                }
                Action::Grpc { port, service } => grpc::check(self.at(*port), service).await,
            }
        };
        time::timeout(check.timeout, asked)
            .await
            .unwrap_or(Err(Failure::Timeout(check.timeout)))
    }

    /// The head of the app's metrics; the rest is read as it comes.
    pub(crate) async fn metrics(&self, metrics: &AppMetrics) -> Result<Streaming, Failure> {
        http1::metrics(self.at(metrics.port), &metrics.path).await
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}
