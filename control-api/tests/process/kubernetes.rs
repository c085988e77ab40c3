//! The program of a cluster: the same pushes as from a directory, while the API server is away too; and its
//! webhook, as the API server calls it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use heddle_apiserver::{ApiServer, Options, istio};
use heddle_identity::tls::to_pem_bundle;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::{BOOKINFO, Setup, until};

fn edited(weight: u32) -> String {
    BOOKINFO.replace("weight: 90", &format!("weight: {weight}"))
}

fn webhook(bundle: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "heddle-control"},
        "webhooks": [{
            "name": "check.heddle.io", "failurePolicy": "Ignore", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
            "clientConfig": {
                "caBundle": STANDARD.encode(bundle),
                "service": {"namespace": "heddle-system", "name": "heddle-control", "path": "/validate"},
            },
            "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["networking.istio.io"],
                       "apiVersions": ["*"], "resources": ["*"]}],
        }],
    })
}

fn route(name: &str, http: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
           "spec": {"hosts": ["ratings"], "http": http}})
}

#[tokio::test]
async fn a_cluster_is_served_as_a_directory_is() {
    let setup = Setup::empty().await;
    let server = ApiServer::start(Options::default()).await.unwrap();
    server.namespace("heddle-system").await;
    server.install(&istio()).await;
    server.put_yaml(BOOKINFO).await;
    let token = setup.path("api-token");
    std::fs::write(
        &token,
        server.account_token("heddle-system", "heddle-control"),
    )
    .unwrap();
    let kubeconfig = setup.path("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig("", Some(&token))).unwrap();
    let mut listen: std::net::SocketAddr = setup.control.parse().unwrap();
    listen.set_port(listen.port() + 500);
    let mut program = setup.start_with(&[
        "--kubernetes",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--webhook-listen",
        &listen.to_string(),
    ]);
    let mut proxy = setup.proxy().await;
    proxy.until_weight(90).await;
    for weight in [50, 40] {
        server.put_yaml(&edited(weight)).await;
        proxy.until_weight(weight).await;
    }
    // While the API server is away, who comes is served what was.
    server.go_away().await;
    let mut late = setup.proxy().await;
    late.until_weight(40).await;
    server.put_yaml(&edited(30)).await;
    server.come_back().await;
    proxy.until_weight(30).await;
    late.until_weight(30).await;

    // Nobody answers for the service yet: the webhook is passed over.
    let bundle = to_pem_bundle(&setup.authority.roots());
    server.put(webhook(&bundle)).await.unwrap();
    let misspelt = || route("misspelt", json!([{"rout": []}]));
    server.put(misspelt()).await.unwrap();
    assert!(
        server
            .delete("virtualservices.networking.istio.io", "default", "misspelt")
            .await
    );
    server.route_service("heddle-system/heddle-control:443", listen);
    let refused = server.put(misspelt()).await.unwrap_err();
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!(422), &json!("Forbidden"))
    );
    let message = refused["message"].as_str().unwrap();
    for part in [
        "check.heddle.io",
        "`rout` in spec.http[0]",
        "did you mean `route`?",
        "[HDL0010]",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // What is not there yet may come with the next document, so it is no reason to refuse.
    let early = route(
        "early",
        json!([{"route": [{"destination": {"host": "nobody"}}]}]),
    );
    server.put(early).await.unwrap();
    let status = until(async || {
        setup
            .status()
            .await
            .filter(|status| status.refused.iter().any(|one| one.name == "early"))
    })
    .await;
    let early = status
        .refused
        .iter()
        .find(|one| one.name == "early")
        .unwrap();
    assert!(
        early.file.is_empty()
            && early
                .reason
                .contains("spec.http[0].route[0].destination.host"),
        "{early:?}"
    );
    program.signal(Signal::SIGTERM);
    assert!(program.ended().await.success());
}
