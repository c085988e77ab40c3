//! From flags to the last request: what of the cluster is needed is begun before the service, and
//! followed beside it.

use std::{future::Future, net::SocketAddr, sync::Arc};

use clap::{Args as ClapArgs, ValueEnum};
use heddle_authority::{
    server::{self, Server},
    token::{Authenticator, Verifier},
};
use kube::Client;
use tracing::info;

use crate::{
    cluster::{ClusterError, ClusterKeys, Keeper, Publisher, Reviewer, client},
    health,
};

/// The flags of `heddle-identity`.
#[derive(Debug, Clone, ClapArgs)]
#[group(skip)]
pub struct Args {
    /// What holds everywhere.
    #[command(flatten)]
    pub server: server::Args,

    /// Who says whether a service-account token is good.
    #[arg(
        long,
        env = "HEDDLE_VERIFY_TOKENS",
        default_value = "keys",
        value_name = "HOW"
    )]
    pub verify_tokens: VerifyTokens,

    /// Keep the root, and where its rotation stands, in this Secret of the system namespace;
    /// `--data-dir` is then a copy, for a memory volume. Made when it is not there.
    #[arg(long, env = "HEDDLE_ROOT_SECRET", value_name = "NAME")]
    pub root_secret: Option<String>,

    /// Keep the trust bundle in a ConfigMap of this name in every namespace.
    #[arg(long, env = "HEDDLE_TRUST_CONFIG_MAP", value_name = "NAME")]
    pub trust_config_map: Option<String>,

    /// Where to answer /healthz and /readyz (HTTP); nowhere without.
    #[arg(long, env = "HEDDLE_HEALTH_LISTEN", value_name = "IP:PORT")]
    pub health_listen: Option<SocketAddr>,
}

/// Who says whether a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyTokens {
    /// The keys in --token-jwks: nobody is asked.
    Keys,
    /// The API server, for each token (TokenReview): knows of pods and accounts that are gone.
    Review,
    /// The keys that the API server publishes for its issuer (OpenID discovery).
    ClusterKeys,
}

/// Why the identity service ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The service itself.
    #[error(transparent)]
    Server(#[from] server::RunError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The address for probes.
    #[error("cannot listen on {0}, where --health-listen says")]
    Health(SocketAddr, #[source] std::io::Error),
}

impl Args {
    fn needs_cluster(&self) -> bool {
        self.verify_tokens != VerifyTokens::Keys
            || self.root_secret.is_some()
            || self.trust_config_map.is_some()
    }

    async fn authenticator(
        &self,
        client: Option<&Client>,
    ) -> Result<Option<Arc<dyn Authenticator>>, ClusterError> {
        let Some(client) = client.cloned() else {
            return Ok(None);
        };
        let mut trusted = self.server.trusted();
        Ok(match self.verify_tokens {
            VerifyTokens::Keys => None,
            VerifyTokens::Review => Some(Arc::new(Reviewer::new(
                client,
                trusted.audience,
                trusted.trust_domain,
            ))),
            VerifyTokens::ClusterKeys => {
                let keys = ClusterKeys::discover(client).await?;
                trusted.issuer = keys.issuer().to_owned();
                info!(issuer = trusted.issuer, "believing the cluster's issuer");
                Some(Arc::new(Verifier::new(trusted, keys)))
            }
        })
    }
}

/// Runs the identity service until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let ready = match args.health_listen {
        Some(address) => Some(
            health::serve(address)
                .await
                .map_err(|error| RunError::Health(address, error))?,
        ),
        None => None,
    };
    let client = match args.needs_cluster() {
        true => Some(client().await?),
        false => None,
    };
    let mut keeper = None;
    if let (Some(client), Some(secret)) = (&client, &args.root_secret) {
        keeper = Some(Keeper::begin(client.clone(), secret, &args.server).await?);
    }
    let server = match args.authenticator(client.as_ref()).await? {
        Some(authenticator) => Server::bind_with(args.server.clone(), authenticator).await?,
        None => Server::bind(args.server.clone()).await?,
    };
    let publisher = match (client, args.trust_config_map) {
        (Some(client), Some(name)) => Some(Publisher::new(client, name, server.bundle())),
        _ => None,
    };
    if let Some(ready) = &ready {
        ready.set();
    }
    let keeping = async {
        match keeper {
            Some(keeper) => keeper.follow().await,
            None => std::future::pending().await,
        }
    };
    let publishing = async {
        match publisher {
            Some(publisher) => publisher.follow().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        never = keeping => match never {},
        never = publishing => match never {},
        ended = server.serve(shutdown) => Ok(ended?),
    }
}
