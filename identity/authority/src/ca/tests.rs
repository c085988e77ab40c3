//! What the authority signs, and what it refuses to.
#![allow(clippy::unwrap_used)]

mod brought;
mod requests;
mod roots;
mod rotation;

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::*;

const OWN: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

fn authority(directory: &Path) -> Authority {
    Authority::load_or_create(directory, Policy::default()).unwrap()
}

fn wanted(uris: &[&str], dns: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uris = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()));
    let dns = dns
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = uris.chain(dns).collect();
    params
}

fn request(params: &CertificateParams) -> Vec<u8> {
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
}

#[test]
fn a_certificate_is_as_the_spiffe_standard_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let key = KeyPair::generate().unwrap();
    let csr = wanted(&[OWN], &[]).serialize_request(&key).unwrap();
    let issued = authority
        .issue(csr.der(), &OWN.parse().unwrap(), None)
        .unwrap();
    assert_eq!(issued.chain.len(), 1);

    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(
        leaf.public_key().raw,
        rcgen::PublicKeyData::subject_public_key_info(&key)
    );
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf
        .extensions()
        .iter()
        .find(|ext| ext.oid == x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME);
    assert!(names.unwrap().critical, "the subject is empty");
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [x509_parser::extensions::GeneralName::URI(OWN)]
    );
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.flags == 1);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any);
    assert!(!leaf.is_ca());
    assert_eq!(leaf.raw_serial().len(), 16);

    let now = UnixTime::now().as_secs();
    let life = issued.validity.not_after.as_secs() - now;
    assert!((86_395..=86_400).contains(&life), "{life}");
    let backdated = now - issued.validity.not_before.as_secs();
    assert!((60..=65).contains(&backdated), "{backdated}");
    assert_eq!(
        leaf.validity().not_after.timestamp().unsigned_abs(),
        issued.validity.not_after.as_secs()
    );

    // It is what peers accept.
    let tls = heddle_identity::MeshTls::new(OWN.parse().unwrap());
    tls.set_roots(authority.roots()).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    tls.set_credential(issued.chain, key.into()).unwrap();
}

#[test]
fn serials_are_long_and_never_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let csr = request(&wanted(&[OWN], &[]));
    let id = OWN.parse().unwrap();
    let serials: std::collections::HashSet<String> = (0..50)
        .map(|_| authority.issue(&csr, &id, None).unwrap().serial)
        .collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| serial.len() == 32));
}

#[test]
fn lifetimes_are_cut_to_the_longest_and_to_the_roots_end() {
    let dir = tempfile::tempdir().unwrap();
    let csr = request(&wanted(&[OWN], &[]));
    let id = OWN.parse().unwrap();
    let life = |authority: &Authority, ttl| {
        let issued = authority.issue(&csr, &id, ttl).unwrap();
        issued.validity.not_after.as_secs() - UnixTime::now().as_secs()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let ordinary = authority(dir.path());
    assert!(life(&ordinary, seconds(10)) <= 10);
    assert!(life(&ordinary, seconds(u64::MAX)) <= 7 * 86_400);

    let years = Duration::from_secs(50 * 365 * 86_400);
    let policy = Policy {
        max_ttl: years,
        ..Policy::default()
    };
    let generous = Authority::load_or_create(dir.path(), policy).unwrap();
    let issued = generous.issue(&csr, &id, Some(years)).unwrap();
    assert_eq!(
        issued.validity.not_after,
        generous.roots.load().signing.not_after()
    );
}
