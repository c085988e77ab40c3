//! Authorities that are brought along: what fits signs, with its chain; what does not is refused by
//! name; a change is taken up without anybody being cut off.

use std::{fs, path::Path, time::Duration};

use heddle_identity::tls::to_pem;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use super::{OWN, request, wanted};
use crate::ca::{Authority, Policy};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = params(name);
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::from_ca_cert_der(&certificate, key).unwrap();
    Ca {
        issuer,
        certificate,
    }
}

impl Ca {
    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).unwrap();
        Self {
            issuer,
            certificate,
        }
    }

    /// As cert-manager's Secret is mounted.
    fn bring(&self, dir: &Path, between: &[&Self], root: &Self) {
        let pem = |ca: &Self| to_pem("CERTIFICATE", &ca.certificate);
        let chain: String = std::iter::once(&self)
            .chain(between)
            .map(|ca| pem(ca))
            .collect();
        fs::write(dir.join("ca.crt"), pem(root)).unwrap();
        fs::write(dir.join("tls.key"), self.issuer.key().serialize_pem()).unwrap();
        fs::write(dir.join("tls.crt"), chain).unwrap();
    }
}

fn open(data: &Path, brought: &Path, spread: Duration) -> Result<Authority, String> {
    let policy = Policy {
        root_spread: spread,
        ..Policy::default()
    };
    Authority::open(data, policy, Some(brought)).map_err(|error| error.to_string())
}

fn issued(authority: &Authority) -> Vec<CertificateDer<'static>> {
    let csr = request(&wanted(&[OWN], &[]));
    authority
        .issue(&csr, &OWN.parse().unwrap(), None)
        .unwrap()
        .chain
}

/// What a peer with these roots says.
fn accepted(chain: &[CertificateDer<'static>], roots: &[&Ca]) -> bool {
    let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
    let anchors: Vec<_> = roots
        .iter()
        .map(|ca| webpki::anchor_from_trusted_cert(&ca.certificate).unwrap())
        .collect();
    let verified = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain[1..],
        rustls_pki_types::UnixTime::now(),
        webpki::KeyUsage::client_auth(),
        None,
        None,
    );
    verified.is_ok()
}

fn dirs() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

#[test]
fn an_intermediate_signs_and_sends_its_chain() {
    let (data, brought) = dirs();
    let top = root("corporate", |_| {});
    let between = top.below("region", |_| {});
    let mesh = between.below("mesh", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    mesh.bring(brought.path(), &[&between], &top);
    let authority = open(data.path(), brought.path(), Duration::ZERO).unwrap();
    assert_eq!(authority.roots(), std::slice::from_ref(&top.certificate));
    let chain = issued(&authority);
    assert_eq!(
        chain[1..],
        [mesh.certificate.clone(), between.certificate.clone()]
    );
    assert!(accepted(&chain, &[&top]));
    assert!(!accepted(&chain, &[&root("another", |_| {})]));
    // It is kept like one of our own.
    drop(authority);
    let again = Authority::load_or_create(data.path(), Policy::default()).unwrap();
    assert!(accepted(&issued(&again), &[&top]));
}

#[test]
fn an_authority_that_is_a_root_itself_does_too() {
    let (data, brought) = dirs();
    let top = root("self", |_| {});
    top.bring(brought.path(), &[], &top);
    let authority = open(data.path(), brought.path(), Duration::ZERO).unwrap();
    let chain = issued(&authority);
    assert_eq!(chain.len(), 1);
    assert!(accepted(&chain, &[&top]));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let top = root("corporate", |_| {});
    let flat = root("flat", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
    });
    let refused = |ca: &Ca, top: &Ca| {
        let (data, brought) = dirs();
        ca.bring(brought.path(), &[], top);
        let refused = open(data.path(), brought.path(), Duration::ZERO)
            .err()
            .unwrap();
        assert!(
            refused.contains(&brought.path().display().to_string()),
            "{refused}"
        );
        refused
    };
    let cases: [(Ca, &Ca, &str); 6] = [
        (top.below("leaf", |p| p.is_ca = IsCa::NoCa), &top, "CA:TRUE"),
        (flat.below("deep", |_| {}), &flat, "path length 0"),
        (
            top.below("mute", |p| {
                p.key_usages = vec![KeyUsagePurpose::DigitalSignature]
            }),
            &top,
            "keyCertSign",
        ),
        (
            top.below("old", |p| p.not_after = date_time_ymd(2021, 1, 1)),
            &top,
            "expired",
        ),
        (
            top.below("early", |p| p.not_before = date_time_ymd(2100, 1, 1)),
            &top,
            "not valid for another",
        ),
        (flat.below("stranger", |_| {}), &top, "refused by peers"),
    ];
    for (ca, top, reason) in &cases {
        let refused = refused(ca, top);
        assert!(refused.contains(reason), "{reason}: {refused}");
    }

    let (data, brought) = dirs();
    top.bring(brought.path(), &[], &top);
    let other = KeyPair::generate().unwrap();
    fs::write(brought.path().join("tls.key"), other.serialize_pem()).unwrap();
    let refused = open(data.path(), brought.path(), Duration::ZERO)
        .err()
        .unwrap();
    assert!(refused.contains("key beside it"), "{refused}");
}

#[test]
fn a_renewed_intermediate_signs_at_once() {
    let (data, brought) = dirs();
    let top = root("corporate", |_| {});
    top.below("mesh 1", |_| {}).bring(brought.path(), &[], &top);
    let authority = open(data.path(), brought.path(), Duration::from_secs(3600)).unwrap();
    assert!(!authority.refresh().unwrap());
    let second = top.below("mesh 2", |_| {});
    second.bring(brought.path(), &[], &top);
    assert!(authority.refresh().unwrap());
    let chain = issued(&authority);
    assert_eq!(chain[1], second.certificate);
    assert_eq!(authority.roots(), std::slice::from_ref(&top.certificate));
}

#[test]
fn a_new_root_is_trusted_before_it_signs_and_the_old_one_after() {
    let (data, brought) = dirs();
    let (old, new) = (root("old", |_| {}), root("new", |_| {}));
    old.below("mesh 1", |_| {}).bring(brought.path(), &[], &old);
    let authority = open(data.path(), brought.path(), Duration::from_secs(3600)).unwrap();
    let first = issued(&authority);
    let next = new.below("mesh 2", |_| {});
    next.bring(brought.path(), &[], &new);
    assert!(authority.refresh().unwrap());
    assert_eq!(
        authority.roots(),
        [old.certificate.clone(), new.certificate.clone()]
    );
    assert!(
        accepted(&issued(&authority), &[&old]),
        "it does not sign yet"
    );
    // The same state is taken up by a service whose time to wait is over.
    let later = open(data.path(), brought.path(), Duration::ZERO).unwrap();
    assert!(later.refresh().unwrap());
    let chain = issued(&later);
    assert!(accepted(&chain, &[&new]) && chain[1] == next.certificate);
    assert_eq!(
        later.roots(),
        [new.certificate.clone(), old.certificate.clone()],
        "what the old one signed holds on"
    );
    assert!(accepted(&first, &[&new, &old]));
}
