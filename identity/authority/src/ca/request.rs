//! Certificate requests: what a holder of a proved identity may ask for.
//!
//! Everything in a request that could widen a certificate must be known and allowed; the rest
//! refuses the whole request. The subject is ignored and never copied.

use std::collections::BTreeSet;

use rcgen::SubjectPublicKeyInfo;
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, Oid},
    prelude::FromDer,
};

use super::Policy;
use heddle_identity::SpiffeId;

/// A request with a P-256 key and its names takes about 400 bytes.
const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It cannot be read.
    #[error("the certificate request is malformed: {0}; send one PKCS #10 request in DER")]
    Malformed(String),
    /// Whoever sent it does not hold the key.
    #[error("the certificate request is not signed with its own key")]
    Signature,
    /// Not P-256.
    #[error("the certificate request's key is not an ECDSA key on P-256; make one that is")]
    Key,
    /// No URI, or several.
    #[error("the certificate request asks for {found} URI names; ask for exactly one, {proven}")]
    UriCount {
        /// How many there are.
        found: usize,
        /// What it may ask for.
        proven: SpiffeId,
    },
    /// Another identity.
    #[error("the certificate request asks for {asked:?}, but the token proves {proven}")]
    OtherIdentity {
        /// What it asks for.
        asked: String,
        /// What it may ask for.
        proven: SpiffeId,
    },
    /// A DNS name it may not have.
    #[error("the certificate request asks for the DNS name {0:?}, which {1} may not have")]
    DnsName(String, SpiffeId),
    /// An address, a mail address and so on.
    #[error("the certificate request asks for a name that is neither URI nor DNS: {0}")]
    OtherName(String),
    /// To sign certificates.
    #[error("the certificate request asks to be an authority; workloads cannot be one")]
    Authority,
    /// For a usage other than TLS.
    #[error("the certificate request asks for a key usage other than TLS client and server")]
    Usage,
    /// Anything else.
    #[error(
        "the certificate request asks for the extension or attribute {0}, which is not allowed"
    )]
    Extension(String),
}

/// A request that may be granted as it is.
#[derive(Debug)]
pub(super) struct CertificateRequest {
    public_key: SubjectPublicKeyInfo,
    dns_names: BTreeSet<String>,
}

impl CertificateRequest {
    pub(super) fn check(
        der: &[u8],
        proven: &SpiffeId,
        policy: &Policy,
    ) -> Result<Self, RequestError> {
        let malformed = |reason: &dyn ToString| RequestError::Malformed(reason.to_string());
        if der.len() > MAX_REQUEST_BYTES {
            return Err(malformed(&format!(
                "it is longer than {MAX_REQUEST_BYTES} bytes"
            )));
        }
        let request = match X509CertificationRequest::from_der(der) {
            Ok(([], request)) => request,
            Ok(_) => return Err(malformed(&"bytes follow it")),
            Err(error) => return Err(malformed(&error)),
        };
        let key = &request.certification_request_info.subject_pki;
        let curve = key
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
            return Err(RequestError::Key);
        }
        request
            .verify_signature()
            .map_err(|_| RequestError::Signature)?;
        let public_key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::Key)?;

        let mut asked = Asked::default();
        for attribute in request.certification_request_info.iter_attributes() {
            match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(extensions) => {
                    for extension in &extensions.extensions {
                        asked.extension(&extension.oid, extension.parsed_extension())?;
                    }
                }
                _ => return Err(RequestError::Extension(attribute.oid.to_string())),
            }
        }
        asked.uris_are(proven)?;
        let dns_names = asked.dns_names_of(proven, policy)?;
        Ok(Self {
            public_key,
            dns_names,
        })
    }

    pub(super) fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }

    pub(super) fn dns_names(&self) -> &BTreeSet<String> {
        &self.dns_names
    }
}

/// The names a request asks for.
#[derive(Default)]
struct Asked {
    uris: Vec<String>,
    dns: BTreeSet<String>,
}

impl Asked {
    fn extension(
        &mut self,
        oid: &Oid<'_>,
        extension: &ParsedExtension<'_>,
    ) -> Result<(), RequestError> {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => names
                .general_names
                .iter()
                .try_for_each(|name| self.name(name)),
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                Err(RequestError::Authority)
            }
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                Err(RequestError::Authority)
            }
            ParsedExtension::KeyUsage(usage) if !is_tls_key_usage(usage) => {
                Err(RequestError::Usage)
            }
            ParsedExtension::ExtendedKeyUsage(usage) if !is_tls_extended(usage) => {
                Err(RequestError::Usage)
            }
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectKeyIdentifier(_) => Ok(()),
            _ => Err(RequestError::Extension(oid.to_string())),
        }
    }

    fn name(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        match name {
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => {
                self.dns.insert((*name).to_owned());
            }
            other => return Err(RequestError::OtherName(other.to_string())),
        }
        Ok(())
    }

    fn uris_are(&self, proven: &SpiffeId) -> Result<(), RequestError> {
        match self.uris.as_slice() {
            [asked] if asked == proven.as_str() => Ok(()),
            [asked] => Err(RequestError::OtherIdentity {
                asked: asked.chars().take(256).collect(),
                proven: proven.clone(),
            }),
            several => Err(RequestError::UriCount {
                found: several.len(),
                proven: proven.clone(),
            }),
        }
    }

    /// System services are found by DNS name by clients outside the mesh (the API server calls
    /// the webhook); nobody else has a use for one.
    fn dns_names_of(
        self,
        proven: &SpiffeId,
        policy: &Policy,
    ) -> Result<BTreeSet<String>, RequestError> {
        let allowed = match proven.service_account() {
            Some((namespace, name)) if namespace == policy.system_namespace => {
                let short = format!("{name}.{namespace}.svc");
                vec![
                    format!("{short}.{}", policy.trust_domain),
                    format!("{short}.cluster.local"),
                    short,
                ]
            }
            _ => Vec::new(),
        };
        match self.dns.iter().find(|name| !allowed.contains(name)) {
            Some(name) => Err(RequestError::DnsName(
                name.chars().take(256).collect(),
                proven.clone(),
            )),
            None => Ok(self.dns),
        }
    }
}

fn is_tls_key_usage(usage: &KeyUsage) -> bool {
    !(usage.non_repudiation()
        || usage.data_encipherment()
        || usage.encipher_only()
        || usage.decipher_only())
}

fn is_tls_extended(usage: &ExtendedKeyUsage<'_>) -> bool {
    !(usage.any
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing
        || !usage.other.is_empty())
}
