//! Webhooks as the double calls them: over HTTPS, mutating ones first, and their refusals and warnings.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use heddle_apiserver::{ApiServer, Options};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// A webhook that adds a label to what is created, and refuses what is called `bad`. Its caBundle.
async fn webhook(tasks: &mut JoinSet<()>) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["hook.default.svc".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = tls.accept(stream).await else {
                continue;
            };
            let http = hyper::server::conn::http1::Builder::new();
            _ = http
                .serve_connection(TokioIo::new(stream), service_fn(review))
                .await;
        }
    });
    (address, STANDARD.encode(made.cert.pem()))
}

async fn review(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let is_mutating = request.uri().path() == "/mutate";
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true, "warnings": ["hm"]});
    if is_mutating {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    } else if request["object"]["metadata"]["name"] == "bad"
        || request["object"]["metadata"]["labels"]["seen"] != "yes"
    {
        response = json!({"uid": request["uid"], "allowed": false, "status": {"code": 422, "reason": "Invalid", "message": "because"}});
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

fn configuration(kind: &str, path: &str, bundle: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "hook"},
        "webhooks": [{
            "name": "hook.example.com", "failurePolicy": policy, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "hook", "path": path}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}]},
        }],
    })
}

fn map(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}})
}

#[tokio::test]
async fn webhooks_change_refuse_and_may_fail() {
    let mut tasks = JoinSet::new();
    let (address, bundle) = webhook(&mut tasks).await;
    let server = ApiServer::start(Options::default()).await.unwrap();
    server
        .put(configuration(
            "MutatingWebhookConfiguration",
            "/mutate",
            &bundle,
            "Fail",
        ))
        .await
        .unwrap();
    server
        .put(configuration(
            "ValidatingWebhookConfiguration",
            "/validate",
            &bundle,
            "Fail",
        ))
        .await
        .unwrap();
    // Nobody is there yet.
    let refused = server.put(map("early", "default")).await.unwrap_err();
    assert_eq!(refused["code"], 500);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("no endpoints available")
    );
    server.route_service("default/hook:443", address);
    let good = server.put(map("good", "default")).await.unwrap();
    assert_eq!(good["metadata"]["labels"]["seen"], "yes");
    let refused = server.put(map("bad", "default")).await.unwrap_err();
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!(422), &json!("Invalid"))
    );
    assert_eq!(
        refused["message"],
        "admission webhook \"hook.example.com\" denied the request: because"
    );
    let outside = server.put(map("outside", "kube-system")).await.unwrap();
    assert!(outside["metadata"]["labels"].is_null());
    // A bundle that does not fit fails; where that is to be ignored it is.
    let other = STANDARD.encode(server.ca_pem());
    server
        .put(configuration(
            "MutatingWebhookConfiguration",
            "/mutate",
            &other,
            "Fail",
        ))
        .await
        .unwrap();
    assert_eq!(
        server.put(map("x", "default")).await.unwrap_err()["code"],
        500
    );
    server
        .put(configuration(
            "MutatingWebhookConfiguration",
            "/mutate",
            &other,
            "Ignore",
        ))
        .await
        .unwrap();
    server
        .put(configuration(
            "ValidatingWebhookConfiguration",
            "/validate",
            &other,
            "Ignore",
        ))
        .await
        .unwrap();
    server.put(map("x", "default")).await.unwrap();
}
