//! The program of a cluster: the same pushes as from a directory, while the API server is away too; and its
//! webhook, as the API server calls it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use heddle_apiserver::{ApiServer, Options, gateway, istio};
use heddle_identity::tls::to_pem_bundle;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::{BOOKINFO, Program, Setup, until};

/// All that it needs to be allowed.
pub(crate) const ROLES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: heddle-control}
rules:
- {apiGroups: [''], resources: [namespaces, serviceaccounts, services, nodes, pods], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch]}
- {apiGroups: [networking.istio.io], resources: [virtualservices, destinationrules, serviceentries, sidecars], verbs: [list, watch]}
- {apiGroups: [security.istio.io], resources: [peerauthentications], verbs: [list, watch]}
- {apiGroups: [telemetry.istio.io], resources: [telemetries], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes, grpcroutes], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes/status, grpcroutes/status], verbs: [patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: heddle-control}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: heddle-control}
subjects: [{kind: ServiceAccount, name: heddle-control, namespace: heddle-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: heddle-control, namespace: heddle-system}
rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: heddle-control, namespace: heddle-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: heddle-control}
subjects: [{kind: ServiceAccount, name: heddle-control, namespace: heddle-system}]
";

pub(crate) fn edited(weight: u32) -> String {
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

/// The status, and the body; None: nobody listens.
pub(crate) fn probe(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// An API server with the example in it, and what the program is told of it.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) webhook: SocketAddr,
    pub(crate) probes: SocketAddr,
    kubeconfig: PathBuf,
}

impl Cluster {
    pub(crate) async fn new(setup: &Setup, roles: &str) -> Self {
        let options = Options {
            rbac: true,
            ..Options::default()
        };
        let server = ApiServer::start(options).await.unwrap();
        server.namespace("heddle-system").await;
        server.install(&istio()).await;
        server.install(&gateway()).await;
        server.put_yaml(roles).await;
        server.put_yaml(BOOKINFO).await;
        let token = setup.path("api-token");
        let text = server.account_token("heddle-system", "heddle-control");
        std::fs::write(&token, text).unwrap();
        let kubeconfig = setup.path("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig("", Some(&token))).unwrap();
        let mut webhook: SocketAddr = setup.control.parse().unwrap();
        webhook.set_port(webhook.port() + 500);
        let mut probes = webhook;
        probes.set_port(webhook.port() + 500);
        Self {
            server,
            webhook,
            probes,
            kubeconfig,
        }
    }

    pub(crate) fn start(&self, setup: &Setup) -> Program {
        setup.start_with(&[
            "--kubernetes",
            "--kubeconfig",
            self.kubeconfig.to_str().unwrap(),
            "--webhook-listen",
            &self.webhook.to_string(),
            "--health-listen",
            &self.probes.to_string(),
        ])
    }
}

#[tokio::test]
async fn a_cluster_is_served_as_a_directory_is() {
    let setup = Setup::empty().await;
    let cluster = Cluster::new(&setup, ROLES).await;
    let (server, listen) = (&cluster.server, cluster.webhook);
    let mut program = cluster.start(&setup);
    let mut proxy = setup.proxy().await;
    proxy.until_weight(90).await;
    let ok = Some((200, "ok\n".to_owned()));
    assert_eq!(probe(cluster.probes, "/healthz"), ok);
    assert_eq!(probe(cluster.probes, "/readyz"), ok);
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
        (&json!(422), &json!("Invalid"))
    );
    // Of a refusal with details kubectl shows these alone.
    assert!(refused["details"].is_null(), "{refused}");
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
    // What became of them is written, by what it may.
    let attached = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "h"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "ratings"}]}});
    server.put(attached).await.unwrap();
    let routes = "httproutes.gateway.networking.k8s.io";
    until(async || {
        let route = server.object(routes, "default", "h")?;
        (route["status"]["parents"][0]["controllerName"] == "heddle.io/mesh/heddle-system")
            .then_some(())
    })
    .await;
    until(async || {
        let events = server.objects("events.events.k8s.io");
        events
            .iter()
            .any(|event| event["regarding"]["name"] == "early")
            .then_some(())
    })
    .await;
    program.signal(Signal::SIGTERM);
    assert!(program.ended().await.success());
    // Who comes next need not wait.
    let lease = server
        .object(
            "leases.coordination.k8s.io",
            "heddle-system",
            "heddle-control",
        )
        .unwrap();
    assert!(
        lease["spec"]["holderIdentity"].is_null() && lease["spec"]["renewTime"].is_string(),
        "{lease}"
    );
}
