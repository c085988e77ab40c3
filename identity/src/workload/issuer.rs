//! Where certificates come from: the identity service over the network, proving ourselves by the
//! service-account token. The identity service itself has an issuer in its own process.

use std::{path::PathBuf, time::Duration};

use heddle_proto::identity::{IssueRequest, identity_client::IdentityClient};
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue};

use crate::{
    MeshTls, SpiffeId,
    channel::{self, ChannelError},
    private_file::{self, FileError},
    tls::MAX_ROOTS,
};

/// How long one request may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// No token that the identity service would accept is longer.
const MAX_TOKEN_BYTES: u64 = 16 * 1024;
/// A chain and a full bundle of the largest usual certificates fit.
const MAX_ANSWER_BYTES: usize = MAX_ROOTS * 8 * 1024;

/// A request for a certificate.
#[derive(Debug, Clone)]
pub struct Order {
    /// PKCS #10, DER.
    pub csr: Vec<u8>,
    /// Wanted lifetime; `None`: the issuer's default.
    pub ttl: Option<Duration>,
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The trust domain's roots of the moment.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The token cannot be read.
    #[error("cannot read our service-account token")]
    Token(#[source] FileError),
    /// The token's file holds no token.
    #[error("{} does not hold a token", .0.display())]
    NoToken(PathBuf),
    /// The identity service cannot be reached.
    #[error("cannot reach the identity service")]
    Unreachable(#[from] ChannelError),
    /// It takes too long.
    #[error("the identity service did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It said no.
    #[error("the identity service refused ({code:?}): {message}")]
    Refused {
        /// What kind of no.
        code: Code,
        /// In its words.
        message: String,
    },
    /// It has a fault of its own.
    #[error("cannot issue in this process: {0}")]
    Local(String),
}

/// A source of certificates.
#[tonic::async_trait]
pub trait Issuer: Send + Sync + 'static {
    /// Exchanges a certificate request for a certificate.
    async fn issue(&self, order: Order) -> Result<Issued, IssueError>;
}

/// The identity service over the network.
#[derive(Debug)]
pub struct RemoteIssuer {
    tls: MeshTls,
    address: String,
    identity: SpiffeId,
    token_file: PathBuf,
}

impl RemoteIssuer {
    /// Asks the service `identity` at `address`, with the token in `token_file`.
    pub fn new(tls: MeshTls, address: String, identity: SpiffeId, token_file: PathBuf) -> Self {
        Self {
            tls,
            address,
            identity,
            token_file,
        }
    }

    fn bearer(&self) -> Result<AsciiMetadataValue, IssueError> {
        let content =
            private_file::read(&self.token_file, MAX_TOKEN_BYTES).map_err(IssueError::Token)?;
        let no_token = || IssueError::NoToken(self.token_file.clone());
        let token = std::str::from_utf8(&content)
            .map_err(|_| no_token())?
            .trim();
        if token.is_empty() {
            return Err(no_token());
        }
        let mut value =
            AsciiMetadataValue::try_from(format!("Bearer {token}")).map_err(|_| no_token())?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn ask(&self, order: Order) -> Result<Issued, IssueError> {
        let bearer = self.bearer()?;
        // A connection for each request: there is one in many hours, and a fresh one finds the
        // service where it is now.
        let channel = channel::connect(&self.tls, &self.address, &self.identity).await?;
        let ttl_seconds = order.ttl.map_or(0, |ttl| {
            u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1)
        });
        let mut request = Request::new(IssueRequest {
            csr: order.csr,
            ttl_seconds,
        });
        request.metadata_mut().insert("authorization", bearer);
        let answer = IdentityClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER_BYTES)
            .issue(request)
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        Ok(Issued {
            chain: answer.chain.into_iter().map(CertificateDer::from).collect(),
            roots: answer.roots.into_iter().map(CertificateDer::from).collect(),
        })
    }
}

fn refused(status: &Status) -> IssueError {
    let message = if status.message().is_empty() {
        channel::explain(status)
    } else {
        status.message().to_owned()
    };
    IssueError::Refused {
        code: status.code(),
        message,
    }
}

#[tonic::async_trait]
impl Issuer for RemoteIssuer {
    async fn issue(&self, order: Order) -> Result<Issued, IssueError> {
        timeout(REQUEST_TIMEOUT, self.ask(order))
            .await
            .map_err(|_| IssueError::Timeout(REQUEST_TIMEOUT))?
    }
}
