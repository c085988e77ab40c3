//! Every certificate that must be refused, in both directions, and in which words.

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::{A, ALPN, B, Pair, TestCa, client_refuses, good, handshake, server_refuses, tcp_pair};
use crate::tls::{MeshTls, Refusal};

/// A client that presents this and believes any server.
fn careless_client(own: Option<Pair>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelieveAll));
    Arc::new(match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// A server that presents this and asks for nothing.
fn careless_server((chain, key): Pair) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN[0].to_vec()];
    Arc::new(config)
}

/// Refused as a client by a server of ours, and as a server by a client of ours.
async fn refused_both_ways(ca: &TestCa, own: impl Fn() -> Pair) -> (Refusal, Refusal) {
    let us = ca.workload(A);
    let by_server = server_refuses(us.server_config(ALPN), careless_client(Some(own()))).await;
    let expected = B.parse().unwrap();
    let by_client = client_refuses(careless_server(own()), us.client_config(&expected, ALPN)).await;
    (by_server, by_client)
}

async fn refused(change: impl Fn(&mut CertificateParams)) -> String {
    let ca = TestCa::new();
    let mut params = good(B);
    change(&mut params);
    let (by_server, by_client) = refused_both_ways(&ca, || ca.sign(&params)).await;
    assert_eq!(by_server, by_client);
    by_server.to_string()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[tokio::test]
async fn a_foreign_trust_domain_is_refused() {
    let reason =
        refused(|params| params.subject_alt_names = vec![uri("spiffe://evil.org/ns/shop/sa/b")])
            .await;
    assert_eq!(
        reason,
        "certificate of foreign trust domain evil.org (spiffe://evil.org/ns/shop/sa/b)"
    );
}

#[tokio::test]
async fn a_foreign_authority_is_refused_and_named_by_what_it_claims() {
    let foreign = TestCa::new();
    let (by_server, by_client) = refused_both_ways(&TestCa::new(), || foreign.sign(&good(B))).await;
    assert_eq!(by_server, Refusal::UnknownAuthority(B.parse().unwrap()));
    assert_eq!(by_client, by_server);
}

#[tokio::test]
async fn names_that_are_not_exactly_one_spiffe_id_are_refused() {
    let cases: [(Vec<SanType>, &str); 6] = [
        (vec![uri(B), uri(A)], "certificate has 2 URIs"),
        (
            vec![SanType::DnsName("b.shop.svc".try_into().unwrap())],
            "certificate has no SPIFFE id",
        ),
        (Vec::new(), "certificate has no SPIFFE id"),
        (
            vec![uri("spiffe://cluster.local/ns/shop/sa/b\0.evil.org")],
            "'\\0' is not allowed in its path",
        ),
        (
            vec![uri("spiffe://cluster.local/ns/*/sa/b")],
            "'*' is not allowed in its path",
        ),
        (
            vec![uri("https://cluster.local/ns/shop/sa/b")],
            "does not begin with \"spiffe://\"",
        ),
    ];
    for (names, expected) in cases {
        let reason = refused(|params| params.subject_alt_names.clone_from(&names)).await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn an_unreadable_second_uri_counts() {
    let reason = refused(|params| {
        // SEQUENCE { [6] B, [6] 0xff }
        let mut names = vec![0x86, u8::try_from(B.len()).unwrap()];
        names.extend_from_slice(B.as_bytes());
        names.extend_from_slice(&[0x86, 1, 0xff]);
        let mut content = vec![0x30, u8::try_from(names.len()).unwrap()];
        content.extend(names);
        params.subject_alt_names.clear();
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
    })
    .await;
    assert!(reason.contains("certificate has 2 URIs"), "{reason}");
}

#[tokio::test]
async fn certificates_out_of_their_time_are_refused() {
    let reason =
        refused(|params| params.not_after = params.not_before + Duration::from_secs(1)).await;
    assert!(
        reason.starts_with("certificate expired at 20") && reason.ends_with('Z'),
        "{reason}"
    );
    let reason = refused(|params| params.not_before += Duration::from_secs(500)).await;
    assert!(
        reason.starts_with("certificate not valid before 20"),
        "{reason}"
    );
}

#[tokio::test]
async fn certificates_that_can_sign_are_refused() {
    let reason = refused(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).await;
    assert_eq!(reason, Refusal::SigningCertificate.to_string());
    let reason = refused(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)).await;
    assert_eq!(reason, Refusal::SigningCertificate.to_string());
}

#[tokio::test]
async fn certificates_for_another_purpose_are_refused() {
    let ca = TestCa::new();
    let us = ca.workload(A);
    let mut params = good(B);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let reason = server_refuses(
        us.server_config(ALPN),
        careless_client(Some(ca.sign(&params))),
    )
    .await;
    assert_eq!(reason, Refusal::WrongPurpose("client"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let expected = B.parse().unwrap();
    let reason = client_refuses(
        careless_server(ca.sign(&params)),
        us.client_config(&expected, ALPN),
    )
    .await;
    assert_eq!(reason, Refusal::WrongPurpose("server"));
}

#[tokio::test]
async fn another_workload_at_the_address_is_refused_and_both_are_named() {
    let ca = TestCa::new();
    let (a, b) = (ca.workload(A), ca.workload(B));
    let expected = "spiffe://cluster.local/ns/shop/sa/c".parse().unwrap();
    let reason = client_refuses(b.server_config(ALPN), a.client_config(&expected, ALPN)).await;
    assert_eq!(reason.to_string(), format!("expected {expected} got {B}"));
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_and_told_so() {
    let ca = TestCa::new();
    let server = ca.workload(A).server_config(ALPN);
    assert_eq!(
        server_refuses(server.clone(), careless_client(None)).await,
        Refusal::NoCertificate
    );
    // The alert comes with the first read: in TLS 1.3 the client is done before the server.
    let (_, connected) = handshake(server, careless_client(None)).await;
    let error = tokio::io::AsyncReadExt::read(&mut connected.unwrap(), &mut [0])
        .await
        .unwrap_err();
    assert_eq!(Refusal::of(&error), Some(Refusal::NoOwnCertificate));
}

#[tokio::test]
async fn peers_that_speak_no_tls_13_are_refused() {
    let (accepted, mut connected) = tcp_pair().await;
    connected
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let server = TestCa::new().workload(A).server_config(ALPN);
    let error = TlsAcceptor::from(server.clone())
        .accept(accepted)
        .await
        .unwrap_err();
    assert_eq!(Refusal::of(&error), Some(Refusal::NotTls));

    let old = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelieveAll))
        .with_no_client_auth();
    let refusal = server_refuses(server, Arc::new(old)).await;
    assert!(
        matches!(&refusal, Refusal::Handshake(text) if text.contains("incompatible")),
        "{refusal}"
    );
}

#[tokio::test]
async fn without_roots_or_certificate_nobody_is_served() {
    let ca = TestCa::new();
    let bare = MeshTls::new(A.parse().unwrap());
    assert!(!bare.is_ready());
    let refusal = server_refuses(
        bare.server_config(ALPN),
        careless_client(Some(ca.sign(&good(B)))),
    )
    .await;
    assert_eq!(refusal, Refusal::NoOwnCertificate);
    let expected = B.parse().unwrap();
    let refusal = client_refuses(
        careless_server(ca.sign(&good(B))),
        bare.client_config(&expected, ALPN),
    )
    .await;
    assert_eq!(refusal, Refusal::NoRoots);
}

#[test]
fn a_network_failure_is_no_refusal() {
    assert_eq!(
        Refusal::of(&std::io::ErrorKind::ConnectionReset.into()),
        None
    );
}

#[test]
fn garbage_for_a_certificate_identifies_nobody() {
    let tls = TestCa::new().workload(A);
    assert_eq!(tls.peer_id(&[]), None);
    for garbage in [&b""[..], b"\x30", b"\x30\x80", &[0x30; 300]] {
        assert_eq!(tls.peer_id(&[CertificateDer::from(garbage)]), None);
    }
}

#[derive(Debug)]
pub(super) struct BelieveAll;

impl ServerCertVerifier for BelieveAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
