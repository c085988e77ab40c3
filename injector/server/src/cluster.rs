//! The cluster that the webhook serves: what it asks the Kubernetes API, and what it tells it.
//! Nothing here is on the way of a review but a look into a map: while the API is away, reviews go
//! on with what is known, and everything else is tried again for ever.

use std::path::PathBuf;
use std::time::Duration;

use heddle_identity::backoff::Backoff;
use heddle_injector::webhook::{Lookup, Skipped, Surroundings};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{Client, Config};
use thiserror::Error;
use tokio::task::JoinSet;

mod ca_bundle;
mod events;
mod namespaces;

use events::Events;
use namespaces::Namespaces;

/// What changes are made in the name of.
const FIELD_MANAGER: &str = "heddle-injector";
/// Of one question to the API.
const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

fn backoff() -> Backoff {
    Backoff::new(FIRST_RETRY, LAST_RETRY)
}

/// How the cluster is treated.
pub(crate) struct Settings {
    /// Where the mesh's own services are: only webhooks that lead there are touched.
    pub(crate) system_namespace: String,
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
    namespaces: Namespaces,
    events: Events,
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
                system_namespace: settings.system_namespace,
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
        Ok(Self {
            namespaces: Namespaces::watch(client.clone(), &mut tasks),
            events: Events::start(client, &mut tasks),
            written,
            _tasks: tasks,
        })
    }
}

impl Surroundings for Cluster {
    fn namespace<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(self.namespaces.find(name))
    }

    fn skipped(&self, skipped: &Skipped<'_>) {
        self.events.skipped(skipped);
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
