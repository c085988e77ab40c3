//! Handshakes that succeed, and what they agree on.

use std::sync::Arc;

use rustls::{NamedGroup, ProtocolVersion};
use rustls_pki_types::UnixTime;

use super::{A, ALPN, B, TestCa, good, handshake};
use crate::tls::{CredentialError, MAX_CACHED_CONFIGS, MeshTls, Refusal};

#[tokio::test]
async fn two_workloads_prove_their_identities_to_each_other() {
    let ca = TestCa::new();
    let (a, b) = (ca.workload(A), ca.workload(B));
    for (server, client) in [(&a, &b), (&b, &a)] {
        let (accepted, connected) = handshake(
            server.server_config(ALPN),
            client.client_config(server.own_id(), ALPN),
        )
        .await;
        let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
        let (accepted, connected) = (accepted.get_ref().1, connected.get_ref().1);
        assert_eq!(
            server
                .peer_id(accepted.peer_certificates().unwrap())
                .as_ref(),
            Some(client.own_id())
        );
        assert_eq!(
            client
                .peer_id(connected.peer_certificates().unwrap())
                .as_ref(),
            Some(server.own_id())
        );
        assert_eq!(accepted.alpn_protocol(), Some(&b"heddle-test"[..]));
        assert_eq!(connected.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = connected.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
    }
}

#[tokio::test]
async fn plain_https_asks_nothing_of_the_client() {
    let ca = TestCa::new();
    let server = ca.workload(A);
    let stranger = MeshTls::new(B.parse().unwrap());
    stranger.set_roots(vec![ca.root.clone()]).unwrap();
    let config = stranger.client_config(server.own_id(), ALPN);
    let (accepted, connected) = handshake(server.tls_server_config(ALPN), config).await;
    assert!(accepted.unwrap().get_ref().1.peer_certificates().is_none());
    assert!(connected.is_ok());
}

#[test]
fn configurations_are_made_once_and_bounded() {
    let ca = TestCa::new();
    let a = ca.workload(A);
    let peer = B.parse().unwrap();
    assert!(Arc::ptr_eq(
        &a.client_config(&peer, ALPN),
        &a.client_config(&peer, ALPN)
    ));
    assert!(Arc::ptr_eq(
        &a.server_config(ALPN),
        &a.clone().server_config(ALPN)
    ));
    assert!(!Arc::ptr_eq(
        &a.server_config(ALPN),
        &a.tls_server_config(ALPN)
    ));
    for number in 0..MAX_CACHED_CONFIGS + 10 {
        a.client_config(
            &format!("spiffe://cluster.local/{number}").parse().unwrap(),
            ALPN,
        );
    }
    assert!(a.0.clients.lock().unwrap().len() <= MAX_CACHED_CONFIGS);
}

#[test]
fn no_session_is_ever_resumed() {
    let a = TestCa::new().workload(A);
    let server = a.server_config(ALPN);
    assert_eq!(server.send_tls13_tickets, 0);
    assert!(!server.session_storage.can_cache());
    assert!(!server.ticketer.enabled());
}

#[test]
fn a_certificate_that_is_not_ours_to_present_is_refused_and_the_one_before_stays() {
    let ca = TestCa::new();
    let tls = ca.workload(A);
    let (chain, _) = ca.sign(&good(A));
    let (_, other_key) = ca.sign(&good(A));
    assert!(matches!(
        tls.set_credential(chain, other_key),
        Err(CredentialError::Key(_))
    ));

    let (chain, key) = ca.sign(&good(B));
    assert!(matches!(
        tls.set_credential(chain, key),
        Err(CredentialError::NotOurs { .. })
    ));

    let (chain, key) = TestCa::new().sign(&good(A));
    let refused = tls.set_credential(chain, key).unwrap_err();
    assert!(
        matches!(
            refused,
            CredentialError::Refused(Refusal::UnknownAuthority(_))
        ),
        "{refused}"
    );

    let mut expired = good(A);
    expired.not_after = expired.not_before + std::time::Duration::from_secs(1);
    let (chain, key) = ca.sign(&expired);
    let refused = tls.set_credential(chain, key).unwrap_err();
    assert!(
        matches!(refused, CredentialError::Refused(Refusal::Expired(_))),
        "{refused}"
    );

    let (_, key) = ca.sign(&good(A));
    assert!(matches!(
        tls.set_credential(Vec::new(), key),
        Err(CredentialError::Empty)
    ));
    assert_eq!(tls.generation(), 1);
    assert!(tls.is_ready());
    assert!(tls.validity().unwrap().holds_at(UnixTime::now()));
}
