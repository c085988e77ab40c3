//! Keeps `caBundle` right in the webhook configurations that lead to the mesh's own services: what
//! is in the bundle's file is there, whoever changed which. Written only when it differs, only in
//! the entries that are ours, only into the version that was looked at, and tried again for ever.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use heddle_identity::backoff::Backoff;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::PatchParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::{FIELD_MANAGER, TIMEOUT, backoff, followed};

/// A mounted ConfigMap changes about a minute after the object; roots overlap for hours.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How often a bundle was written.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    pub(super) fn text(&self) -> String {
        format!(
            "# HELP heddle_injector_ca_bundle_writes_total Times that caBundle was put right.\n\
             # TYPE heddle_injector_ca_bundle_writes_total counter\n\
             heddle_injector_ca_bundle_writes_total {}\n",
            self.0.load(Ordering::Relaxed)
        )
    }
}

#[derive(Debug, Error)]
enum KeepError {
    #[error("cannot read {file}: {error}")]
    Read {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{0} does not hold certificates in PEM")]
    Pem(PathBuf),
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("the Kubernetes API does not answer")]
    Timeout,
}

/// A kind of webhook configuration.
pub(super) trait Configuration:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static
{
    /// Its webhooks, by position: their names and where they lead.
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks
            .map(|webhook| (webhook.name.as_str(), &webhook.client_config))
            .collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks
            .map(|webhook| (webhook.name.as_str(), &webhook.client_config))
            .collect()
    }
}

/// What is kept right, and by which file.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) file: PathBuf,
    pub(super) system_namespace: String,
    pub(super) written: Written,
}

impl Keeper {
    /// Never ends.
    pub(super) async fn keep<K: Configuration>(self, client: Client, name: String) {
        let api = Api::<K>::all(client);
        let mut backoff = backoff();
        let watched = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut seen = pin!(followed(watcher(api.clone(), watched)).applied_objects());
        let mut current: Option<K> = None;
        loop {
            match timeout(LOOK_AGAIN, seen.try_next()).await {
                Ok(Ok(Some(object))) => current = Some(object),
                Ok(Ok(None)) => return,
                Ok(Err(error)) => {
                    pause::<K>(&mut backoff, &name, &error).await;
                    continue;
                }
                Err(_) => {}
            }
            let Some(object) = &current else { continue };
            match self.put_right(&api, object).await {
                Ok(changed) => {
                    backoff.reset();
                    current = changed.or(current);
                }
                Err(error) => {
                    pause::<K>(&mut backoff, &name, &error).await;
                    // It may have been changed or deleted since.
                    if let Ok(Ok(found)) = timeout(TIMEOUT, api.get_opt(&name)).await {
                        current = found;
                    }
                }
            }
        }
    }

    /// The object as it is now, if it had to be changed.
    async fn put_right<K: Configuration>(
        &self,
        api: &Api<K>,
        object: &K,
    ) -> Result<Option<K>, KeepError> {
        let bundle = read(&self.file)?;
        let patch = self.difference(object, &bundle);
        if patch.is_empty() {
            return Ok(None);
        }
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let name = object.name_any();
        let patch = kube::api::Patch::Json::<()>(patch);
        let patched = timeout(TIMEOUT, api.patch(&name, &parameters, &patch));
        let patched = patched.await.map_err(|_| KeepError::Timeout)??;
        self.written.0.fetch_add(1, Ordering::Relaxed);
        tracing::info!(kind = %K::kind(&()), name, "caBundle written");
        Ok(Some(patched))
    }

    fn difference<K: Configuration>(&self, object: &K, bundle: &[u8]) -> Patch {
        let at = |tokens: &[&str]| PointerBuf::from_tokens(tokens.iter().copied());
        let mut operations = Vec::new();
        for (index, (name, client)) in object.webhooks().into_iter().enumerate() {
            let is_ours = client
                .service
                .as_ref()
                .is_some_and(|service| service.namespace == self.system_namespace);
            let given = client.ca_bundle.as_ref();
            if !is_ours || given.is_some_and(|given| given.0 == bundle) {
                continue;
            }
            let index = index.to_string();
            operations.push(PatchOperation::Test(TestOperation {
                path: at(&["webhooks", &index, "name"]),
                value: json!(name),
            }));
            operations.push(PatchOperation::Add(AddOperation {
                path: at(&["webhooks", &index, "clientConfig", "caBundle"]),
                value: json!(ByteString(bundle.to_vec())),
            }));
        }
        if let (false, Some(version)) = (operations.is_empty(), object.resource_version()) {
            let test = TestOperation {
                path: at(&["metadata", "resourceVersion"]),
                value: json!(version),
            };
            operations.insert(0, PatchOperation::Test(test));
        }
        Patch(operations)
    }
}

async fn pause<K: Configuration>(
    backoff: &mut Backoff,
    name: &str,
    error: &(dyn std::error::Error + Sync),
) {
    let wait = backoff.next();
    tracing::warn!(kind = %K::kind(&()), name, %error, ?wait, "caBundle is not kept right; trying again");
    sleep(wait).await;
}

fn read(file: &Path) -> Result<Vec<u8>, KeepError> {
    let bundle = std::fs::read(file).map_err(|error| KeepError::Read {
        file: file.to_owned(),
        error,
    })?;
    let certificates = CertificateDer::pem_slice_iter(&bundle).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(bundle),
        _ => Err(KeepError::Pem(file.to_owned())),
    }
}
