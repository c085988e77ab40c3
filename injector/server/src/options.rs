//! The flags of `heddle-injector`, checked and turned into a running webhook.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use heddle_identity::workload::Settings;
use heddle_identity::{SpiffeId, TrustDomain, Workload};
use heddle_injector::config::HostPort;
use heddle_injector::files::{FileError, read_namespaces};
use heddle_injector::webhook::{Certificate, CertificateError, Surroundings, Webhook, serve};
use heddle_injector::{ConfigError, InjectConfig, StaticNamespaces};
use thiserror::Error;
use tokio::net::TcpListener;

use crate::cluster::{self, Cluster};

const SERVICE_ACCOUNT: &str = "heddle-injector";

/// How the webhook runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Address to serve HTTPS on
    #[arg(
        long,
        env = "HEDDLE_INJECTOR_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15017"
    )]
    pub(crate) listen: SocketAddr,

    /// Configuration of injection (YAML); all defaults without
    #[arg(long, env = "HEDDLE_INJECTOR_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Ask the Kubernetes API (in the cluster, or KUBECONFIG's): watch the namespaces' labels, write
    /// Events about skipped pods, and keep the caBundle of the webhook configurations right
    #[arg(long, env = "HEDDLE_INJECTOR_KUBERNETES")]
    pub(crate) kubernetes: bool,

    /// The MutatingWebhookConfiguration whose caBundle is kept right; empty: none
    #[arg(
        long,
        env = "HEDDLE_INJECTOR_MUTATING_WEBHOOK",
        value_name = "NAME",
        default_value = "heddle-injector"
    )]
    pub(crate) mutating_webhook: String,

    /// The ValidatingWebhookConfiguration whose caBundle is kept right; empty: none
    #[arg(
        long,
        env = "HEDDLE_INJECTOR_VALIDATING_WEBHOOK",
        value_name = "NAME",
        default_value = "heddle-control"
    )]
    pub(crate) validating_webhook: String,

    /// What goes into caBundle, PEM; the trust bundle without, and nothing with --tls-cert
    #[arg(long, env = "HEDDLE_INJECTOR_CA_BUNDLE_FILE", value_name = "FILE")]
    pub(crate) ca_bundle_file: Option<PathBuf>,

    /// Manifests of Namespaces, whose labels decide about injection. Without it and --kubernetes no
    /// namespace's labels are known: let the webhook configuration's namespaceSelector choose
    #[arg(
        long,
        env = "HEDDLE_INJECTOR_NAMESPACES",
        value_name = "FILE",
        conflicts_with = "kubernetes"
    )]
    pub(crate) namespaces: Option<PathBuf>,

    /// Trust domain; the configuration's without
    #[arg(long, env = "HEDDLE_TRUST_DOMAIN", value_name = "NAME")]
    pub(crate) trust_domain: Option<TrustDomain>,

    /// The identity service, which issues the webhook's certificate; the configuration's without
    #[arg(long, env = "HEDDLE_IDENTITY_ADDRESS", value_name = "HOST:PORT")]
    pub(crate) identity_address: Option<HostPort>,

    /// Service-account token that proves who the webhook is; read anew for each request
    #[arg(
        long,
        env = "HEDDLE_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/heddle/token/token"
    )]
    pub(crate) token_file: PathBuf,

    /// Roots of the mesh, PEM
    #[arg(
        long,
        env = "HEDDLE_TRUST_BUNDLE_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/heddle/trust/root-cert.pem"
    )]
    pub(crate) trust_bundle_file: PathBuf,

    /// Where the key and the certificate survive a restart
    #[arg(long, env = "HEDDLE_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// A certificate (chain) to present instead of the mesh's own, PEM; read anew when it changes
    #[arg(
        long,
        env = "HEDDLE_INJECTOR_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(
        long,
        env = "HEDDLE_INJECTOR_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
}

/// Why the webhook does not start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// A file of the flags cannot be read.
    #[error("cannot read {file}: {error}")]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The configuration is wrong.
    #[error("{file}: {error}")]
    Config {
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
    /// The namespaces' manifests are wrong.
    #[error(transparent)]
    Namespaces(#[from] FileError),
    /// There is no way to the Kubernetes API.
    #[error("--kubernetes: {0}")]
    Kubernetes(#[from] cluster::ConnectError),
    /// The certificate's files cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The webhook's own identity cannot be named.
    #[error("the webhook's own identity is not a SPIFFE id: {0}")]
    Identity(#[from] heddle_identity::spiffe::ParseError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

impl Options {
    /// Runs the webhook until `shutdown`. Serves once it has a certificate.
    ///
    /// # Errors
    /// When the flags cannot be used.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let config = self.inject_config()?;
        let surroundings = self.surroundings(&config).await?;
        tokio::pin!(shutdown);
        let listen = |error| StartError::Listen {
            address: self.listen,
            error,
        };
        let listener = TcpListener::bind(self.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let certificate = match (self.tls_cert.clone(), self.tls_key.clone()) {
            (Some(certificate), Some(key)) => Certificate::of_files(certificate, key)?,
            _ => {
                let workload = self.workload(&config)?;
                tokio::select! {
                    () = workload.ready() => {}
                    () = &mut shutdown => return Ok(()),
                }
                Certificate::of_workload(workload)
            }
        };
        tracing::info!(%address, "serving the injection webhook");
        serve(
            listener,
            Webhook::new(config, surroundings).router(),
            certificate,
            shutdown,
        )
        .await;
        Ok(())
    }

    fn inject_config(&self) -> Result<InjectConfig, StartError> {
        let mut config = match &self.config {
            Some(file) => {
                InjectConfig::from_yaml(&read(file)?).map_err(|error| StartError::Config {
                    file: file.clone(),
                    error,
                })?
            }
            None => InjectConfig::default(),
        };
        if let Some(trust_domain) = &self.trust_domain {
            config.trust_domain = trust_domain.clone();
        }
        Ok(config)
    }

    async fn surroundings(
        &self,
        config: &InjectConfig,
    ) -> Result<Arc<dyn Surroundings>, StartError> {
        if self.kubernetes {
            let given = self.ca_bundle_file.clone();
            let own = self
                .tls_cert
                .is_none()
                .then(|| self.trust_bundle_file.clone());
            let settings = cluster::Settings {
                config: config.clone(),
                ca_bundle_file: given.or(own),
                mutating_webhook: self.mutating_webhook.clone(),
                validating_webhook: self.validating_webhook.clone(),
            };
            return Ok(Arc::new(Cluster::start(settings).await?));
        }
        let Some(file) = &self.namespaces else {
            return Ok(Arc::new(StaticNamespaces::default()));
        };
        let known = read_namespaces(&read(file)?, &file.display().to_string())?;
        Ok(Arc::new(known))
    }

    fn workload(&self, config: &InjectConfig) -> Result<Workload, StartError> {
        let id = |account| {
            SpiffeId::for_service_account(&config.trust_domain, &config.system_namespace, account)
        };
        let identity_address = self.identity_address.as_ref().map(ToString::to_string);
        Ok(Workload::start(Settings {
            identity_address: identity_address.unwrap_or_else(|| config.identity_address()),
            identity_id: id("heddle-identity")?,
            own_id: id(SERVICE_ACCOUNT)?,
            token_file: self.token_file.clone(),
            trust_bundle_file: self.trust_bundle_file.clone(),
            state_dir: self.state_dir.clone(),
            ttl: None,
            dns_names: vec![format!("{SERVICE_ACCOUNT}.{}.svc", config.system_namespace)],
        }))
    }
}

fn read(file: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(file).map_err(|error| StartError::Read {
        file: file.to_owned(),
        error,
    })
}
