//! Keys in a file that comes, changes and breaks while tokens are verified.

use std::{fs, path::Path};

use serde_json::json;

use super::{Cluster, claims, now, trusted};
use crate::token::{FileKeys, TokenError, Verifier};

fn publish(file: &Path, clusters: &[&Cluster]) {
    let keys: Vec<_> = clusters.iter().map(|cluster| cluster.jwk()).collect();
    let jwks = json!({"keys": keys}).to_string();
    heddle_identity::private_file::write(
        file,
        jwks.as_bytes(),
        heddle_identity::private_file::PUBLIC,
    )
    .unwrap();
}

#[tokio::test]
async fn a_file_is_followed_as_it_comes_changes_and_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let verifier = Verifier::new(trusted(), FileKeys::new(file.clone()));
    let (old, new) = (Cluster::new("old"), Cluster::new("new"));
    let (by_old, by_new) = (old.sign(&claims()), new.sign(&claims()));

    let error = verifier.verify(&by_old, now()).await.unwrap_err();
    assert!(error.is_ours(), "{error}");
    publish(&file, &[&old]);
    verifier.verify(&by_old, now()).await.unwrap();
    assert!(matches!(
        verifier.verify(&by_new, now()).await,
        Err(TokenError::UnknownKey(_))
    ));

    publish(&file, &[&old, &new]);
    verifier.verify(&by_new, now()).await.unwrap();
    verifier.verify(&by_old, now()).await.unwrap();

    publish(&file, &[&new]);
    assert!(matches!(
        verifier.verify(&by_old, now()).await,
        Err(TokenError::UnknownKey(_))
    ));

    // Broken, empty or gone: what was known stays known.
    fs::write(&file, "{\"keys\": [").unwrap();
    verifier.verify(&by_new, now()).await.unwrap();
    fs::write(&file, "{\"keys\": []}").unwrap();
    verifier.verify(&by_new, now()).await.unwrap();
    fs::remove_file(&file).unwrap();
    verifier.verify(&by_new, now()).await.unwrap();

    publish(&file, &[&old]);
    verifier.verify(&by_old, now()).await.unwrap();
}

#[tokio::test]
async fn an_unusable_file_at_the_start_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let token = Cluster::new("k1").sign(&claims());
    for (content, expected) in [
        ("nonsense", "is not a JWKS"),
        ("{\"keys\": []}", "no usable key"),
    ] {
        fs::write(&file, content).unwrap();
        let verifier = Verifier::new(trusted(), FileKeys::new(file.clone()));
        let error = verifier.verify(&token, now()).await.unwrap_err();
        let text = heddle_identity::channel::explain(&error);
        assert!(
            text.contains(expected) && text.contains("jwks.json"),
            "{text}"
        );
    }
}
