//! What the identity service has of a cluster: who a token is of ([`Reviewer`], [`ClusterKeys`]), a
//! place for the root that replicas share ([`Keeper`]), and the trust bundle in every namespace
//! ([`Publisher`]). The API server away: certificates that need nothing of it are issued all the same.

mod keys;
mod namespaces;
mod review;
mod secret;
mod trust;

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use heddle_authority::ca;
use heddle_identity::{backoff::Backoff, channel::explain};
use kube::{
    Client, Config,
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::Instant;

pub use self::{keys::ClusterKeys, review::Reviewer, secret::Keeper, trust::Publisher};

/// As whom we write, for server-side apply and for people who look.
pub const FIELD_MANAGER: &str = "heddle-identity";
/// One request; watches have their own.
const REQUEST: Duration = Duration::from_secs(10);
/// Before something is listed again that the API server has forgotten, at first and at most.
const AGAIN: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// What of the cluster cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No configuration.
    #[error(
        "cannot tell where the Kubernetes API is: run in a pod with a service account, or set KUBECONFIG"
    )]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// Not a client.
    #[error("cannot use the Kubernetes API")]
    Client(#[source] Box<kube::Error>),
    /// The root.
    #[error(transparent)]
    Root(#[from] ca::RootError),
    /// The Secret cannot be used.
    #[error("cannot keep the root in the Secret {name}: {reason}")]
    Secret {
        /// Its namespace and name.
        name: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The issuer's keys.
    #[error("cannot learn the cluster's token issuer: {0}")]
    Discovery(String),
}

pub(crate) async fn client() -> Result<Client, ClusterError> {
    let mut config = Config::infer()
        .await
        .map_err(|error| ClusterError::Config(Box::new(error)))?;
    config.connect_timeout = Some(REQUEST);
    Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))
}

/// What a watcher tells, with pauses after failures. That the API server has forgotten where we were,
/// as it does when it restarts, is none: what is watched is listed anew, soon, and less and less often where
/// it is so again and again.
fn followed<T>(
    events: impl Stream<Item = watcher::Result<T>> + Send,
) -> impl Stream<Item = watcher::Result<T>> + Send
where
    T: Send,
{
    let mut forgotten = Backoff::new(AGAIN, LONGEST);
    let mut remembered = Instant::now();
    let failures = events.filter_map(move |event| {
        let pause = match &event {
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                let pause = forgotten.next_after(remembered.elapsed());
                remembered = Instant::now() + pause;
                Some(pause)
            }
            _ => None,
        };
        async move {
            let Some(pause) = pause else {
                return Some(event);
            };
            tokio::time::sleep(pause).await;
            None
        }
    });
    failures.default_backoff()
}

/// Bounded, and in words.
async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestFailed> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(RequestFailed {
            code: status.code,
            reason: format!("{} ({})", status.message, status.code),
        }),
        Ok(Err(error)) => Err(RequestFailed {
            code: 0,
            reason: format!("the API server cannot be asked: {}", explain(&error)),
        }),
        Err(_) => Err(RequestFailed {
            code: 0,
            reason: format!("the API server has not answered in {} s", REQUEST.as_secs()),
        }),
    }
}

/// Why a request has no answer that can be used.
#[derive(Debug)]
struct RequestFailed {
    /// As in HTTP; 0 when there is no answer.
    code: u16,
    reason: String,
}
