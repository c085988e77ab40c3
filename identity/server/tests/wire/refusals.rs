//! What the identity service refuses on the wire, with which code, and what it tells the client.

use crate::support::{Cluster, LONG, Running, id, listen, own_address};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use heddle_authority::{
    ca::{Authority, Policy},
    server::{IdentityService, own_identity, serve},
    token::{Authenticator, TokenError},
};
use heddle_identity::{
    MeshTls, SpiffeId, channel,
    incoming::{self, Limits},
    tls::{ALPN_H2, parse_pem_bundle},
};
use heddle_proto::identity::{IssueRequest, IssueResponse, identity_client::IdentityClient};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use tonic::{Code, Request, Status, transport::Channel};

struct Client {
    cluster: Cluster,
    channel: Channel,
    service: Running,
}

async fn client() -> Client {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let tls = MeshTls::new(id("shop", "a"));
    let bundle = std::fs::read(cluster.bundle()).unwrap();
    tls.set_roots(parse_pem_bundle(&bundle).unwrap()).unwrap();
    let identity = id("heddle-system", "heddle-identity");
    let channel = channel::connect(&tls, &cluster.address.to_string(), &identity)
        .await
        .unwrap();
    Client {
        cluster,
        channel,
        service,
    }
}

impl Client {
    async fn issue(
        &self,
        authorization: Option<&str>,
        csr: Vec<u8>,
    ) -> Result<IssueResponse, Status> {
        let mut request = Request::new(IssueRequest {
            csr,
            ttl_seconds: 60,
        });
        if let Some(value) = authorization {
            request
                .metadata_mut()
                .insert("authorization", value.parse().unwrap());
        }
        IdentityClient::new(self.channel.clone())
            .issue(request)
            .await
            .map(tonic::Response::into_inner)
    }
}

fn csr(uri: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
}

#[tokio::test]
async fn a_good_request_is_answered_with_chain_roots_and_times() {
    let client = client().await;
    let bearer = format!("Bearer {}", client.cluster.token("shop", "a"));
    let answer = client
        .issue(Some(&bearer), csr(id("shop", "a").as_str()))
        .await
        .unwrap();
    assert_eq!((answer.chain.len(), answer.roots.len()), (1, 1));
    assert_eq!(answer.not_after_unix - answer.not_before_unix, 120);
    client.service.stop().await;
}

#[tokio::test]
async fn requests_without_a_good_token_are_unauthenticated_and_told_what_to_do() {
    let client = client().await;
    let csr = csr(id("shop", "a").as_str());
    for (authorization, expected) in [
        (None, "authorization: Bearer TOKEN"),
        (Some("Basic YTpi"), "authorization: Bearer TOKEN"),
        (Some("Bearer"), "authorization: Bearer TOKEN"),
        (Some("Bearer nonsense"), "not a signed JWT"),
    ] {
        let status = client.issue(authorization, csr.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().contains(expected), "{}", status.message());
    }
    let foreign = format!("Bearer {}", Cluster::new().token("shop", "a"));
    let status = client.issue(Some(&foreign), csr).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().contains("signature is wrong"),
        "{}",
        status.message()
    );
    assert!(
        !status.message().contains(&foreign[7..]),
        "the token is not echoed"
    );
    client.service.stop().await;
}

#[tokio::test]
async fn a_request_for_somebody_else_is_denied_and_names_both() {
    let client = client().await;
    let bearer = format!("Bearer {}", client.cluster.token("shop", "a"));
    let asked = id("heddle-system", "heddle-control");
    let status = client
        .issue(Some(&bearer), csr(asked.as_str()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let message = status.message();
    assert!(
        message.contains(asked.as_str()) && message.contains(id("shop", "a").as_str()),
        "{message}"
    );
    client.service.stop().await;
}

#[tokio::test]
async fn oversized_requests_are_refused() {
    let client = client().await;
    let bearer = format!("Bearer {}", client.cluster.token("shop", "a"));
    let status = client
        .issue(Some(&bearer), vec![0; 100_000])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let long = format!("Bearer {}", "a".repeat(9_000));
    let status = client
        .issue(Some(&long), csr(id("shop", "a").as_str()))
        .await
        .unwrap_err();
    assert!(
        status.message().contains("longer than 8192 bytes"),
        "{status}"
    );
    let huge = format!("Bearer {}", "a".repeat(100_000));
    assert!(
        client
            .issue(Some(&huge), csr(id("shop", "a").as_str()))
            .await
            .is_err()
    );
    client.service.stop().await;
}

#[tokio::test]
async fn missing_keys_are_our_fault_and_worth_another_try() {
    let client = client().await;
    std::fs::remove_file(client.cluster.path("jwks.json")).unwrap();
    let bearer = format!("Bearer {}", client.cluster.token("shop", "a"));
    let status = client
        .issue(Some(&bearer), csr(id("shop", "a").as_str()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        !status.message().contains("jwks.json"),
        "paths of ours are not for clients"
    );
    client.service.stop().await;
}

/// Takes for ever.
struct Stuck;

#[tonic::async_trait]
impl Authenticator for Stuck {
    async fn authenticate(&self, _: &str) -> Result<SpiffeId, TokenError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn more_requests_than_can_be_served_are_shed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::load_or_create(dir.path(), Policy::default()).unwrap());
    let own = id("heddle-system", "heddle-identity");
    let identity = own_identity(authority.clone(), own.clone());
    identity.ready().await;
    let address = own_address();
    let tls = identity.tls().clone();
    let incoming = incoming::server_only(
        listen(address).await,
        tls.clone(),
        ALPN_H2,
        Limits::default(),
    );
    let mut tasks = JoinSet::new();
    let service = IdentityService::new(authority, Stuck);
    tasks.spawn(async move {
        serve(service, incoming, std::future::pending())
            .await
            .unwrap()
    });

    let (shed, mut outcomes) = mpsc::channel(200);
    for _ in 0..12 {
        let channel = channel::connect(&tls, &address.to_string(), &own)
            .await
            .unwrap();
        for _ in 0..8 {
            let (channel, shed) = (channel.clone(), shed.clone());
            tasks.spawn(async move {
                let mut request = Request::new(IssueRequest::default());
                request
                    .metadata_mut()
                    .insert("authorization", "Bearer x".parse().unwrap());
                let status = IdentityClient::new(channel)
                    .issue(request)
                    .await
                    .unwrap_err();
                shed.send(status).await.unwrap();
            });
        }
    }
    // 64 are stuck, the other 32 are told so.
    for _ in 0..32 {
        let status = timeout(LONG, outcomes.recv()).await.unwrap().unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    // The stuck ones end by the time limit.
    for _ in 0..64 {
        let status = timeout(LONG, outcomes.recv()).await.unwrap().unwrap();
        assert!(
            matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
            "{status}"
        );
    }
}
