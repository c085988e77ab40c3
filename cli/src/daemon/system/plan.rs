//! How each of the mesh's own processes is run: program, flags, files. Flags are those that a mesh
//! put together by hand would use; nothing is passed any other way.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use heddle_identity::TrustDomain;
use heddle_identity::workload::Settings;

use super::SystemError;
use crate::daemon::collector;
use crate::daemon::run::{Options, StartError, system_id};
use crate::node::{ComponentSpec, Layout, Ready, Subject};

pub(super) const IDENTITY: &str = "heddle-identity";
pub(super) const CONTROL: &str = "heddle-control";
pub(super) const INJECTOR: &str = "heddle-injector";
/// In the order in which they need each other.
pub(super) const PARTS: [&str; 3] = [IDENTITY, CONTROL, INJECTOR];
/// What has to be beside `heddle`.
const PROGRAMS: [&str; 4] = [IDENTITY, CONTROL, INJECTOR, "heddle-proxy"];
/// The account of the daemon itself.
const NODE: &str = "heddle-node";
/// Whom tokens are for.
pub(super) const AUDIENCE: &str = "heddle";

/// Everything the parts' command lines are made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    layout: Layout,
    paths: Vec<PathBuf>,
    data_dir: PathBuf,
    trust_domain: TrustDomain,
    token_issuer: String,
    sampling_percentage: f64,
    root_spread_seconds: u32,
    cert_ttl_seconds: u32,
    log_level: String,
}

/// The part that a person calls so.
pub(super) fn by_name(component: &str) -> Option<&'static str> {
    match component {
        "control-plane" => Some(CONTROL),
        "identity" => Some(IDENTITY),
        "injector" => Some(INJECTOR),
        _ => None,
    }
}

/// A system service account.
pub(super) fn subject(account: &str) -> Subject {
    Subject {
        namespace: "heddle-system".to_owned(),
        service_account: account.to_owned(),
        pod: None,
    }
}

impl Plan {
    pub(crate) fn new(layout: &Layout, options: &Options, token_issuer: &str) -> Self {
        Self {
            layout: layout.clone(),
            paths: options.paths.clone(),
            data_dir: options
                .data_dir
                .clone()
                .unwrap_or_else(|| layout.state_dir().join("identity")),
            trust_domain: options.trust_domain.clone(),
            token_issuer: token_issuer.to_owned(),
            sampling_percentage: options.sampling_percentage,
            root_spread_seconds: options.root_spread_seconds,
            cert_ttl_seconds: options.cert_ttl_seconds,
            log_level: options.log_level.clone(),
        }
    }

    pub(super) fn address(&self, part: &str) -> SocketAddr {
        let plan = &self.layout.plan;
        match part {
            IDENTITY => (plan.identity().v4, 15013).into(),
            CONTROL => (plan.control().v4, 15012).into(),
            _ => (plan.injector().v4, 15017).into(),
        }
    }

    pub(crate) fn control_address(&self) -> String {
        self.address(CONTROL).to_string()
    }

    pub(crate) fn identity_address(&self) -> String {
        self.address(IDENTITY).to_string()
    }

    pub(crate) fn control_admin(&self) -> PathBuf {
        self.layout.state_dir().join("control.sock")
    }

    /// Where the identity service keeps its roots.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(super) fn root_spread_seconds(&self) -> u32 {
        self.root_spread_seconds
    }

    pub(super) fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(crate) fn trust_bundle(&self) -> PathBuf {
        self.layout.state_dir().join("root-cert.pem")
    }

    fn token(&self, account: &str) -> PathBuf {
        self.layout.state_dir().join("tokens").join(account)
    }

    /// Sees that the programs are there and makes the files that they expect.
    pub(super) fn prepare(&self, programs: &Path) -> Result<(), SystemError> {
        if let Some(program) = PROGRAMS
            .into_iter()
            .find(|program| !programs.join(program).is_file())
        {
            return Err(SystemError::Missing {
                program,
                dir: programs.to_owned(),
            });
        }
        for private in ["tokens", "control"] {
            let path = self.layout.state_dir().join(private);
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path);
            made.map_err(|source| SystemError::File { path, source })?;
        }
        let path = self.injector_config();
        let config = format!(
            "controlAddress: \"{}\"\nidentityAddress: \"{}\"\ntrustDomain: {}\ncertTtlSeconds: {}\ndefaultInject: enabled\n",
            self.address(CONTROL),
            self.address(IDENTITY),
            self.trust_domain,
            self.cert_ttl_seconds
        );
        std::fs::write(&path, config).map_err(|source| SystemError::File { path, source })
    }

    /// Every token file that is needed, with its service account.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        [CONTROL, INJECTOR, NODE]
            .into_iter()
            .map(|account| (account, self.token(account)))
    }

    /// How the daemon itself gets a certificate, as heddle-node.
    pub(crate) fn own_certificate(&self) -> Result<Settings, StartError> {
        Ok(Settings {
            identity_address: self.identity_address(),
            identity_id: system_id(&self.trust_domain, IDENTITY)?,
            own_id: system_id(&self.trust_domain, NODE)?,
            token_file: self.token(NODE),
            trust_bundle_file: self.trust_bundle(),
            state_dir: None,
            ttl: None,
            dns_names: Vec::new(),
        })
    }

    /// How a part is run.
    pub(super) fn component(&self, part: &'static str, programs: &Path) -> ComponentSpec {
        let args = match part {
            IDENTITY => self.identity(),
            CONTROL => self.control(),
            _ => self.injector(),
        };
        ComponentSpec {
            name: part.to_owned(),
            program: programs.join(part),
            args,
            env: vec![("NO_COLOR".to_owned(), "1".to_owned())],
            ready: Ready::Tcp(self.address(part)),
        }
    }

    fn identity(&self) -> Vec<String> {
        let mut flags = Flags::default();
        flags.add("data-dir", self.data_dir.display());
        flags.add("listen", self.address(IDENTITY));
        flags.add("trust-domain", &self.trust_domain);
        flags.add("token-issuer", &self.token_issuer);
        flags.add("token-jwks", self.layout.jwks().display());
        flags.add("token-audience", AUDIENCE);
        flags.add("trust-bundle-out", self.trust_bundle().display());
        flags.add("root-spread", format!("{}s", self.root_spread_seconds));
        flags.add("log-level", &self.log_level);
        flags.0
    }

    fn control(&self) -> Vec<String> {
        let state = self.layout.state_dir();
        let collector = SocketAddr::from((self.layout.plan.telemetry().v4, collector::PORT));
        let mut flags = Flags::default();
        for dir in self
            .paths
            .iter()
            .cloned()
            .chain([state.join("applied"), state.join("cluster")])
        {
            flags.add("config-dir", dir.display());
        }
        flags.add("listen", self.address(CONTROL));
        flags.add(
            "admin-listen",
            format!("unix:{}", self.control_admin().display()),
        );
        flags.add("trust-domain", &self.trust_domain);
        flags.add("identity-address", self.address(IDENTITY));
        flags.add("token-file", self.token(CONTROL).display());
        flags.add("trust-bundle-file", self.trust_bundle().display());
        flags.add("state-dir", state.join("control").display());
        flags.add("default-sampling-percentage", self.sampling_percentage);
        flags.add("otlp-endpoint", format!("spiffe+https://{collector}"));
        flags.add(
            "otlp-identity",
            format!("spiffe://{}/ns/heddle-system/sa/{NODE}", self.trust_domain),
        );
        flags.add("log-level", &self.log_level);
        flags.0
    }

    fn injector(&self) -> Vec<String> {
        let mut flags = Flags::default();
        flags.add("config", self.injector_config().display());
        flags.add("listen", self.address(INJECTOR));
        flags.add("token-file", self.token(INJECTOR).display());
        flags.add("trust-bundle-file", self.trust_bundle().display());
        flags.add("log-level", &self.log_level);
        flags.0
    }

    fn injector_config(&self) -> PathBuf {
        self.layout.state_dir().join("injector.yaml")
    }
}

#[derive(Default)]
struct Flags(Vec<String>);

impl Flags {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.extend([format!("--{name}"), value.to_string()]);
    }
}
