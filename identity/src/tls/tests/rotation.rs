//! New certificates and new roots under live connections.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{A, ALPN, B, TestCa, client_refuses, good, handshake, server_refuses};
use crate::tls::{
    MAX_ROOTS, MeshTls, Refusal, RootsError, Standing, parse_pem_bundle, to_pem_bundle,
};

#[tokio::test]
async fn a_connection_made_before_a_renewal_keeps_working_and_the_next_sees_the_new_certificate() {
    let ca = TestCa::new();
    let (a, b) = (ca.workload(A), ca.workload(B));
    let (server, client) = (a.server_config(ALPN), b.client_config(a.own_id(), ALPN));
    let (accepted, connected) = handshake(server.clone(), client.clone()).await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    let before = connected.get_ref().1.peer_certificates().unwrap().to_vec();

    let (chain, key) = ca.sign(&good(A));
    a.set_credential(chain.clone(), key).unwrap();
    assert_eq!(a.generation(), 2);

    connected.write_all(b"still here").await.unwrap();
    let mut text = [0; 10];
    accepted.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"still here");

    let (_, connected) = handshake(server, client).await;
    let after = connected
        .unwrap()
        .get_ref()
        .1
        .peer_certificates()
        .unwrap()
        .to_vec();
    assert_ne!(before, after);
    assert_eq!(after, chain);
}

#[tokio::test]
async fn roots_rotate_by_overlap_under_the_same_configurations() {
    let (old, new) = (TestCa::new(), TestCa::new());
    let (a, b) = (old.workload(A), old.workload(B));
    let (server, client) = (a.server_config(ALPN), b.client_config(a.own_id(), ALPN));

    let both = vec![old.root.clone(), new.root.clone()];
    a.set_roots(both.clone()).unwrap();
    b.set_roots(both).unwrap();
    let (chain, key) = new.sign(&good(A));
    a.set_credential(chain, key).unwrap();
    let (accepted, connected) = handshake(server.clone(), client.clone()).await;
    assert!(accepted.is_ok() && connected.is_ok());

    // The old root goes before b has a certificate of the new one: b is a stranger now.
    a.set_roots(vec![new.root.clone()]).unwrap();
    let refusal = server_refuses(server.clone(), client.clone()).await;
    assert_eq!(refusal, Refusal::UnknownAuthority(B.parse().unwrap()));
    let (chain, key) = new.sign(&good(B));
    b.set_credential(chain, key).unwrap();
    let (accepted, connected) = handshake(server.clone(), client.clone()).await;
    assert!(accepted.is_ok() && connected.is_ok());

    b.set_roots(vec![old.root.clone()]).unwrap();
    let refusal = client_refuses(server, client).await;
    assert_eq!(refusal, Refusal::UnknownAuthority(A.parse().unwrap()));
}

#[test]
fn pushed_roots_outrank_suggested_ones() {
    let (file, pushed) = (TestCa::new().root, TestCa::new().root);
    let tls = MeshTls::new(A.parse().unwrap());
    tls.suggest_roots(vec![file.clone()]).unwrap();
    assert_eq!(tls.roots()[..], vec![file.clone()]);
    tls.set_roots(vec![pushed.clone()]).unwrap();
    tls.suggest_roots(vec![file]).unwrap();
    assert_eq!(*tls.roots(), [pushed]);
}

#[test]
fn roots_that_come_with_a_certificate_are_added_to_pushed_ones_until_the_next_push() {
    let (old, new) = (TestCa::new(), TestCa::new());
    let tls = old.workload(A);
    tls.set_roots(vec![old.root.clone()]).unwrap();
    let mut changed = tls.roots_changed();
    // The control plane is away, and the identity service signs with a new root.
    tls.learn_roots(vec![new.root.clone(), old.root.clone()])
        .unwrap();
    assert_eq!(*tls.roots(), [new.root.clone(), old.root.clone()]);
    let (chain, key) = new.sign(&good(A));
    tls.set_credential(chain, key).unwrap();
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    tls.learn_roots(vec![new.root.clone()]).unwrap();
    assert_eq!(*tls.roots(), [new.root.clone(), old.root.clone()]);
    assert!(!changed.has_changed().unwrap());
    tls.set_roots(vec![new.root.clone()]).unwrap();
    assert_eq!(*tls.roots(), [new.root]);
}

#[test]
fn a_certificate_stands_as_the_roots_say() {
    let (old, new) = (TestCa::new(), TestCa::new());
    let a = old.workload(A);
    for (roots, standing) in [
        (vec![&old.root], Standing::Current),
        (vec![&old.root, &new.root], Standing::Current),
        (vec![&new.root, &old.root], Standing::Outgoing),
        (vec![&new.root], Standing::Lost),
    ] {
        a.set_roots(roots.into_iter().cloned().collect()).unwrap();
        assert_eq!(a.standing(), standing);
    }
    assert_eq!(
        MeshTls::new(A.parse().unwrap()).standing(),
        Standing::Current
    );
}

#[test]
fn a_bad_bundle_leaves_the_one_before() {
    let root = TestCa::new().root;
    let tls = MeshTls::new(A.parse().unwrap());
    tls.set_roots(vec![root.clone()]).unwrap();
    assert!(matches!(tls.set_roots(Vec::new()), Err(RootsError::Empty)));
    let broken = vec![root.clone(), b"no certificate".to_vec().into()];
    assert!(matches!(tls.set_roots(broken), Err(RootsError::Bad(2, _))));
    let many = vec![root.clone(); MAX_ROOTS + 1];
    assert!(matches!(tls.set_roots(many), Err(RootsError::TooMany(65))));
    assert_eq!(*tls.roots(), [root]);
}

#[test]
fn bundles_read_back_from_pem() {
    let roots = vec![TestCa::new().root, TestCa::new().root];
    let pem = to_pem_bundle(&roots);
    assert_eq!(parse_pem_bundle(pem.as_bytes()).unwrap(), roots);
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert!(matches!(parse_pem_bundle(b""), Err(RootsError::Empty)));
    let half = &pem.as_bytes()[..pem.len() - 30];
    assert!(matches!(parse_pem_bundle(half), Err(RootsError::Pem(_))));
}

#[test]
fn clones_share_everything() {
    let ca = TestCa::new();
    let a = ca.workload(A);
    let clone = a.clone();
    let (chain, key) = ca.sign(&good(A));
    a.set_credential(chain, key).unwrap();
    assert_eq!(clone.generation(), 2);
    assert!(Arc::ptr_eq(
        &clone.server_config(ALPN),
        &a.server_config(ALPN)
    ));
}
