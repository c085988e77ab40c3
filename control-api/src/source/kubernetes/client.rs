//! Where the API server is and who we are there: as every pod is told, or as a kubeconfig file says. Tokens
//! and the authority are read again as they change.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::follow::WATCH_SECONDS;

const CONNECT: Duration = Duration::from_secs(10);
/// The server ends a watch before this; so nothing is waited for longer.
const READ: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);
const WRITE: Duration = Duration::from_secs(30);

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// From within a pod.
    InCluster,
    /// By a kubeconfig file's current context.
    Kubeconfig(PathBuf),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// We are in no pod, or it has no service account's token.
    #[error("this is no pod with a service account; elsewhere, say --kubeconfig FILE")]
    InCluster(#[source] InClusterError),
    /// The file cannot be used.
    #[error("cannot use the kubeconfig {0}")]
    Kubeconfig(PathBuf, #[source] KubeconfigError),
    /// Its certificates or keys cannot be used.
    #[error("cannot make a client of the API server")]
    Client(#[source] kube::Error),
}

impl Access {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    /// When what it needs is not there, or of no use.
    pub async fn client(&self) -> Result<Client, ClientError> {
        let mut config = match self {
            Self::InCluster => Config::incluster().map_err(ClientError::InCluster)?,
            Self::Kubeconfig(file) => {
                let failed = |error| ClientError::Kubeconfig(file.clone(), error);
                let kubeconfig = Kubeconfig::read_from(file).map_err(failed)?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(failed)?
            }
        };
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(READ);
        config.write_timeout = Some(WRITE);
        // Who asks has a backoff of its own, and bounds that it must know.
        config.default_retry = false;
        Client::try_from(config).map_err(ClientError::Client)
    }
}
