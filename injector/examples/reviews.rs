//! How long the webhook takes: `cargo run --release -p heddle-injector --example reviews`. A server
//! with one thread, HTTPS over loopback, four clients that keep their connections and ask one review
//! after the other, as an API server does. Prints percentiles, and what a core can do.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_injector::webhook::{Certificate, Webhook, serve};
use heddle_injector::{DefaultInject, InjectConfig, NoNamespaceLabels};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{UsageWho, getrusage};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const NAME: &str = "localhost";
const CLIENTS: usize = 4;
const REVIEWS: usize = 5000;

type Failure = Box<dyn Error + Send + Sync>;

/// A pod of usual size: three containers, probes, hooks, volumes, twenty variables each.
fn review() -> String {
    let env: Vec<_> = (0..20)
        .map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "some value"}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example/app:1", "env": env,
            "ports": [{"name": "http", "containerPort": 8080}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            "livenessProbe": {"tcpSocket": {"port": 8080}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}, "annotations": {"prometheus.io/scrape": "true"}},
        "spec": {
            "containers": [container("app"), container("cache"), container("log")],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop",
            "operation": "CREATE", "object": pod,
        },
    })
    .to_string()
}

fn cpu() -> Result<Duration, Failure> {
    let used = getrusage(UsageWho::RUSAGE_THREAD)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::from_secs_f64(time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
    };
    Ok(seconds(used.user_time()) + seconds(used.system_time()))
}

async fn client(
    address: std::net::SocketAddr,
    tls: TlsConnector,
    body: Bytes,
) -> Result<Vec<Duration>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::try_from(NAME)?, stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut took = Vec::with_capacity(REVIEWS);
    for _ in 0..REVIEWS {
        let request = Request::post("/inject")
            .header("host", NAME)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let begun = Instant::now();
        let reply = sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await?;
        took.push(begun.elapsed());
        assert!(reply.to_bytes().len() > 1000, "not injected");
    }
    Ok(took)
}

fn main() -> Result<(), Failure> {
    let files = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let (certificate, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || -> Result<Duration, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let config = InjectConfig {
                default_inject: DefaultInject::Enabled,
                ..InjectConfig::default()
            };
            let router = Webhook::new(config, Arc::new(NoNamespaceLabels)).router();
            let certificate = Certificate::of_files(certificate, key)?;
            let before = cpu()?;
            let stopped = async {
                let _ = stopped.await;
            };
            serve(
                TcpListener::from_std(listener)?,
                router,
                certificate,
                stopped,
            )
            .await;
            Ok(cpu()? - before)
        })
    });

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(config));
    let body = Bytes::from(review());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut took: Vec<Duration> = runtime.block_on(async {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(client(address, tls.clone(), body.clone())))
            .collect();
        let mut took = Vec::new();
        for client in clients {
            took.extend(client.await??);
        }
        Ok::<_, Failure>(took)
    })?;
    drop(runtime);
    let _ = stop.send(());
    let used = server.join().map_err(|_| "the server panicked")??;
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} reviews of {} bytes over HTTPS, {CLIENTS} at a time",
        took.len(),
        body.len()
    );
    println!(
        "p50 {:?}, p99 {:?}, longest {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!(
        "{:?} of CPU each: {:.0} reviews per second on one core",
        used / u32::try_from(took.len())?,
        took.len() as f64 / used.as_secs_f64()
    );
    Ok(())
}
