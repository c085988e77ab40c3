//! A double of the Kubernetes API server, for tests alone. It speaks the real protocol over HTTPS, with an
//! authority and bearer tokens of its own: discovery (plain and aggregated), get, list in chunks, watch
//! (bookmarks, initial events, 410), create, update, JSON patch, merge patch, server-side apply,
//! delete, status, TokenReview, TokenRequest, access reviews, RBAC, CustomResourceDefinitions, ports of
//! pods forwarded over WebSocket, and the webhooks that are configured. And it fails when a test says so.
//!
//! What it does **not** do: no controllers (no garbage collection, no endpoints, no pods of Deployments,
//! nothing empties a namespace that is deleted), no schemas (nothing is validated, pruned or defaulted
//! beyond `defaults`), no conversion but of `apiVersion`, no strategic merge patch, no protobuf, no
//! `deletecollection`, no CEL but `matchConditions` (over `object` and `oldObject`), no OpenAPI, no client certificates,
//! no graceful deletion, no quotas. Lists without a schema's key are one field to server-side apply,
//! except those named in `fields`. State lives in memory.

mod admission;
mod answer;
mod apply;
mod call;
mod crd;
mod defaults;
mod discovery;
mod event;
mod faults;
mod fields;
mod forward;
mod kinds;
mod listen;
mod metadata;
mod read;
mod request;
mod reviews;
mod select;
mod server;
mod store;
mod tls;
mod users;
mod write;

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use serde_json::Value;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use self::{
    faults::{Effect, Fault},
    kinds::{Kind, gateway, istio},
    request::Asked,
    users::{API_AUDIENCE, User},
};
use self::{listen::Listening, server::Server};

/// Why the double cannot start.
#[derive(Debug)]
pub enum StartError {
    /// No certificate.
    Certificate(rcgen::Error),
    /// No TLS.
    Tls(rustls::Error),
    /// No port.
    Listen(io::Error),
}

impl From<rcgen::Error> for StartError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error)
    }
}

impl From<rustls::Error> for StartError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Listen(error)
    }
}

/// How the double behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether roles decide who may what; otherwise everyone with a token may everything.
    pub rbac: bool,
    /// Whether discovery is also offered in one answer, as since Kubernetes 1.26.
    pub aggregated_discovery: bool,
    /// How often a watch that wants bookmarks has one; the real server: each minute.
    pub bookmarks: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rbac: false,
            aggregated_discovery: true,
            bookmarks: Duration::from_secs(1),
        }
    }
}

/// The running double. Everything ends when it is dropped.
pub struct ApiServer {
    server: Arc<Server>,
    listening: Listening,
    address: SocketAddr,
    tls: watch::Sender<TlsAcceptor>,
    ca_pem: Mutex<String>,
    admin: User,
}

impl ApiServer {
    /// Starts on a free port of 127.0.0.1, with the namespaces `default` and `kube-system`.
    ///
    /// # Errors
    /// When there is no port, or no certificate can be made.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let identity = tls::identity()?;
        let server = Arc::new(Server::new(options));
        let (tls, presented) = watch::channel(TlsAcceptor::from(identity.config));
        let (listening, address) = listen::start(server.clone(), presented).await?;
        let mut admin = User::new("kubernetes-admin", &[API_AUDIENCE]);
        admin.groups.push("system:masters".into());
        let double = Self {
            server,
            listening,
            address,
            tls,
            ca_pem: Mutex::new(identity.ca_pem),
            admin,
        };
        for name in ["default", "kube-system"] {
            double.namespace(name).await;
        }
        Ok(double)
    }

    /// Where it is: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Its authority.
    pub fn ca_pem(&self) -> String {
        let pem = self.ca_pem.lock().unwrap_or_else(PoisonError::into_inner);
        pem.clone()
    }

    /// From now on it has another authority, and a certificate of it; every connection is cut.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub async fn rotate_authority(&self) -> Result<(), StartError> {
        let identity = tls::identity()?;
        self.go_away().await;
        *self.ca_pem.lock().unwrap_or_else(PoisonError::into_inner) = identity.ca_pem;
        self.tls.send_replace(TlsAcceptor::from(identity.config));
        self.come_back().await;
        Ok(())
    }

    /// A token that may everything.
    pub fn admin_token(&self) -> String {
        self.server.tokens.issue(self.admin.clone())
    }

    /// A token of a service account, for the API server.
    pub fn account_token(&self, namespace: &str, name: &str) -> String {
        self.token(User::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &[API_AUDIENCE],
        ))
    }

    /// A token of anybody, for any audience.
    pub fn token(&self, user: User) -> String {
        self.server.tokens.issue(user)
    }

    /// A token of a test's own making, such as a JWT.
    pub fn know(&self, token: &str, user: User) {
        self.server.tokens.know(token.to_owned(), user);
    }

    /// A document at a path that is no resource's, such as `/openid/v1/jwks`.
    pub fn publish(&self, path: &str, document: Value) {
        self.server.publish(path, document);
    }

    /// The token is good no more.
    pub fn revoke(&self, token: &str) {
        self.server.tokens.revoke(token);
    }

    /// A kubeconfig file's text. `token_file`: where the token is read from, instead of being in it.
    pub fn kubeconfig(&self, token: &str, token_file: Option<&Path>) -> String {
        use base64::Engine as _;
        let authority = base64::engine::general_purpose::STANDARD.encode(self.ca_pem());
        let user = match token_file {
            Some(file) => format!("tokenFile: {}", file.display()),
            None => format!("token: {token}"),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster: {{server: \"{}\", certificate-authority-data: {authority}}}\n\
             users:\n- name: test\n  user: {{{user}}}\n\
             contexts:\n- name: test\n  context: {{cluster: test, user: test}}\n",
            self.url()
        )
    }

    /// Serves more kinds, by their CustomResourceDefinitions.
    pub async fn install(&self, kinds: &[Kind]) {
        for kind in kinds {
            self.must_put(kind.definition()).await;
        }
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str) {
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.must_put(object).await;
    }

    async fn must_put(&self, object: Value) {
        if let Err(status) = self.put(object).await {
            panic!("{status}");
        }
    }

    /// Creates or replaces an object as an administrator does, webhooks and all; and then its status, as its
    /// controller does.
    ///
    /// # Errors
    /// With the `Status` that the server answers.
    pub async fn put(&self, object: Value) -> Result<Value, Value> {
        let (group, version) = split(object["apiVersion"].as_str().unwrap_or_default());
        let kind = {
            let state = self.server.store.lock();
            let of = |kind: &&Kind| kind.group == group && object["kind"] == kind.kind.as_str();
            state.kinds.iter().find(of).cloned()
        };
        let kind = kind
            .unwrap_or_else(|| panic!("{} {} is not served", object["apiVersion"], object["kind"]));
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        let mut asked = Asked {
            group: kind.group.clone(),
            version: version.to_owned(),
            resource: kind.plural.clone(),
            namespace: if kind.namespaced {
                namespace.to_owned()
            } else {
                String::new()
            },
            name: object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            content_type: "application/merge-patch+json".into(),
            ..Asked::default()
        };
        let exists = self.server.store.get(&kind.resource(), &asked.key());
        let mut written = object.clone();
        let method = match exists {
            Some(before) => {
                let version = &mut written["metadata"]["resourceVersion"];
                if version.is_null() {
                    *version = before["metadata"]["resourceVersion"].clone();
                }
                asked.verb = "update".into();
                Method::PUT
            }
            None => {
                asked.verb = "create".into();
                Method::POST
            }
        };
        asked.content_type = "application/json".into();
        let mut answer = self.write(&method, &kind, &asked, &written).await?;
        if kind.status && object.get("status").is_some() {
            asked.verb = "patch".into();
            asked.subresource = "status".into();
            asked.content_type = "application/merge-patch+json".into();
            asked.name = answer["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let status = serde_json::json!({"status": object["status"]});
            answer = self.write(&Method::PATCH, &kind, &asked, &status).await?;
        }
        Ok(answer)
    }

    async fn write(
        &self,
        method: &Method,
        kind: &Kind,
        asked: &Asked,
        body: &Value,
    ) -> Result<Value, Value> {
        let body = body.to_string();
        let written = self
            .server
            .write(method, kind, asked, &self.admin, "kubectl", body.as_bytes())
            .await;
        written
            .map(|written| written.object)
            .map_err(|refused| refused.status())
    }

    /// [`Self::put`] of every document of a YAML text; panics at what is refused.
    pub async fn put_yaml(&self, text: &str) {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"));
        for document in documents {
            if !document.is_null() {
                self.must_put(document).await;
            }
        }
    }

    /// Deletes an object of `PLURAL.GROUP`; false: there is none.
    pub async fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let kind = self
            .server
            .store
            .lock()
            .kinds
            .iter()
            .find(|kind| kind.resource() == resource)
            .cloned();
        let Some(kind) = kind else { return false };
        let asked = Asked {
            verb: "delete".into(),
            group: kind.group.clone(),
            version: kind.versions.first().cloned().unwrap_or_default(),
            resource: kind.plural.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Asked::default()
        };
        self.write(&Method::DELETE, &kind, &asked, &serde_json::json!({}))
            .await
            .is_ok()
    }

    /// An object as it is stored.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self
            .server
            .store
            .get(resource, &(namespace.to_owned(), name.to_owned()));
        found.map(|object| (*object).clone())
    }

    /// All objects of `PLURAL.GROUP`.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        self.server
            .store
            .all(resource)
            .iter()
            .map(|object| (**object).clone())
            .collect()
    }

    /// Who waits for this is woken at each change of anything.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.server.store.changes()
    }

    /// What has been asked over HTTPS.
    pub fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }

    /// Forgets what has been asked.
    pub fn forget_asked(&self) {
        self.server.forget_asked();
    }

    /// Where a service of a webhook is: `NAMESPACE/NAME:PORT`.
    pub fn route_service(&self, service: &str, address: SocketAddr) {
        self.server.route(service, address);
    }

    /// What is behind the ports of a pod, `NAMESPACE/NAME`, for those who forward them: `dial` connects to
    /// one, and may block. The ports of other pods refuse.
    pub fn open_ports(
        &self,
        pod: &str,
        dial: impl Fn(u16) -> io::Result<std::net::TcpStream> + Send + Sync + 'static,
    ) {
        self.server.ports.open(pod, Arc::new(dial));
    }

    /// Something goes wrong.
    pub fn fail(&self, fault: Fault) {
        self.server.faults.add(fault);
    }

    /// Forgets the events of before: open watches that have not seen them, and chunked lists, are 410.
    pub fn compact(&self) {
        self.server.store.change(store::State::compact);
    }

    /// Ends every open watch with an ERROR event of 410, and forgets the events of before.
    pub fn expire_watches(&self) {
        self.server.store.change(|state| {
            state.compact();
            state.expired += 1;
        });
    }

    /// Ends every open watch without a word.
    pub fn cut_watches(&self) {
        self.server.store.change(|state| state.cut += 1);
    }

    /// Nobody listens any more, and every connection is cut. What is stored stays.
    pub async fn go_away(&self) {
        self.listening.set(false).await;
    }

    /// Listens again where it did, as a server that was restarted: its watch cache is new, so who watched
    /// before is told 410 once.
    pub async fn come_back(&self) {
        self.compact();
        self.listening.set(true).await;
    }
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}
