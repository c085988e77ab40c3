//! The root on disk: made once, kept, and refused when anything about it is doubtful.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Barrier,
};

use super::{OWN, authority, request, wanted};
use crate::ca::{Authority, Policy, RootError};

fn refused(directory: &Path) -> RootError {
    Authority::load_or_create(directory, Policy::default()).unwrap_err()
}

fn files(directory: &Path) -> (PathBuf, PathBuf) {
    (
        directory.join("root-key.pem"),
        directory.join("root-cert.pem"),
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_root_is_made_once_with_a_private_key_file_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    let first = authority(&nested);
    let (key, certificate) = files(&nested);
    assert_eq!((mode(&key), mode(&certificate)), (0o600, 0o644));
    let leaf = first
        .issue(&request(&wanted(&[OWN], &[])), &OWN.parse().unwrap(), None)
        .unwrap();

    let second = authority(&nested);
    assert_eq!(first.roots(), second.roots());
    // What the first signed, those who trust the second's root accept.
    let tls = heddle_identity::MeshTls::new(OWN.parse().unwrap());
    tls.set_roots(second.roots()).unwrap();
    assert_eq!(tls.peer_id(&leaf.chain).unwrap().as_str(), OWN);
    let years = (second.roots.load().signing.not_after().as_secs()
        - rustls_pki_types::UnixTime::now().as_secs())
        / 86_400;
    assert!((3649..=3650).contains(&years));
}

#[test]
fn services_that_start_at_once_share_one_root() {
    let dir = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(4);
    let roots: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            authority(dir.path()).roots()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    let (key, _) = files(dir.path());
    for bits in [0o640, 0o604, 0o666] {
        fs::set_permissions(&key, fs::Permissions::from_mode(bits)).unwrap();
        let message = refused(dir.path()).to_string();
        assert!(message.contains("chmod 600"), "{message}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    authority(dir.path());
}

#[test]
fn half_a_root_is_refused_and_never_replaced() {
    for missing_key in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        authority(dir.path());
        let (key, certificate) = files(dir.path());
        let (gone, left) = if missing_key {
            (key, certificate)
        } else {
            (certificate, key)
        };
        fs::remove_file(&gone).unwrap();
        let message = refused(dir.path()).to_string();
        assert!(message.contains(&gone.display().to_string()), "{message}");
        assert!(message.contains("backup"), "{message}");
        assert!(left.exists() && !gone.exists());
    }
}

#[test]
fn broken_files_are_refused_by_name() {
    for cut in [0, 20, 100] {
        let dir = tempfile::tempdir().unwrap();
        authority(dir.path());
        let (key, certificate) = files(dir.path());
        let whole = fs::read(&key).unwrap();
        fs::write(&key, &whole[..cut]).unwrap();
        assert!(matches!(refused(dir.path()), RootError::Key(path, _) if path == key));
        fs::write(&key, whole).unwrap();
        let whole = fs::read(&certificate).unwrap();
        fs::write(&certificate, &whole[..cut]).unwrap();
        assert!(
            matches!(refused(dir.path()), RootError::Certificate(path, _) if path == certificate)
        );
    }
}

#[test]
fn a_key_of_another_root_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    authority(dir.path());
    authority(other.path());
    fs::copy(files(other.path()).0, files(dir.path()).0).unwrap();
    let message = refused(dir.path()).to_string();
    assert!(
        message.contains("the key beside it is of another certificate"),
        "{message}"
    );
}

#[test]
fn a_root_of_another_trust_domain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    let policy = Policy {
        trust_domain: "prod.example".parse().unwrap(),
        ..Policy::default()
    };
    let message = Authority::load_or_create(dir.path(), policy)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("another trust domain") && message.contains("spiffe://prod.example"),
        "{message}"
    );
}

#[test]
fn a_leaf_or_an_expired_certificate_is_no_root() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    let (key_file, certificate) = files(dir.path());
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(key_file).unwrap()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    assert!(
        refused(dir.path())
            .to_string()
            .contains("not a certificate of an authority")
    );
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    assert!(refused(dir.path()).to_string().contains("expired"));
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(refused(&file), RootError::Directory(path, _) if path == file));
}
