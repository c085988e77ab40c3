//! What is remembered of chains that were found good, and what is looked at all the same.

use std::{sync::Arc, time::Duration};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{A, ALPN, B, Pair, TestCa, good, handshake, server_refuses};
use crate::{
    TrustDomain,
    tls::{MeshTls, Refusal, known, roots::Trust, verify, verify::Purpose},
};

fn trust(ca: &TestCa) -> Trust {
    Trust::new(vec![ca.root.clone()]).unwrap()
}

fn look(
    chain: &[CertificateDer<'_>],
    trust: &Trust,
    purpose: Purpose,
    now: UnixTime,
) -> Result<String, Refusal> {
    let domain: TrustDomain = "cluster.local".parse().unwrap();
    let (first, others) = chain.split_first().unwrap();
    verify::peer(first, others, trust, purpose, now, &domain).map(|id| id.to_string())
}

fn later(seconds: u64) -> UnixTime {
    let now = Duration::from_secs(UnixTime::now().as_secs());
    UnixTime::since_unix_epoch(now + Duration::from_secs(seconds))
}

fn known(tls: &MeshTls) -> usize {
    tls.0.state.trust.load().known().len()
}

#[tokio::test]
async fn a_chain_is_remembered_by_both_sides_until_the_roots_change() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let (a, b) = (ca.workload(A), ca.workload(B));
    assert_eq!((known(&a), known(&b)), (0, 0));
    for _ in 0..3 {
        let (server, client) = (a.server_config(ALPN), b.client_config(a.own_id(), ALPN));
        let (accepted, connected) = handshake(server, client).await;
        let (accepted, _) = (accepted.unwrap(), connected.unwrap());
        let presented = accepted.get_ref().1.peer_certificates().unwrap();
        assert_eq!(a.peer_id(presented).as_ref(), Some(b.own_id()));
        assert_eq!((known(&a), known(&b)), (1, 1));
    }
    a.set_roots(vec![ca.root.clone(), other.root]).unwrap();
    assert_eq!((known(&a), known(&b)), (0, 1));
}

#[tokio::test]
async fn a_known_chain_is_not_believed_without_its_key() {
    let ca = TestCa::new();
    let (a, b) = (ca.workload(A), ca.workload(B));
    let (server, client) = (a.server_config(ALPN), b.client_config(a.own_id(), ALPN));
    let (accepted, _) = handshake(server.clone(), client).await;
    let accepted = accepted.unwrap();
    let stolen = accepted.get_ref().1.peer_certificates().unwrap().to_vec();

    let provider = Arc::new(aws_lc_rs::default_provider());
    let (_, key): Pair = ca.sign(&good(B));
    let key = provider.key_provider.load_private_key(key).unwrap();
    let thief = CertifiedKey::new(stolen, key);
    let mut thief = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(super::refusals::BelieveAll))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(thief)));
    thief.alpn_protocols = vec![ALPN[0].to_vec()];
    let refusal = server_refuses(server, Arc::new(thief)).await;
    assert!(refusal.to_string().contains("BadSignature"), "{refusal}");
}

#[test]
fn a_known_chain_is_refused_when_its_time_is_over() {
    let ca = TestCa::new();
    let (trust, chain) = (trust(&ca), ca.sign(&good(B)).0);
    assert_eq!(
        look(&chain, &trust, Purpose::Server, later(0)).as_deref(),
        Ok(B)
    );
    assert_eq!(
        look(&chain, &trust, Purpose::Server, later(500)).as_deref(),
        Ok(B)
    );
    for seconds in [605, 10_000_000] {
        let refusal = look(&chain, &trust, Purpose::Server, later(seconds)).unwrap_err();
        assert!(matches!(refusal, Refusal::Expired(_)), "{refusal}");
    }
    let early = UnixTime::since_unix_epoch(Duration::from_secs(1));
    let refusal = look(&chain, &trust, Purpose::Server, early).unwrap_err();
    assert!(matches!(refusal, Refusal::NotYetValid(_)), "{refusal}");
}

#[test]
fn the_dates_of_all_certificates_count() {
    let ca = TestCa::new();
    let trust = trust(&ca);
    let mut chain = ca.sign(&good(B)).0;
    let mut short = good(A);
    short.not_after = short.not_before + Duration::from_secs(120);
    chain.extend(ca.sign(&short).0);
    assert!(look(&chain, &trust, Purpose::Client, later(0)).is_ok());
    let presented = known::Presented::new(&chain[0], &chain[1..], Purpose::Client).unwrap();
    assert!(trust.known().who(&presented, later(0)).is_some());
    assert!(trust.known().who(&presented, later(70)).is_none());
}

#[test]
fn a_known_chain_with_another_byte_is_not_known() {
    let ca = TestCa::new();
    let (trust, chain) = (trust(&ca), ca.sign(&good(B)).0);
    look(&chain, &trust, Purpose::Client, later(0)).unwrap();
    for at in 0..chain[0].len() {
        let mut bytes = chain[0].to_vec();
        bytes[at] ^= 1;
        let forged = [CertificateDer::from(bytes)];
        assert!(
            look(&forged, &trust, Purpose::Client, later(0)).is_err(),
            "{at}"
        );
    }
    // The same bytes, cut otherwise.
    let (head, tail) = chain[0].split_at(100);
    let cut = [head.to_vec().into(), tail.to_vec().into()];
    assert!(look(&cut, &trust, Purpose::Client, later(0)).is_err());
}

#[test]
fn what_is_known_for_one_purpose_is_not_for_the_other() {
    let ca = TestCa::new();
    let trust = trust(&ca);
    let mut params = good(B);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let chain = ca.sign(&params).0;
    for _ in 0..2 {
        assert!(look(&chain, &trust, Purpose::Server, later(0)).is_ok());
        assert_eq!(
            look(&chain, &trust, Purpose::Client, later(0)),
            Err(Refusal::WrongPurpose("client"))
        );
    }
}

#[test]
fn what_is_known_of_another_trust_domain_is_refused() {
    let ca = TestCa::new();
    let (trust, chain) = (trust(&ca), ca.sign(&good(B)).0);
    look(&chain, &trust, Purpose::Client, later(0)).unwrap();
    let domain: TrustDomain = "elsewhere.local".parse().unwrap();
    let refusal = verify::peer(&chain[0], &[], &trust, Purpose::Client, later(0), &domain);
    assert!(matches!(refusal, Err(Refusal::ForeignTrustDomain { .. })));
}

#[test]
fn what_is_remembered_is_bounded() {
    let ca = TestCa::new();
    let (trust, chain) = (trust(&ca), ca.sign(&good(B)).0);
    let id = B.parse().unwrap();
    for nth in 0..=known::BOUND as u32 {
        let other = CertificateDer::from(nth.to_be_bytes().to_vec());
        let presented = known::Presented::new(&other, &[], Purpose::Client).unwrap();
        trust.known().remember(presented, &chain[0], &[], &id);
        assert!((1..=known::BOUND).contains(&trust.known().len()));
    }
    let long = [chain[0].clone(), CertificateDer::from(vec![0x30; 5000])];
    let before = trust.known().len();
    assert!(look(&long, &trust, Purpose::Client, later(0)).is_ok());
    assert_eq!(trust.known().len(), before);
}
