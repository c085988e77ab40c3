//! The cluster that the webhook serves: what it asks the Kubernetes API, and what it tells it.
//! Nothing here is on the way of a review but a look into a map: while the API is away, reviews go
//! on with what is known, and everything else is tried again for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use heddle_identity::backoff::Backoff;
use heddle_injector::InjectConfig;
use heddle_injector::webhook::{Lookup, Surroundings};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::runtime::watcher;
use kube::{Client, Config};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

mod ca_bundle;
mod events;
mod missing;
mod namespaces;

use events::Events;
use namespaces::Namespaces;

/// What changes are made in the name of.
const FIELD_MANAGER: &str = "heddle-injector";
/// Of one question to the API.
const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What a watcher tells. That the API server has only forgotten where we were, as it does when it
/// restarts, is no failure: what is watched is listed anew, soon, and less and less often where it is so
/// again and again.
fn followed<T: Send>(
    events: impl Stream<Item = watcher::Result<T>> + Send,
) -> impl Stream<Item = watcher::Result<T>> + Send {
    let mut forgotten = backoff();
    let mut remembered = Instant::now();
    events.filter_map(move |event| {
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
            sleep(pause).await;
            None
        }
    })
}

fn backoff() -> Backoff {
    Backoff::new(FIRST_RETRY, LAST_RETRY)
}

/// How the cluster is treated.
pub(crate) struct Settings {
    /// How pods are injected. Only webhooks that lead to its system namespace are touched.
    pub(crate) config: InjectConfig,
    /// What goes into `caBundle`; none: it is somebody else's to write.
    pub(crate) ca_bundle_file: Option<PathBuf>,
    /// Name; empty: none.
    pub(crate) mutating_webhook: String,
    /// Name; empty: none.
    pub(crate) validating_webhook: String,
}

/// There is no way to the Kubernetes API.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Neither in a cluster nor told of one.
    #[error("neither in a cluster nor has KUBECONFIG one: {0}")]
    Config(kube::config::InferConfigError),
    /// What is configured cannot be used.
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(kube::Error),
}

/// The cluster; what it does beside reviews ends with it.
pub(crate) struct Cluster {
    namespaces: Arc<Namespaces>,
    events: Arc<Events>,
    written: ca_bundle::Written,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Connects lazily: an API that is away is waited for.
    pub(crate) async fn start(settings: Settings) -> Result<Self, ConnectError> {
        let config = Config::infer().await.map_err(ConnectError::Config)?;
        let client = Client::try_from(config).map_err(ConnectError::Client)?;
        let mut tasks = JoinSet::new();
        let written = ca_bundle::Written::default();
        if let Some(file) = settings.ca_bundle_file {
            let keeper = ca_bundle::Keeper {
                file,
                system_namespace: settings.config.system_namespace.clone(),
                written: written.clone(),
            };
            let name = settings.mutating_webhook;
            if !name.is_empty() {
                let keeper = keeper.clone();
                tasks.spawn(keeper.keep::<MutatingWebhookConfiguration>(client.clone(), name));
            }
            let name = settings.validating_webhook;
            if !name.is_empty() {
                tasks.spawn(keeper.keep::<ValidatingWebhookConfiguration>(client.clone(), name));
            }
        }
        let namespaces = Arc::new(Namespaces::watch(client.clone(), &mut tasks));
        let events = Arc::new(Events::start(client.clone(), &mut tasks));
        let look = missing::Look {
            client,
            config: settings.config,
            namespaces: Arc::clone(&namespaces),
            events: Arc::clone(&events),
        };
        tasks.spawn(look.follow());
        Ok(Self {
            namespaces,
            events,
            written,
            _tasks: tasks,
        })
    }
}

impl Surroundings for Cluster {
    fn namespace<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(self.namespaces.find(name))
    }

    fn ready(&self) -> Result<(), String> {
        if self.namespaces.is_known() {
            Ok(())
        } else {
            Err("the namespaces have not been read from the Kubernetes API yet".into())
        }
    }

    fn metrics(&self) -> String {
        self.written.text() + &self.events.text()
    }
}
