//! gRPC channels over mesh TLS: to an address, and to one identity at it.
//!
//! A channel connects when it is first used, again after it broke, and never to anybody but the
//! identity it was made for. It does not pace itself: callers wait a
//! [`Backoff`](crate::backoff::Backoff) between failed calls.

use std::{error::Error as StdError, io, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::{
    MeshTls, Refusal, SpiffeId,
    tls::{self, ALPN_H2},
};

/// How long connecting may take, TLS included. Within a cluster it takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is found after at most these two together: soon enough to reconnect before a push
/// is missed for long, seldom enough to cost nothing.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow-control windows in bytes. The connection's is four times the stream's: equal ones can
/// deadlock when a reader stops reading one stream.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not `host:port`.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot connect to {peer} at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Who should be there.
        peer: SpiffeId,
        /// What came of it.
        source: io::Error,
    },
    /// Somebody answered, and the handshake failed.
    #[error("cannot trust what answers for {peer} at {address}: {refusal}")]
    Refused {
        /// Where.
        address: String,
        /// Who should be there.
        peer: SpiffeId,
        /// What was wrong.
        refusal: Refusal,
    },
    /// The channel gave up before or after the handshake.
    #[error("cannot connect: {0}")]
    Transport(String),
}

/// A channel with mutual TLS to `peer` at `address` (`host:port`), which connects when it is used.
///
/// # Errors
/// When the address is malformed.
pub fn connect_lazy(
    tls: &MeshTls,
    address: &str,
    peer: &SpiffeId,
) -> Result<Channel, ChannelError> {
    let connector = Connector {
        tls: tls.clone(),
        address: address.to_owned(),
        peer: peer.clone(),
    };
    Ok(
        endpoint(address)?.connect_with_connector_lazy(tower::service_fn(move |_| {
            let connector = connector.clone();
            async move { connector.connect().await.map(TokioIo::new) }
        })),
    )
}

/// The same, connected at once.
///
/// # Errors
/// When the address is malformed, nobody answers or somebody else does.
pub async fn connect(
    tls: &MeshTls,
    address: &str,
    peer: &SpiffeId,
) -> Result<Channel, ChannelError> {
    let connector = Connector {
        tls: tls.clone(),
        address: address.to_owned(),
        peer: peer.clone(),
    };
    endpoint(address)?
        .connect_with_connector(tower::service_fn(move |_| {
            let connector = connector.clone();
            async move { connector.connect().await.map(TokioIo::new) }
        }))
        .await
        .map_err(|error| ChannelError::Transport(explain(&error)))
}

/// The whole chain of causes of an error, most telling part included: tonic's own Display says
/// little more than "transport error".
pub fn explain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn endpoint(address: &str) -> Result<Endpoint, ChannelError> {
    let malformed = || ChannelError::Address(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(malformed());
    }
    // The scheme is only a label: what the connector returns is TLS.
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| malformed())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

#[derive(Clone)]
struct Connector {
    tls: MeshTls,
    address: String,
    peer: SpiffeId,
}

impl Connector {
    async fn connect(&self) -> Result<TlsStream<TcpStream>, ChannelError> {
        let failed = |source| ChannelError::Connect {
            address: self.address.clone(),
            peer: self.peer.clone(),
            source,
        };
        let tcp = TcpStream::connect(&self.address).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        TlsConnector::from(self.tls.client_config(&self.peer, ALPN_H2))
            .connect(tls::server_name(), tcp)
            .await
            .map_err(|error| match Refusal::of(&error) {
                Some(refusal) => ChannelError::Refused {
                    address: self.address.clone(),
                    peer: self.peer.clone(),
                    refusal,
                },
                None => failed(error),
            })
    }
}
