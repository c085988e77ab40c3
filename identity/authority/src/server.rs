//! The identity service: tokens in, certificates out.
//!
//! Anybody can connect, so every size, time and number is bounded before a token is looked at.
//! Each certificate and each refusal is logged once, with who asked and why not; the answer to the
//! client says what it can do about it. Tokens are neither logged nor echoed.

mod own;
mod rotation;
mod run;

use std::{future::Future, sync::Arc, time::Duration};

use heddle_proto::identity::{
    IssueRequest, IssueResponse,
    identity_server::{Identity, IdentityServer},
};
use tonic::{Code, Request, Response, Status};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tracing::{info, warn};

pub use self::{
    own::own_identity,
    run::{Args, Lifetime, RunError, Server, run},
};
use crate::{
    ca::{Authority, IssueError},
    token::{Authenticator, TokenError},
};
use heddle_identity::{
    SpiffeId,
    channel::explain,
    incoming::{Incoming, Peer},
    tls::rfc3339,
};

/// A token, a certificate request and framing.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// One request takes a millisecond of CPU; more at once would only wait for each other.
const MAX_REQUESTS: usize = 64;
const MAX_STREAMS_PER_CONNECTION: u32 = 8;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients connect for one request; nobody needs to stay.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(15);

/// Issues certificates to those whose tokens prove an identity.
pub struct IdentityService<A> {
    authority: Arc<Authority>,
    authenticator: A,
}

/// Why a request was refused, and whose identity it was when that is known.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no token: send the service-account token as metadata \"authorization: Bearer TOKEN\"")]
    NoToken,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{error}")]
    Issue { id: SpiffeId, error: IssueError },
}

impl Refused {
    fn id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Issue { id, .. } => Some(id),
            _ => None,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Token(error) if error.is_ours() => Code::Unavailable,
            Self::NoToken | Self::Token(_) => Code::Unauthenticated,
            Self::Issue {
                error: IssueError::Request(_),
                ..
            } => Code::PermissionDenied,
            Self::Issue { .. } => Code::Internal,
        }
    }
}

impl<A: Authenticator> IdentityService<A> {
    /// Signs with `authority` for whom `authenticator` recognises.
    pub fn new(authority: Arc<Authority>, authenticator: A) -> Self {
        Self {
            authority,
            authenticator,
        }
    }

    async fn decide(&self, request: &Request<IssueRequest>) -> Result<IssueResponse, Refused> {
        let token = bearer(request).ok_or(Refused::NoToken)?;
        let id = self.authenticator.authenticate(token).await?;
        let body = request.get_ref();
        let ttl = (body.ttl_seconds > 0).then(|| Duration::from_secs(body.ttl_seconds.into()));
        let certificate = match self.authority.issue(&body.csr, &id, ttl) {
            Ok(certificate) => certificate,
            Err(error) => return Err(Refused::Issue { id, error }),
        };
        let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        let validity = certificate.validity;
        info!(%id, serial = certificate.serial, expires = rfc3339(&validity.not_after), peer = peer(request), "issued a certificate");
        Ok(IssueResponse {
            chain: certificate.chain.iter().map(|der| der.to_vec()).collect(),
            roots: self
                .authority
                .roots()
                .iter()
                .map(|der| der.to_vec())
                .collect(),
            not_before_unix: seconds(validity.not_before.as_secs()),
            not_after_unix: seconds(validity.not_after.as_secs()),
        })
    }
}

#[tonic::async_trait]
impl<A: Authenticator> Identity for IdentityService<A> {
    async fn issue(
        &self,
        request: Request<IssueRequest>,
    ) -> Result<Response<IssueResponse>, Status> {
        self.decide(&request).await.map(Response::new).map_err(|refused| {
            let id = refused.id().map(SpiffeId::as_str).unwrap_or("unproved");
            warn!(id, reason = %explain(&refused), peer = peer(&request), "refused a certificate");
            Status::new(refused.code(), refused.to_string())
        })
    }
}

fn bearer(request: &Request<IssueRequest>) -> Option<&str> {
    let value = request.metadata().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn peer(request: &Request<IssueRequest>) -> String {
    let peer = request.extensions().get::<Peer>();
    peer.map_or_else(|| "unknown".into(), |peer| peer.address.to_string())
}

/// Serves until `shutdown`, then lets the requests in progress finish.
///
/// # Errors
/// When the HTTP server fails as a whole.
pub async fn serve<A: Authenticator>(
    service: IdentityService<A>,
    incoming: Incoming,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = IdentityServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
    let limits = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(MAX_REQUESTS))
        .into_inner();
    tonic::transport::Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .max_connection_age(CONNECTION_AGE)
        .max_connection_age_grace(CONNECTION_AGE_GRACE)
        .layer(limits)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}
