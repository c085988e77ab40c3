//! Tokens that prove an identity, and every kind that must not.
#![allow(clippy::unwrap_used)]

mod files;

use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;

use super::*;

const NOW: u64 = 1_800_000_000;

/// An issuer of tokens with one P-256 key.
struct Cluster {
    key: KeyPair,
    kid: &'static str,
}

/// Keys that never change.
struct Fixed(Arc<KeySet>);

#[tonic::async_trait]
impl KeySource for Fixed {
    async fn keys(&self) -> Result<Arc<KeySet>, KeysError> {
        Ok(self.0.clone())
    }
    async fn refresh(&self) -> Result<Arc<KeySet>, KeysError> {
        Ok(self.0.clone())
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Cluster {
    fn new(kid: &'static str) -> Self {
        Self {
            key: KeyPair::generate().unwrap(),
            kid,
        }
    }

    fn jwk(&self) -> Value {
        let point = &self.key.der_bytes()[1..];
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": base64(&point[..32]), "y": base64(&point[32..]),
        })
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.into());
        encode(
            &header,
            claims,
            &EncodingKey::from_ec_der(self.key.serialized_der()),
        )
        .unwrap()
    }

    fn verifier(&self) -> Verifier<Fixed> {
        verifier_of(&json!({"keys": [self.jwk()]}))
    }
}

fn verifier_of(jwks: &Value) -> Verifier<Fixed> {
    let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    Verifier::new(trusted(), Fixed(Arc::new(keys)))
}

fn trusted() -> Trusted {
    Trusted {
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        audience: "heddle".into(),
        trust_domain: TrustDomain::default(),
    }
}

/// A projected token's claims, as a kubelet gets them from the API server.
fn claims() -> Value {
    json!({
        "aud": ["heddle"],
        "exp": NOW + 3600,
        "iat": NOW,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": "0d9e1bd5-2b1f-4a3a-9a2e-0c1c7f4f3a11",
        "kubernetes.io": {
            "namespace": "shop",
            "pod": {"name": "reviews-1", "uid": "5c0f"},
            "serviceaccount": {"name": "reviews", "uid": "77aa"},
        },
        "nbf": NOW,
        "sub": "system:serviceaccount:shop:reviews",
    })
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW))
}

async fn refused(change: impl FnOnce(&mut Value)) -> TokenError {
    let cluster = Cluster::new("k1");
    let mut claims = claims();
    change(&mut claims);
    cluster
        .verifier()
        .verify(&cluster.sign(&claims), now())
        .await
        .unwrap_err()
}

async fn refused_claims(change: impl FnOnce(&mut Value)) -> ClaimsError {
    match refused(change).await {
        TokenError::Claims(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_proves_the_service_accounts_identity() {
    let cluster = Cluster::new("k1");
    let verifier = cluster.verifier();
    let id = verifier
        .verify(&cluster.sign(&claims()), now())
        .await
        .unwrap();
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/reviews");
    let mut one = claims();
    one["aud"] = json!("heddle");
    assert_eq!(
        verifier.verify(&cluster.sign(&one), now()).await.unwrap(),
        id
    );
    one["aud"] = json!(["other", "heddle"]);
    assert_eq!(
        verifier.verify(&cluster.sign(&one), now()).await.unwrap(),
        id
    );
}

#[tokio::test]
async fn rsa_keys_are_believed_as_clusters_publish_them() {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let spki = key.subject_public_key_info();
    let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki).unwrap();
    let x509_parser::public_key::PublicKey::RSA(rsa) = spki.parsed().unwrap() else {
        panic!()
    };
    let modulus = base64(&rsa.modulus[1..]);
    let jwk =
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "r1", "n": modulus, "e": "AQAB"});
    let header = base64(json!({"alg": "RS256", "kid": "r1"}).to_string().as_bytes());
    let signed = format!("{header}.{}", base64(claims().to_string().as_bytes()));
    let token = format!("{signed}.{}", base64(&key.sign(signed.as_bytes()).unwrap()));

    let verifier = verifier_of(&json!({"keys": [jwk]}));
    verifier.verify(&token, now()).await.unwrap();
    let forged = format!("{signed}.{}", base64(&[7; 256]));
    assert!(matches!(
        verifier.verify(&forged, now()).await,
        Err(TokenError::Signature)
    ));
}

#[tokio::test]
async fn times_are_kept_with_a_small_leeway() {
    let cluster = Cluster::new("k1");
    let verifier = cluster.verifier();
    for (claim, offset, good) in [
        ("exp", -9, true),
        ("exp", -11, false),
        ("nbf", 9, true),
        ("nbf", 11, false),
    ] {
        let mut claims = claims();
        claims[claim] = json!(NOW.checked_add_signed(offset).unwrap());
        let outcome = verifier.verify(&cluster.sign(&claims), now()).await;
        assert_eq!(outcome.is_ok(), good, "{claim} {offset} {outcome:?}");
    }
    assert_eq!(
        refused_claims(|c| c["exp"] = json!(NOW - 60)).await,
        ClaimsError::Expired(60)
    );
    assert_eq!(
        refused_claims(|c| c["nbf"] = json!(NOW + 60)).await,
        ClaimsError::NotYetValid(60)
    );
}

#[tokio::test]
async fn claims_of_others_are_refused() {
    let error = refused_claims(|c| c["iss"] = json!("https://evil.org")).await;
    assert!(matches!(error, ClaimsError::Issuer { .. }), "{error}");
    for audience in [
        json!("api"),
        json!(["api", "vault"]),
        json!([]),
        json!("heddle2"),
    ] {
        let error = refused_claims(|c| c["aud"] = audience).await;
        assert_eq!(error, ClaimsError::Audience("heddle".into()));
    }
    for subject in [
        "shop:reviews",
        "system:node:n1",
        "system:serviceaccount:shop",
        "",
    ] {
        let error = refused_claims(|c| c["sub"] = json!(subject)).await;
        assert_eq!(error, ClaimsError::Subject(subject.into()));
    }
    for (field, value) in [
        ("namespace", json!("bank")),
        ("serviceaccount", json!({"name": "ratings"})),
    ] {
        let error = refused_claims(|c| c["kubernetes.io"][field] = value).await;
        assert!(matches!(error, ClaimsError::Inconsistent { .. }), "{error}");
    }
    let error = refused_claims(|c| {
        c["sub"] = json!("system:serviceaccount:shop:a/sa/b");
        c["kubernetes.io"]["serviceaccount"]["name"] = json!("a/sa/b");
    })
    .await;
    assert!(matches!(error, ClaimsError::Name(_)), "{error}");
}

#[tokio::test]
async fn missing_or_misshapen_claims_are_refused() {
    for claim in ["exp", "iss", "aud", "sub", "kubernetes.io"] {
        let error = refused_claims(|c| drop(c.as_object_mut().unwrap().remove(claim))).await;
        assert!(
            matches!(error, ClaimsError::Malformed(_)),
            "{claim}: {error}"
        );
    }
    for (claim, value) in [
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("aud", json!({})),
        ("sub", json!(7)),
    ] {
        let error = refused_claims(|c| c[claim] = value.clone()).await;
        assert!(
            matches!(error, ClaimsError::Malformed(_)),
            "{claim} {value}: {error}"
        );
    }
}

#[tokio::test]
async fn signatures_of_others_and_changed_tokens_are_refused() {
    let (ours, evil) = (Cluster::new("k1"), Cluster::new("k1"));
    let verifier = ours.verifier();
    let error = verifier
        .verify(&evil.sign(&claims()), now())
        .await
        .unwrap_err();
    assert!(matches!(error, TokenError::Signature), "{error}");

    let token = ours.sign(&claims());
    let mut parts: Vec<&str> = token.split('.').collect();
    let mut admin = claims();
    admin["sub"] = json!("system:serviceaccount:heddle-system:heddle-control");
    let body = base64(admin.to_string().as_bytes());
    parts[1] = &body;
    let error = verifier.verify(&parts.join("."), now()).await.unwrap_err();
    assert!(matches!(error, TokenError::Signature), "{error}");

    let stranger = Cluster::new("k2");
    let error = verifier
        .verify(&stranger.sign(&claims()), now())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, TokenError::UnknownKey(kid) if kid == "k2"),
        "{error}"
    );
}

#[tokio::test]
async fn weak_algorithms_are_refused_before_any_key_is_looked_at() {
    let cluster = Cluster::new("k1");
    let verifier = cluster.verifier();
    let body = base64(claims().to_string().as_bytes());
    for algorithm in [
        "none", "None", "NONE", "", "HS256", "HS512", "PS256", "EdDSA",
    ] {
        let header = base64(
            json!({"alg": algorithm, "kid": "k1", "typ": "JWT"})
                .to_string()
                .as_bytes(),
        );
        for signature in ["", "AAAA"] {
            let error = verifier
                .verify(&format!("{header}.{body}.{signature}"), now())
                .await
                .unwrap_err();
            assert!(
                matches!(error, TokenError::Algorithm),
                "{algorithm}: {error:?}"
            );
        }
    }
    // HMAC with the public key as the secret: the classic.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".into());
    let secret = EncodingKey::from_secret(&cluster.key.subject_public_key_info());
    let token = encode(&header, &claims(), &secret).unwrap();
    assert!(matches!(
        verifier.verify(&token, now()).await,
        Err(TokenError::Algorithm)
    ));
    // An algorithm that is allowed, but not with this key.
    let header = base64(json!({"alg": "RS256", "kid": "k1"}).to_string().as_bytes());
    let error = verifier
        .verify(&format!("{header}.{body}.AAAA"), now())
        .await
        .unwrap_err();
    assert!(matches!(error, TokenError::UnknownKey(_)), "{error:?}");
}

#[tokio::test]
async fn garbage_and_giants_are_refused() {
    let cluster = Cluster::new("k1");
    let verifier = cluster.verifier();
    let token = cluster.sign(&claims());
    for garbage in [
        "",
        ".",
        "..",
        "a.b.c",
        "...",
        &token[..token.len() / 2],
        &token.replace('.', ""),
    ] {
        assert!(verifier.verify(garbage, now()).await.is_err(), "{garbage}");
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert!(matches!(
        verifier.verify(&long, now()).await,
        Err(TokenError::TooLong)
    ));
    let header = base64(
        json!({"alg": "ES256", "kid": "k1", "crit": ["b64"]})
            .to_string()
            .as_bytes(),
    );
    let critical = format!("{header}.{}", token.split_once('.').unwrap().1);
    assert!(matches!(
        verifier.verify(&critical, now()).await,
        Err(TokenError::Malformed)
    ));
}

#[tokio::test]
async fn a_token_without_key_id_needs_the_only_key() {
    let cluster = Cluster::new("k1");
    let header = Header::new(Algorithm::ES256);
    let key = EncodingKey::from_ec_der(cluster.key.serialized_der());
    let token = encode(&header, &claims(), &key).unwrap();
    assert!(cluster.verifier().verify(&token, now()).await.is_ok());
    let two = verifier_of(&json!({"keys": [cluster.jwk(), Cluster::new("k2").jwk()]}));
    assert!(matches!(
        two.verify(&token, now()).await,
        Err(TokenError::UnknownKey(_))
    ));
}

#[test]
fn keys_that_cannot_be_used_are_passed_over() {
    let mut encryption = Cluster::new("k2").jwk();
    encryption["use"] = json!("enc");
    let jwks = json!({"keys": [
        Cluster::new("k1").jwk(),
        encryption,
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k3", "alg": "HS256"},
        {"kty": "unheard-of", "kid": "k4"},
        {"kty": "EC", "crv": "P-256", "kid": "k5", "x": "AA", "y": "!"},
    ]});
    assert_eq!(
        KeySet::from_jwks(jwks.to_string().as_bytes())
            .unwrap()
            .len(),
        1
    );
    assert!(KeySet::from_jwks(b"{}").is_err());
    let many = json!({"keys": vec![Cluster::new("k1").jwk(); 65]});
    assert!(KeySet::from_jwks(many.to_string().as_bytes()).is_err());
}
