//! Mutual TLS 1.3 from files, with the suites, groups and checks of our sidecar: a client's
//! certificate must come from the root, a server's must also name the URI that is expected. No
//! resumption, no tickets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use webpki::{EndEntityCert, KeyUsage};

const ALPN: &[u8] = b"http/1.1";

/// PEM files.
pub(crate) struct Files<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) root: &'a Path,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {0}: {1}")]
    File(PathBuf, pem::Error),
    #[error("cannot use {0}: {1}")]
    Material(PathBuf, Error),
    #[error("cannot verify clients: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("cannot use the certificate with the key: {0}")]
    Pair(#[from] Error),
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Files<'_> {
    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(self.root)? {
            roots
                .add(root)
                .map_err(|error| TlsError::Material(self.root.into(), error))?;
        }
        Ok(roots)
    }

    fn pair(&self) -> Result<Pair, TlsError> {
        let key = PrivateKeyDer::from_pem_file(self.key)
            .map_err(|error| TlsError::File(self.key.into(), error))?;
        Ok((certificates(self.certificate)?, key))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::File(file.into(), error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

/// For the server's side.
pub(crate) fn acceptor(files: &Files<'_>) -> Result<TlsAcceptor, TlsError> {
    let roots = Arc::new(files.roots()?);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let (chain, key) = files.pair()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For the client's side.
pub(crate) fn connector(files: &Files<'_>, server: &str) -> Result<TlsConnector, TlsError> {
    let servers = ByUri {
        provider: provider(),
        roots: files.roots()?,
        uri: server.to_owned(),
    };
    let (chain, key) = files.pair()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(servers))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts servers that the root vouches for and whose certificate names the URI.
#[derive(Debug)]
struct ByUri {
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
    uri: String,
}

impl ServerCertVerifier for ByUri {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let certificate = EndEntityCert::try_from(end_entity).map_err(|_| unknown())?;
        certificate
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|_| unknown())?;
        if !certificate.valid_uri_names().any(|name| name == self.uri) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
