//! The webhook over real HTTPS: reviews, refusals, certificates, and the process itself.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_authority::ca::{Authority, Policy};
use heddle_identity::workload::{IssueError, Issued, Issuer, Order};
use heddle_identity::{SpiffeId, Workload};
use heddle_injector::webhook::{Certificate, MAX_BODY_BYTES, Webhook, serve};
use heddle_injector::{DefaultInject, InjectConfig, NoNamespaceLabels, json_patch};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const NAME: &str = "heddle-injector.heddle-system.svc";

struct Client {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Client {
    fn new(address: SocketAddr, root: CertificateDer<'static>, alpn: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Self {
            address,
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = self
            .tls
            .connect(ServerName::try_from(NAME).unwrap(), stream)
            .await
            .unwrap();
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let response = if h2 {
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
                .await
                .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, content_type: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = Request::post(format!("https://{NAME}/inject"))
            .header("host", NAME)
            .header("content-type", content_type);
        self.send(request.body(Full::new(body.into())).unwrap())
            .await
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(format!("https://{NAME}{path}")).header("host", NAME);
        self.send(request.body(Full::default()).unwrap()).await
    }

    /// The `response` to a review of `object`.
    async fn review(&self, request: Value) -> Value {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let (status, text) = self.post("application/json", body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let mut reply: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&reply["apiVersion"], &reply["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!(reply["response"]["uid"], request["uid"]);
        reply["response"].take()
    }
}

fn request(object: Value) -> Value {
    json!({
        "uid": "0b5ff8d6-0001",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": object,
        "dryRun": true,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// A webhook with a certificate from files; dropping the sender stops it.
struct Running {
    client: Client,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
    _files: tempfile::TempDir,
}

fn files() -> (tempfile::TempDir, CertificateDer<'static>) {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(directory.path().join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(
        directory.path().join("tls.key"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    (directory, made.cert.der().clone())
}

async fn start(config: InjectConfig) -> Running {
    let (files, root) = files();
    let certificate =
        Certificate::of_files(files.path().join("tls.crt"), files.path().join("tls.key")).unwrap();
    let (address, stop, serving) = start_with(certificate, config).await;
    Running {
        client: Client::new(address, root, b"http/1.1"),
        stop,
        serving,
        _files: files,
    }
}

async fn start_with(
    certificate: Certificate,
    config: InjectConfig,
) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = Webhook::new(config, Arc::new(NoNamespaceLabels)).router();
    let serving = tokio::spawn(async move {
        serve(listener, router, certificate, async {
            let _ = stopped.await;
        })
        .await;
    });
    (address, stop, serving)
}

fn enabled() -> InjectConfig {
    InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    }
}

#[tokio::test]
async fn a_pod_gets_a_patch_that_gives_the_injected_pod() {
    let webhook = start(enabled()).await;
    let response = webhook.client.review(request(pod())).await;
    assert_eq!(
        (&response["allowed"], &response["patchType"]),
        (&json!(true), &json!("JSONPatch"))
    );
    let patch = STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut injected = pod();
    json_patch::patch(&mut injected, &patch).unwrap();
    assert_eq!(
        injected["spec"]["initContainers"][1]["name"],
        "heddle-proxy"
    );

    // As at a reinvocation.
    let again = webhook.client.review(request(injected)).await;
    assert_eq!(again, json!({"uid": "0b5ff8d6-0001", "allowed": true}));
    let (_, metrics) = webhook.client.get("/metrics").await;
    assert!(
        metrics.contains("heddle_injector_reviews_total{outcome=\"injected\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("heddle_injector_review_duration_seconds_count 2\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_skip_explains_itself_and_a_mistake_is_not_allowed() {
    let webhook = start(InjectConfig::default()).await;
    let response = webhook.client.review(request(pod())).await;
    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("pod shop/web- is not injected") && warning.contains("heddle.io/inject"),
        "{warning}"
    );

    let mut wrong = pod();
    wrong["metadata"]["labels"]["heddle.io/inject"] = json!("yes");
    let response = webhook.client.review(request(wrong)).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "pod shop/web- cannot be injected: label heddle.io/inject has the value \"yes\"; allowed: \"true\", \"false\""
    );
}

#[tokio::test]
async fn what_is_no_new_pod_is_allowed_unchanged() {
    let webhook = start(enabled()).await;
    let allowed = json!({"uid": "0b5ff8d6-0001", "allowed": true});
    for change in [
        json!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
        json!({"operation": "UPDATE"}),
        json!({"operation": "DELETE", "object": null}),
        json!({"subResource": "ephemeralcontainers"}),
    ] {
        let mut request = request(pod());
        json_patch::merge(&mut request, &change);
        assert_eq!(webhook.client.review(request).await, allowed, "{change}");
    }
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_a_sentence() {
    let webhook = start(enabled()).await;
    let review = |request: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    for (content_type, body, status, says) in [
        (
            "text/plain",
            "{}".to_owned(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "application/json",
        ),
        (
            "application/json",
            "{\"a\":".to_owned(),
            StatusCode::BAD_REQUEST,
            "not JSON",
        ),
        (
            "application/json",
            "[]".to_owned(),
            StatusCode::BAD_REQUEST,
            "without apiVersion and kind",
        ),
        (
            "application/json; charset=utf-8",
            json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"})
                .to_string(),
            StatusCode::BAD_REQUEST,
            "admission.k8s.io/v1beta1",
        ),
        (
            "application/json",
            review(json!(null)).to_string(),
            StatusCode::BAD_REQUEST,
            "request is missing",
        ),
        (
            "application/json",
            review(json!({"uid": 1})).to_string(),
            StatusCode::BAD_REQUEST,
            "request.uid",
        ),
        (
            "application/json",
            review(json!({"uid": "", "kind": {"kind": "Pod"}, "operation": "CREATE"})).to_string(),
            StatusCode::BAD_REQUEST,
            "request.uid is empty",
        ),
        (
            "application/json",
            "[".repeat(10_000),
            StatusCode::BAD_REQUEST,
            "recursion",
        ),
        (
            "application/json",
            review(json!({"uid": "1", "object": vec![json!({"": 0}); 15_000]})).to_string(),
            StatusCode::PAYLOAD_TOO_LARGE,
            "values; a review of a pod has at most 20000",
        ),
        (
            "application/json",
            " ".repeat(MAX_BODY_BYTES + 1),
            StatusCode::PAYLOAD_TOO_LARGE,
            "",
        ),
    ] {
        let (got, text) = webhook.client.post(content_type, body).await;
        assert_eq!(got, status, "{text}");
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(
        webhook.client.get("/inject").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(webhook.client.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(webhook.client.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn nobody_else_can_take_every_place() {
    let running = start(enabled()).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(running.client.address).await.unwrap());
    }
    let answered = tokio::time::timeout(
        std::time::Duration::from_secs(8),
        running.client.get("/healthz"),
    );
    assert_eq!(answered.await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn slow_bodies_end_and_keep_nobody_waiting() {
    let running = start(enabled()).await;
    let Client { address, tls } = &running.client;
    let head = "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n[";
    let mut slow = Vec::new();
    for _ in 0..20 {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let mut stream = tls.connect(name, stream).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let response = running.client.review(request(pod())).await;
    assert_eq!(response["patchType"], "JSONPatch");
    for mut stream in slow {
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 503");
    }
}

#[tokio::test]
async fn it_stops_when_told_although_connections_are_open() {
    let webhook = start(enabled()).await;
    // One that never says anything, not even TLS.
    let silent = TcpStream::connect(webhook.client.address).await.unwrap();
    assert_eq!(webhook.client.get("/healthz").await.0, StatusCode::OK);
    webhook.stop.send(()).unwrap();
    webhook.serving.await.unwrap();
    drop(silent);
    assert!(TcpStream::connect(webhook.client.address).await.is_err());
}

/// The identity service without the wire.
struct Local(Authority, SpiffeId);

#[tonic::async_trait]
impl Issuer for Local {
    async fn issue(&self, order: Order) -> Result<Issued, IssueError> {
        let Self(authority, id) = self;
        let issued = authority
            .issue(&order.csr, id, order.ttl)
            .map_err(|error| IssueError::Local(error.to_string()))?;
        Ok(Issued {
            chain: issued.chain,
            roots: authority.roots(),
        })
    }
}

/// A workload that is the injector, and its mesh's root.
async fn workload() -> (Workload, CertificateDer<'static>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(directory.path(), Policy::default()).unwrap();
    let root = authority.roots()[0].clone();
    let id: SpiffeId = "spiffe://cluster.local/ns/heddle-system/sa/heddle-injector"
        .parse()
        .unwrap();
    let local = Box::new(Local(authority, id.clone()));
    let workload = Workload::with_issuer(id, local, None, vec![NAME.to_owned()]);
    workload.ready().await;
    (workload, root, directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_review_is_lost_while_certificates_follow_one_another() {
    let (workload, root, _directory) = workload().await;
    let mut status = workload.status();
    let (address, _stop, _serving) =
        start_with(Certificate::of_mesh(workload.tls()), enabled()).await;
    let (count, mut counted) = watch::channel(0_u32);
    let count = Arc::new(count);
    let mut asking = JoinSet::new();
    for alpn in [&b"h2"[..], b"http/1.1", b"http/1.1"] {
        let client = Client::new(address, root.clone(), alpn);
        let count = Arc::clone(&count);
        asking.spawn(async move {
            loop {
                // A connection of its own for each, so that each meets the certificate of its time.
                let response = client.review(request(pod())).await;
                assert_eq!(response["patchType"], "JSONPatch");
                count.send_modify(|count| *count += 1);
            }
        });
    }
    for _ in 0..8 {
        let before = status.borrow().generation;
        workload.renew();
        status
            .wait_for(|status| status.generation > before)
            .await
            .unwrap();
        let seen = *counted.borrow_and_update();
        let more = counted.wait_for(|count| *count > seen + 10);
        tokio::select! {
            more = more => { more.unwrap(); }
            ended = asking.join_next() => panic!("a review was lost: {ended:?}"),
        }
    }
}

#[tokio::test]
async fn the_meshs_own_certificate_is_good_for_the_services_name_and_is_renewed_without_a_restart()
{
    let (workload, root, _directory) = workload().await;
    let tls = workload.tls().clone();
    let mut status = workload.status();
    let first = tls.generation();
    workload.renew();
    let (address, _stop, _serving) =
        start_with(Certificate::of_workload(workload), enabled()).await;
    let client = Client::new(address, root, b"h2");
    let response = client.review(request(pod())).await;
    assert_eq!(response["patchType"], "JSONPatch");
    status
        .wait_for(|status| status.generation > first)
        .await
        .unwrap();
    assert_eq!(client.get("/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn bodies_together_have_no_more_room_than_there_is() {
    let running = start(enabled()).await;
    // Each all but its last byte of the longest that is taken, so that none is answered.
    let head = format!(
        "POST /inject HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\n\
         content-length: {MAX_BODY_BYTES}\r\n\r\n"
    );
    let sent = [head.as_bytes(), &vec![b' '; MAX_BODY_BYTES - 1]].concat();
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (address, tls, sent) = (
            running.client.address,
            running.client.tls.clone(),
            sent.clone(),
        );
        sending.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = tls
                .connect(ServerName::try_from(NAME).unwrap(), stream)
                .await
                .unwrap();
            // Who is refused may be cut off before the end.
            _ = stream.write_all(&sent).await;
            let mut answer = vec![0; 12];
            _ = stream.read_exact(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    let first = sending.join_next().await.unwrap().unwrap();
    assert_eq!(first, "HTTP/1.1 503");
    let (_, metrics) = running.client.get("/metrics").await;
    assert!(
        !metrics.contains("heddle_injector_reviews_shed_total 0\n"),
        "{metrics}"
    );
    sending.shutdown().await;
    // Their room is there again.
    let review = || {
        running
            .client
            .post("application/json", " ".repeat(MAX_BODY_BYTES))
    };
    let again = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while review().await.0 != StatusCode::BAD_REQUEST {}
    });
    again.await.unwrap();
}
