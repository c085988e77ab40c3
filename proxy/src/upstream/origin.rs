//! TLS to servers outside the mesh, as a DestinationRule asks for it: whose certificates are trusted,
//! which name they must bear, and our own where the server wants one. Files are read when a connection
//! is made, and anew once in a while, so that what is renewed in them is found.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_proxy_config::snapshot::TlsOrigin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::connect::Alpn;

/// How long what was read from files is used.
const FRESH: Duration = Duration::from_secs(60);

/// Configurations that are kept; beyond it, they are made anew.
const MAX_KEPT: usize = 256;

/// Where the machine's roots are, on the distributions that there are (Go's list).
const MACHINE_ROOTS: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A server outside the mesh, and on what terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) terms: Arc<TlsOrigin>,
    /// Server name where the terms say none.
    pub(crate) host: Arc<str>,
}

/// Why there is no TLS to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    #[error("{0:?} is not a server name; set tls.sni in the DestinationRule")]
    Name(Arc<str>),
    #[error("cannot read {what} from {path}: {reason}")]
    File {
        what: &'static str,
        path: String,
        reason: String,
    },
    #[error(
        "this machine has no roots where they are looked for; set tls.caCertificates in the DestinationRule"
    )]
    NoMachineRoots,
    #[error("the client certificate is refused: {0}")]
    Own(Error),
}

/// Configurations in use.
#[derive(Default)]
pub(crate) struct Origins(RefCell<HashMap<(Origin, Alpn), Kept>>);

struct Kept {
    config: Arc<ClientConfig>,
    read: Instant,
}

impl Origins {
    /// How to connect, and to whom.
    pub(super) fn config(
        &self,
        origin: &Origin,
        alpn: Alpn,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), OriginError> {
        let host = match &*origin.terms.sni {
            "" => &origin.host,
            _ => &origin.terms.sni,
        };
        let name = ServerName::try_from(host.to_string());
        let name = name.map_err(|_| OriginError::Name(Arc::clone(host)))?;
        let key = (origin.clone(), alpn);
        let mut kept = self.0.borrow_mut();
        if let Some(known) = kept.get(&key).filter(|k| k.read.elapsed() < FRESH) {
            return Ok((Arc::clone(&known.config), name));
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let config = Arc::new(config(&origin.terms, alpn)?);
        let read = Instant::now();
        kept.insert(
            key,
            Kept {
                config: Arc::clone(&config),
                read,
            },
        );
        Ok((config, name))
    }
}

fn config(terms: &TlsOrigin, alpn: Alpn) -> Result<ClientConfig, OriginError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier {
        roots: match terms.skip_verify {
            true => None,
            false => Some(roots(terms.roots.as_deref())?),
        },
        names: terms.subject_alt_names.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = versions(provider)
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &terms.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("the client certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(&**key)
                .map_err(|error| unreadable("the client's key", key, &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(OriginError::Own)?
        }
    };
    let offered: &[&[u8]] = match alpn {
        Alpn::Http1 => &[b"http/1.1"],
        Alpn::Http2 => &[b"h2"],
        Alpn::Tcp => &[],
    };
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn versions(
    provider: Arc<CryptoProvider>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        // The default provider has suites of both versions.
        .expect("the provider speaks TLS 1.2 and 1.3")
}

fn roots(path: Option<&str>) -> Result<RootCertStore, OriginError> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => machine_roots().ok_or(OriginError::NoMachineRoots)?,
    };
    let mut roots = RootCertStore::empty();
    // What cannot be parsed is left out: a machine's roots have some like that.
    let (known, _) = roots.add_parsable_certificates(certificates("the roots", &path)?);
    if known == 0 {
        return Err(unreadable("the roots", &path, &"there is none in it"));
    }
    Ok(roots)
}

fn machine_roots() -> Option<String> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let known = MACHINE_ROOTS.iter().find(|path| Path::new(path).exists());
    named.or_else(|| known.map(ToString::to_string))
}

fn certificates(
    what: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, OriginError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(what, path, &error))
}

fn unreadable(what: &'static str, path: &str, reason: &dyn std::fmt::Display) -> OriginError {
    OriginError::File {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Trusts a chain to the roots whose certificate bears one of the names.
#[derive(Debug)]
struct Verifier {
    /// `None`: nothing is verified.
    roots: Option<RootCertStore>,
    /// Empty: the server name.
    names: Vec<Arc<str>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        if self.names.is_empty() {
            verify_server_name(&certificate, server_name)?;
        } else if !self
            .names
            .iter()
            .any(|name| bears(&certificate, end_entity, name))
        {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate bears a DNS name or an address, or as a URI exactly this.
fn bears(parsed: &ParsedCertificate<'_>, certificate: &CertificateDer<'_>, name: &str) -> bool {
    match ServerName::try_from(name) {
        Ok(name) => verify_server_name(parsed, &name).is_ok(),
        Err(_) => webpki::EndEntityCert::try_from(certificate)
            .is_ok_and(|certificate| certificate.valid_uri_names().any(|uri| uri == name)),
    }
}
