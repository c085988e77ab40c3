//! The identity service from its flags to its last request.

use std::{
    future::Future, io, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration,
};

use clap::Args as ClapArgs;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::timeout,
};
use tracing::info;

use super::{IdentityService, own_identity, rotation::Rotation, serve};
use crate::{
    ca::{Authority, Policy, RootError},
    token::{Authenticator, FileKeys, Trusted, Verifier},
};
use heddle_identity::{
    SpiffeId, TrustDomain, Workload,
    incoming::{self, Limits},
    private_file::FileError,
    spiffe,
    tls::ALPN_H2,
};

/// The service account that the identity service runs as.
const OWN_ACCOUNT: &str = "heddle-identity";
/// How long requests in progress may take after the signal to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long our own certificate may take. It takes a millisecond.
const OWN_CERTIFICATE: Duration = Duration::from_secs(10);
/// Connections last one request; more at once than this are shed by waiting.
const LIMITS: Limits = Limits {
    handshake: Duration::from_secs(10),
    handshakes: 256,
    connections: 4096,
    handshakes_of_one: 32,
    connections_of_one: 256,
};

/// The identity service's flags.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Where the root key and certificate are kept. Made when it is not there.
    #[arg(long, env = "HEDDLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// An authority to sign with that somebody else keeps: a directory with `tls.crt` (an
    /// intermediate and its chain), `tls.key` and `ca.crt` (its root), such as a mounted Secret of
    /// cert-manager. Taken up when it changes as a new root is. Without it a root is made.
    #[arg(long, env = "HEDDLE_CA_DIR", value_name = "DIR")]
    pub ca_dir: Option<PathBuf>,

    /// Address to serve gRPC on.
    #[arg(
        long,
        env = "HEDDLE_LISTEN",
        default_value = "0.0.0.0:15013",
        value_name = "IP:PORT"
    )]
    pub listen: SocketAddr,

    /// Trust domain of all identities.
    #[arg(
        long,
        env = "HEDDLE_TRUST_DOMAIN",
        default_value = "cluster.local",
        value_name = "NAME"
    )]
    pub trust_domain: TrustDomain,

    /// Namespace of the mesh's own service accounts, which may have DNS names.
    #[arg(
        long,
        env = "HEDDLE_SYSTEM_NAMESPACE",
        default_value = "heddle-system",
        value_name = "NAME"
    )]
    pub system_namespace: String,

    /// Who must have issued tokens (claim `iss`).
    #[arg(
        long,
        env = "HEDDLE_TOKEN_ISSUER",
        default_value = "https://kubernetes.default.svc.cluster.local",
        value_name = "URL"
    )]
    pub token_issuer: String,

    /// The token issuer's public keys (JWKS). Read again when it changes.
    #[arg(long, env = "HEDDLE_TOKEN_JWKS", value_name = "FILE")]
    pub token_jwks: Option<PathBuf>,

    /// Whom tokens must be for (claim `aud`).
    #[arg(
        long,
        env = "HEDDLE_TOKEN_AUDIENCE",
        default_value = "heddle",
        value_name = "NAME"
    )]
    pub token_audience: String,

    /// Lifetime of a certificate when the request names none, for example 24h or 90m.
    #[arg(
        long,
        env = "HEDDLE_DEFAULT_TTL",
        default_value = "24h",
        value_name = "TIME"
    )]
    pub default_ttl: Lifetime,

    /// Longest lifetime of a certificate; requests for more are cut to it.
    #[arg(
        long,
        env = "HEDDLE_MAX_TTL",
        default_value = "7d",
        value_name = "TIME"
    )]
    pub max_ttl: Lifetime,

    /// How long a new root is in the trust bundle before it signs: by then the bundle has to have
    /// reached every workload.
    #[arg(
        long,
        env = "HEDDLE_ROOT_SPREAD",
        default_value = "5m",
        value_name = "TIME"
    )]
    pub root_spread: Lifetime,

    /// Where to write the trust bundle (PEM) for others to mount.
    #[arg(long, env = "HEDDLE_TRUST_BUNDLE_OUT", value_name = "FILE")]
    pub trust_bundle_out: Option<PathBuf>,
}

impl Args {
    /// What certificates may be like.
    pub fn policy(&self) -> Policy {
        Policy {
            trust_domain: self.trust_domain.clone(),
            system_namespace: self.system_namespace.clone(),
            default_ttl: self.default_ttl.0.min(self.max_ttl.0),
            max_ttl: self.max_ttl.0,
            root_spread: self.root_spread.0,
        }
    }

    /// Which tokens are believed, by keys.
    pub fn trusted(&self) -> Trusted {
        Trusted {
            issuer: self.token_issuer.clone(),
            audience: self.token_audience.clone(),
            trust_domain: self.trust_domain.clone(),
        }
    }
}

/// A lifetime as people write it: a number and `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub Duration);

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a time such as 30s, 90m, 24h or 7d, above zero");
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 24 * 3600,
            _ => return Err(wrong()),
        };
        // The unit is one byte long, and it is there.
        let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        match u64::from(number) * unit {
            0 => Err(wrong()),
            seconds => Ok(Self(Duration::from_secs(seconds))),
        }
    }
}

/// Why the identity service ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no root to sign with.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The trust bundle cannot be published.
    #[error("cannot publish the trust bundle")]
    Bundle(#[source] FileError),
    /// Nobody could get a certificate.
    #[error(
        "--token-jwks is missing: the public keys of whoever signs service-account tokens (JWKS); in a \
         cluster --verify-tokens review asks the API server instead"
    )]
    NoKeys,
    /// The system namespace is none.
    #[error("--system-namespace {0:?} is not a namespace")]
    Namespace(String, #[source] spiffe::ParseError),
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// It cannot issue a certificate to itself.
    #[error("cannot issue our own certificate: {0}")]
    Own(String),
    /// The server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
}

/// The identity service, listening.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    identity: Workload,
    service: IdentityService<Arc<dyn Authenticator>>,
    rotation: Rotation,
}

impl Server {
    /// Loads or makes the root, publishes it, and listens.
    ///
    /// # Errors
    /// When any of that fails.
    pub async fn bind(args: Args) -> Result<Self, RunError> {
        let keys = args.token_jwks.clone().ok_or(RunError::NoKeys)?;
        let verifier = Verifier::new(args.trusted(), FileKeys::new(keys));
        Self::bind_with(args, Arc::new(verifier)).await
    }

    /// The same with another way to tell who a bearer of a token is.
    ///
    /// # Errors
    /// As before.
    pub async fn bind_with(
        args: Args,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, RunError> {
        let own =
            SpiffeId::for_service_account(&args.trust_domain, &args.system_namespace, OWN_ACCOUNT)
                .map_err(|error| RunError::Namespace(args.system_namespace.clone(), error))?;
        let authority = Authority::open(&args.data_dir, args.policy(), args.ca_dir.as_deref())?;
        let authority = Arc::new(authority);
        let refused = |error| RunError::Listen(args.listen, error);
        let listener = TcpListener::bind(args.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let identity = own_identity(authority.clone(), own);
        timeout(OWN_CERTIFICATE, identity.ready())
            .await
            .map_err(|_| {
                let reason = identity.status().borrow().last_error.clone();
                RunError::Own(reason.as_deref().unwrap_or("it takes too long").to_owned())
            })?;
        // Others may take its appearance as a sign that we are up.
        let rotation = Rotation::new(authority.clone(), args.trust_bundle_out);
        rotation.publish().map_err(RunError::Bundle)?;
        let service = IdentityService::new(authority, authenticator);
        Ok(Self {
            listener,
            address,
            identity,
            service,
            rotation,
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The trust bundle (PEM) from now on.
    pub fn bundle(&self) -> watch::Receiver<String> {
        self.rotation.bundle()
    }

    /// Who it is.
    pub fn id(&self) -> &SpiffeId {
        self.identity.tls().own_id()
    }

    /// Serves until `shutdown`, then lets the requests in progress finish.
    ///
    /// # Errors
    /// When the gRPC server fails as a whole.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        info!(address = %self.address, id = %self.id(), "issuing certificates");
        let tls = self.identity.tls().clone();
        let incoming = incoming::server_only(self.listener, tls, ALPN_H2, LIMITS);
        let (draining, drain_begins) = oneshot::channel();
        let serving = serve(self.service, incoming, async move {
            shutdown.await;
            info!("ending; letting requests in progress finish");
            // The other end is there for as long as this runs.
            let _ = draining.send(());
        });
        tokio::pin!(serving);
        let rotating = self.rotation.follow(self.identity.tls());
        tokio::select! {
            never = rotating => match never {},
            ended = &mut serving => ended?,
            _ = drain_begins => {
                if let Ok(ended) = timeout(DRAIN, serving).await {
                    ended?;
                }
            }
        }
        Ok(())
    }
}

/// Runs the identity service until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    Server::bind(args).await?.serve(shutdown).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("90m", 5400), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(
                text.parse(),
                Ok(Lifetime(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        for text in [
            "",
            "h",
            "24",
            "-1h",
            "0s",
            "1.5h",
            "24 h",
            "99999999999d",
            "1é",
        ] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }
}
