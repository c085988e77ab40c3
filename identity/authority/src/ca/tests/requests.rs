//! Every certificate request that must be refused.

use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};

use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{OWN, authority, request, wanted};
use crate::ca::{IssueError, Policy, RequestError, request::CertificateRequest};

fn refused_for(csr: &[u8], proven: &str) -> RequestError {
    let dir = tempfile::tempdir().unwrap();
    match authority(dir.path()).issue(csr, &proven.parse().unwrap(), None) {
        Err(IssueError::Request(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn refused(csr: &[u8]) -> RequestError {
    refused_for(csr, OWN)
}

#[test]
fn only_exactly_the_proven_identity_may_be_asked_for() {
    let other = "spiffe://cluster.local/ns/shop/sa/ratings";
    for asked in [
        other,
        "spiffe://evil.org/ns/shop/sa/reviews",
        "spiffe://cluster.local/ns/shop/sa/reviews\0",
        "spiffe://cluster.local/ns/shop/sa/*",
    ] {
        let error = refused(&request(&wanted(&[asked], &[])));
        assert_eq!(
            error,
            RequestError::OtherIdentity {
                asked: asked.into(),
                proven: OWN.parse().unwrap()
            }
        );
    }
    let message = refused(&request(&wanted(&[other], &[]))).to_string();
    assert!(
        message.contains(other) && message.contains(OWN),
        "{message}"
    );
    for (uris, found) in [(vec![OWN, other], 2), (vec![OWN, OWN], 2), (vec![], 0)] {
        let error = refused(&request(&wanted(&uris, &[])));
        assert_eq!(
            error,
            RequestError::UriCount {
                found,
                proven: OWN.parse().unwrap()
            }
        );
    }
}

#[test]
fn dns_names_are_only_for_system_accounts_and_only_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let system = "spiffe://cluster.local/ns/heddle-system/sa/heddle-injector";
    let own = "heddle-injector.heddle-system.svc";
    let good = request(&wanted(
        &[system],
        &[own, "heddle-injector.heddle-system.svc.cluster.local"],
    ));
    let issued = authority
        .issue(&good, &system.parse().unwrap(), None)
        .unwrap();
    let leaf = webpki::EndEntityCert::try_from(&issued.chain[0]).unwrap();
    assert_eq!(leaf.valid_dns_names().count(), 2);

    for name in [
        "heddle-control.heddle-system.svc",
        "*.heddle-system.svc",
        "heddle-injector",
        "kubernetes.default.svc",
        "*",
    ] {
        let error = refused_for(&request(&wanted(&[system], &[name])), system);
        assert_eq!(
            error,
            RequestError::DnsName(name.into(), system.parse().unwrap())
        );
    }
    let error = refused(&request(&wanted(&[OWN], &["reviews.shop.svc"])));
    assert_eq!(
        error,
        RequestError::DnsName("reviews.shop.svc".into(), OWN.parse().unwrap())
    );
    // A foreign namespace of the same name in another position is no system namespace.
    let odd = "spiffe://cluster.local/ns/shop/sa/heddle-system";
    assert!(matches!(
        refused_for(&request(&wanted(&[odd], &[own])), odd),
        RequestError::DnsName(..)
    ));
}

#[test]
fn other_kinds_of_names_are_refused() {
    let mut params = wanted(&[OWN], &[]);
    params
        .subject_alt_names
        .push(rcgen::SanType::IpAddress([10, 0, 0, 1].into()));
    assert!(matches!(
        refused(&request(&params)),
        RequestError::OtherName(_)
    ));
    params.subject_alt_names.pop();
    params
        .subject_alt_names
        .push(rcgen::SanType::Rfc822Name("a@b".try_into().unwrap()));
    assert!(matches!(
        refused(&request(&params)),
        RequestError::OtherName(_)
    ));
}

#[test]
fn nobody_becomes_an_authority() {
    let mut params = wanted(&[OWN], &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(refused(&request(&params)), RequestError::Authority);
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let mut params = wanted(&[OWN], &[]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, usage];
        assert_eq!(refused(&request(&params)), RequestError::Authority);
    }
}

#[test]
fn other_usages_and_extensions_are_refused() {
    for usage in [
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::CodeSigning,
        ExtendedKeyUsagePurpose::Other(vec![1, 2, 3]),
    ] {
        let mut params = wanted(&[OWN], &[]);
        params.extended_key_usages = vec![usage];
        assert_eq!(refused(&request(&params)), RequestError::Usage);
    }
    let mut params = wanted(&[OWN], &[]);
    params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
    assert_eq!(refused(&request(&params)), RequestError::Usage);
    // Name constraints, and something nobody knows.
    for oid in [&[2, 5, 29, 30][..], &[1, 3, 6, 1, 4, 1, 99_999, 1]] {
        let mut params = wanted(&[OWN], &[]);
        params.custom_extensions = vec![CustomExtension::from_oid_content(oid, vec![0x30, 0])];
        assert!(matches!(
            refused(&request(&params)),
            RequestError::Extension(_)
        ));
    }
}

#[test]
fn usual_usages_are_fine_and_the_subject_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut params = wanted(&[OWN], &[]);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "admin");
    let issued = authority(dir.path())
        .issue(&request(&params), &OWN.parse().unwrap(), None)
        .unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&issued.chain[0]).unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
}

#[test]
fn keys_other_than_p256_are_refused() {
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let csr = wanted(&[OWN], &[]).serialize_request(&key).unwrap();
        assert_eq!(refused(csr.der()), RequestError::Key);
    }
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let mut csr = request(&wanted(&[OWN], &[]));
    let last = csr.len() - 1;
    csr[last] ^= 1;
    assert_eq!(refused(&csr), RequestError::Signature);

    // Another identity of the same length, under the signature of the first.
    let mut csr = request(&wanted(&["spiffe://cluster.local/ns/shop/sa/ratings"], &[]));
    let at = csr
        .windows(7)
        .position(|window| window == b"ratings")
        .unwrap();
    csr[at..at + 7].copy_from_slice(b"reviews");
    assert_eq!(refused(&csr), RequestError::Signature);
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let csr = request(&wanted(&[OWN], &[]));
    for cut in 0..csr.len() {
        assert!(
            matches!(check(&csr[..cut]), Err(RequestError::Malformed(_))),
            "cut at {cut}"
        );
    }
    let (_, parsed) = X509CertificationRequest::from_der(&csr).unwrap();
    let signed = parsed.certification_request_info.raw;
    let start = signed.as_ptr() as usize - csr.as_ptr() as usize;
    for at in 0..csr.len() {
        let mut changed = csr.clone();
        changed[at] ^= 0x5a;
        let outcome = check(&changed);
        assert!(
            outcome.is_err() || !(start..start + signed.len()).contains(&at),
            "byte {at}"
        );
    }
    let mut trailing = csr.clone();
    trailing.push(0);
    assert!(matches!(refused(&trailing), RequestError::Malformed(_)));
    assert!(matches!(
        refused(&vec![0x30; 100_000]),
        RequestError::Malformed(_)
    ));
}

fn check(csr: &[u8]) -> Result<CertificateRequest, RequestError> {
    CertificateRequest::check(csr, &OWN.parse().unwrap(), &Policy::default())
}
