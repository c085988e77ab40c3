//! One root follows another: announced, signing, retired, gone; across restarts, crashes and hands.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls_pki_types::CertificateDer;

use super::{OWN, request, wanted};
use crate::ca::{Authority, Policy, RootError, announce, drop_retired};
use heddle_identity::TrustDomain;

fn authority(directory: &Path, spread: u64, max_ttl: u64) -> Authority {
    let policy = Policy {
        root_spread: Duration::from_secs(spread),
        max_ttl: Duration::from_secs(max_ttl),
        ..Policy::default()
    };
    Authority::load_or_create(directory, policy).unwrap()
}

fn rotate(directory: &Path) -> Result<(), RootError> {
    announce(directory, &TrustDomain::default())
}

fn issue(authority: &Authority) -> Vec<CertificateDer<'static>> {
    let csr = request(&wanted(&[OWN], &[]));
    let issued = authority.issue(&csr, &OWN.parse().unwrap(), None);
    issued.unwrap().chain
}

/// Whether those who trust `roots` alone accept this certificate.
fn accepted(chain: &[CertificateDer<'static>], roots: &[CertificateDer<'static>]) -> bool {
    let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
    let anchors: Vec<_> = roots
        .iter()
        .map(|root| webpki::anchor_from_trusted_cert(root).unwrap())
        .collect();
    let verified = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &[],
        rustls_pki_types::UnixTime::now(),
        webpki::KeyUsage::client_auth(),
        None,
        None,
    );
    verified.is_ok()
}

fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    entries
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .collect()
}

#[test]
fn a_new_root_is_trusted_first_signs_next_and_outlives_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path(), 1, 3600);
    let old = authority.roots();
    assert!(!authority.refresh().unwrap(), "nothing has happened");

    rotate(dir.path()).unwrap();
    assert!(authority.refresh().unwrap());
    let both = authority.roots();
    assert_eq!((both.len(), &both[0]), (2, &old[0]));
    let before = issue(&authority);
    assert!(
        accepted(&before, &old),
        "nobody has to know the new one yet"
    );

    std::thread::sleep(Duration::from_millis(1100));
    assert!(authority.refresh().unwrap());
    let swapped = authority.roots();
    assert_eq!(swapped, [both[1].clone(), both[0].clone()]);
    let after = issue(&authority);
    assert!(accepted(&after, &swapped[..1]) && !accepted(&after, &old));
    assert!(accepted(&before, &swapped), "it is good until it expires");
    assert!(!authority.refresh().unwrap());

    assert_eq!(drop_retired(dir.path()).unwrap(), 1);
    assert!(authority.refresh().unwrap());
    assert_eq!(authority.roots(), swapped[..1]);
    assert!(!accepted(&before, &authority.roots()));
    assert_eq!(drop_retired(dir.path()).unwrap(), 0);
}

#[test]
fn a_retired_root_goes_when_what_it_signed_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path(), 0, 1);
    rotate(dir.path()).unwrap();
    assert!(authority.refresh().unwrap());
    assert!(authority.refresh().unwrap());
    assert_eq!(authority.roots().len(), 2);
    let [retired] = &files(dir.path(), "retired-")[..] else {
        panic!("one retired root is expected")
    };
    // Its time is in its name: the lifetime of a certificate and a minute for slow clocks.
    let name = retired.file_name().unwrap().to_str().unwrap();
    let until: u64 = name.split('-').nth(1).unwrap().parse().unwrap();
    let left = until - rustls_pki_types::UnixTime::now().as_secs();
    assert!((55..=61).contains(&left), "{left}");
    fs::rename(retired, dir.path().join("retired-1000-aa.pem")).unwrap();
    assert!(authority.refresh().unwrap());
    assert_eq!(authority.roots().len(), 1);
    assert!(files(dir.path(), "retired-").is_empty());
}

#[test]
fn a_restart_gives_the_bundle_its_time_anew_and_keeps_every_root() {
    let dir = tempfile::tempdir().unwrap();
    let first = authority(dir.path(), 3600, 3600);
    rotate(dir.path()).unwrap();
    let second = authority(dir.path(), 0, 3600);
    assert_eq!(second.roots().len(), 2);
    assert_eq!(
        second.roots()[0],
        first.roots()[0],
        "not before it was given out"
    );
    assert!(second.refresh().unwrap());
    let roots = second.roots();
    assert_eq!(roots[1], first.roots()[0]);
    assert_eq!(authority(dir.path(), 0, 3600).roots(), roots);
    // The other one of two services on one directory follows.
    assert!(first.refresh().unwrap());
    assert_eq!(first.roots(), roots);
}

#[test]
fn a_crash_between_two_steps_is_finished_later() {
    let dir = tempfile::tempdir().unwrap();
    let before = authority(dir.path(), 3600, 3600).roots();
    rotate(dir.path()).unwrap();
    let next = files(dir.path(), "next-root.pem").remove(0);
    // Decided, but not yet written where the signing root is: not at all, or the key alone.
    fs::rename(&next, dir.path().join("promoted-root.pem")).unwrap();
    let key = fs::read_to_string(dir.path().join("promoted-root.pem")).unwrap();
    let end = key.find("-----BEGIN CERTIFICATE").unwrap();
    fs::write(dir.path().join("root-key.pem"), &key[..end]).unwrap();
    let after = authority(dir.path(), 3600, 3600);
    assert_ne!(after.roots()[0], before[0]);
    assert!(accepted(&issue(&after), &after.roots()[..1]));
    assert!(files(dir.path(), "promoted-").is_empty());
}

#[test]
fn one_rotation_at_a_time_and_none_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(rotate(dir.path()), Err(RootError::None(_))));
    let authority = authority(dir.path(), 3600, 3600);
    rotate(dir.path()).unwrap();
    let error = rotate(dir.path()).unwrap_err();
    assert!(matches!(&error, RootError::UnderWay(file) if file.ends_with("next-root.pem")));
    authority.refresh().unwrap();
    // Called off.
    fs::remove_file(dir.path().join("next-root.pem")).unwrap();
    assert!(authority.refresh().unwrap());
    assert_eq!(authority.roots().len(), 1);
    rotate(dir.path()).unwrap();
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path(), 0, 3600);
    let roots = authority.roots();
    rotate(dir.path()).unwrap();
    let next = dir.path().join("next-root.pem");
    let whole = fs::read(&next).unwrap();
    fs::write(&next, &whole[..whole.len() / 2]).unwrap();
    assert!(authority.refresh().is_err());
    assert_eq!(authority.roots(), roots);
    assert!(accepted(&issue(&authority), &roots));
    // Of somebody else's trust domain.
    let other = tempfile::tempdir().unwrap();
    let policy = Policy {
        trust_domain: "other.example".parse().unwrap(),
        ..Policy::default()
    };
    Authority::load_or_create(other.path(), policy).unwrap();
    announce(other.path(), &"other.example".parse().unwrap()).unwrap();
    fs::copy(other.path().join("next-root.pem"), &next).unwrap();
    let refused = authority.refresh().unwrap_err().to_string();
    assert!(refused.contains("other.example"), "{refused}");
    // A directory that is emptied under the service makes no new root.
    fs::remove_file(&next).unwrap();
    fs::remove_file(dir.path().join("root-key.pem")).unwrap();
    fs::remove_file(dir.path().join("root-cert.pem")).unwrap();
    assert!(matches!(authority.refresh(), Err(RootError::None(_))));
    assert_eq!(authority.roots(), roots);
}
