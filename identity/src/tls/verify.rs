//! The two verifiers: of clients (anybody of our trust domain) and of servers (one identity).
//!
//! The name is read first, so that a refusal can say who came; the chain is checked next, and only
//! both together accept. A chain that was accepted is known again by its bytes. No DNS name is ever
//! looked at.

use std::{fmt, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::verify_tls13_signature,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Refusal, State, known::Presented, leaf, provider, roots::Trust};
use crate::{SpiffeId, TrustDomain};

#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Client,
    Server,
}

/// Checks signatures, dates, constraints and usage up to a root of `trust`.
pub(super) fn chain(
    first: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    trust: &Trust,
    purpose: Purpose,
    now: UnixTime,
    claimed: &SpiffeId,
) -> Result<(), Refusal> {
    if trust.anchors().is_empty() {
        return Err(Refusal::NoRoots);
    }
    let (usage, name) = match purpose {
        Purpose::Client => (KeyUsage::client_auth(), "client"),
        Purpose::Server => (KeyUsage::server_auth(), "server"),
    };
    let certificate =
        EndEntityCert::try_from(first).map_err(|error| Refusal::of_chain(error, claimed, name))?;
    certificate
        .verify_for_usage(
            provider::provider().signature_verification_algorithms.all,
            trust.anchors(),
            others,
            now,
            usage,
            None,
            None,
        )
        .map(|_| ())
        .map_err(|error| Refusal::of_chain(error, claimed, name))
}

/// Who presents this chain, if it is good: by what is known of it, or by looking at all of it.
pub(super) fn peer(
    first: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    trust: &Trust,
    purpose: Purpose,
    now: UnixTime,
    domain: &TrustDomain,
) -> Result<SpiffeId, Refusal> {
    let presented = Presented::new(first, others, purpose);
    let known = presented.as_ref().and_then(|p| trust.known().who(p, now));
    if let Some(id) = known.filter(|id| id.is_of(domain)) {
        return Ok(id);
    }
    let id = leaf::id_of(first, domain)?;
    chain(first, others, trust, purpose, now, &id)?;
    if let Some(presented) = presented {
        trust.known().remember(presented, first, others, &id);
    }
    Ok(id)
}

pub(super) struct VerifyClient {
    state: Arc<State>,
    domain: TrustDomain,
}

impl VerifyClient {
    pub(super) fn new(state: Arc<State>, domain: TrustDomain) -> Self {
        Self { state, domain }
    }

    fn check(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let trust = self.state.trust.load();
        peer(first, others, &trust, Purpose::Client, now, &self.domain).map(|_| ())
    }
}

pub(super) struct VerifyServer {
    state: Arc<State>,
    domain: TrustDomain,
    expected: SpiffeId,
}

impl VerifyServer {
    pub(super) fn new(state: Arc<State>, domain: TrustDomain, expected: SpiffeId) -> Self {
        Self {
            state,
            domain,
            expected,
        }
    }

    fn check(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let trust = self.state.trust.load();
        let got = peer(first, others, &trust, Purpose::Server, now, &self.domain)?;
        if got != self.expected {
            return Err(Refusal::OtherIdentity {
                expected: self.expected.clone(),
                got,
            });
        }
        Ok(())
    }
}

impl ClientCertVerifier for VerifyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
            .map_err(Refusal::into_tls)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &provider::provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for VerifyServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(Refusal::into_tls)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &provider::provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Never reached: no configuration of ours offers TLS 1.2.
fn only_tls13() -> Error {
    Error::General("TLS 1.2 is not spoken here".into())
}

impl fmt::Debug for VerifyClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyClient")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyServer")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
