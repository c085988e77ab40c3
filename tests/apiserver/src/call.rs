//! Calls a webhook over HTTPS, trusting what its caBundle says and nothing else, within its time.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::server::Server;

/// What the real server reads of an answer.
const MAX_ANSWER: usize = 10 * 1024 * 1024;

/// The answer of a webhook.
pub(crate) async fn call(
    server: &Server,
    webhook: &Value,
    review: &Value,
) -> Result<Value, String> {
    let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10);
    let client = &webhook["clientConfig"];
    let done = timeout(
        Duration::from_secs(seconds),
        exchange(server, client, review),
    )
    .await;
    done.map_err(|_| "failed to call webhook: context deadline exceeded".to_owned())?
        .map_err(|error| format!("failed to call webhook: {error}"))
}

async fn exchange(server: &Server, client: &Value, review: &Value) -> Result<Value, String> {
    let (host, address, path) = match client["url"].as_str() {
        Some(url) => {
            let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
            if uri.scheme_str() != Some("https") {
                return Err(format!("{url}: scheme must be https"));
            }
            let host = uri.host().unwrap_or_default().to_owned();
            let address = format!("{host}:{}", uri.port_u16().unwrap_or(443));
            let path = uri
                .path_and_query()
                .map(|path| path.to_string())
                .unwrap_or_default();
            (host, address, path)
        }
        None => {
            let service = &client["service"];
            let part = |field: &str| service[field].as_str().unwrap_or_default();
            let port = service["port"].as_u64().unwrap_or(443);
            let name = format!("{}/{}:{port}", part("namespace"), part("name"));
            let address = server
                .service(&name)
                .ok_or(format!("no endpoints available for service \"{name}\""))?;
            let host = format!("{}.{}.svc", part("name"), part("namespace"));
            (host, address.to_string(), part("path").to_owned())
        }
    };
    let error = |error: &dyn std::fmt::Display| format!("Post \"https://{host}{path}\": {error}");
    let tls =
        TlsConnector::from(trusting(client["caBundle"].as_str()).map_err(|reason| error(&reason))?);
    let name = ServerName::try_from(host.clone()).map_err(|reason| error(&reason))?;
    let stream = TcpStream::connect(&address)
        .await
        .map_err(|reason| error(&reason))?;
    let stream = tls
        .connect(name, stream)
        .await
        .map_err(|reason| error(&reason))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|reason| error(&reason))?;
    let request = Request::post(if path.is_empty() { "/" } else { path.as_str() })
        .header(header::HOST, &host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|reason| error(&reason))?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|reason| error(&reason))?;
        let code = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        let body = body.map_err(|reason| error(&reason))?.to_bytes();
        if !code.is_success() {
            return Err(error(&format!(
                "{code}: {}",
                String::from_utf8_lossy(&body)
            )));
        }
        serde_json::from_slice(&body).map_err(|reason| error(&reason))
    };
    // If the connection fails, so does who waits for the answer.
    let driven = async {
        _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driven => never,
    }
}

fn trusting(bundle: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let pem = STANDARD
        .decode(bundle.unwrap_or_default())
        .map_err(|error| format!("caBundle: {error}"))?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&pem) {
        let root = root.map_err(|error| format!("caBundle: {error}"))?;
        roots
            .add(root)
            .map_err(|error| format!("caBundle: {error}"))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
