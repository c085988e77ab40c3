//! A workload's mutual TLS: its own certificate, the roots it trusts, and rustls configurations
//! made of both.
//!
//! Configurations look the certificate and the roots up at each handshake, so one that was made
//! before a renewal or a root rotation is as good as one made after, and established connections
//! are never touched. TLS 1.3 only, X25519MLKEM768 first, no resumption: each connection proves
//! both identities anew, though a chain of certificates that is known already is not read again.

mod credential;
mod known;
mod leaf;
mod provider;
mod refusal;
mod roots;
mod verify;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::sync::watch;

pub use self::{
    credential::{BACKDATED, CredentialError, Validity},
    refusal::{Refusal, rfc3339},
    roots::{MAX_ROOTS, RootsError, parse_pem_bundle, to_pem, to_pem_bundle},
};
use self::{
    credential::{Credential, PresentOwn},
    known::Presented,
    roots::Trust,
    verify::{Purpose, VerifyClient, VerifyServer},
};
use crate::{SpiffeId, TrustDomain};

/// Protocols offered or accepted, preferred first.
pub type Alpn = &'static [&'static [u8]];

/// ALPN of gRPC.
pub const ALPN_H2: Alpn = &[b"h2"];

/// Configurations kept for reuse. A configuration is about 1 KiB, and making one costs a few
/// microseconds; so this bounds memory at a few MiB and nothing is lost when it is exceeded.
const MAX_CACHED_CONFIGS: usize = 2048;

/// One workload's TLS. Cheap to clone; all clones share the certificate and the roots.
#[derive(Clone)]
pub struct MeshTls(Arc<Shared>);

struct Shared {
    own_id: SpiffeId,
    own_domain: TrustDomain,
    state: Arc<State>,
    clients: Mutex<HashMap<(SpiffeId, Alpn), Arc<ClientConfig>>>,
    servers: Mutex<HashMap<(ClientAuth, Alpn), Arc<ServerConfig>>>,
}

/// What handshakes look up.
struct State {
    credential: ArcSwapOption<Credential>,
    trust: ArcSwap<Trust>,
    /// Roots that the control plane pushed outrank those that came with a certificate.
    updates: Mutex<Updates>,
    roots_changed: watch::Sender<()>,
}

/// Whether peers will go on accepting our certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The first root in use has signed it, or there is none.
    Current,
    /// Another root in use has signed it: one that is on its way out.
    Outgoing,
    /// No root in use has: peers with the same roots refuse it.
    Lost,
}

#[derive(Default)]
struct Updates {
    generation: u64,
    roots_were_pushed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ClientAuth {
    Required,
    None,
}

impl MeshTls {
    /// TLS of the workload `own_id`. Until it is given a certificate and roots, every handshake
    /// fails.
    pub fn new(own_id: SpiffeId) -> Self {
        let own_domain = own_id.own_trust_domain();
        Self(Arc::new(Shared {
            own_id,
            own_domain,
            state: Arc::new(State {
                credential: ArcSwapOption::empty(),
                trust: ArcSwap::from_pointee(Trust::none()),
                updates: Mutex::default(),
                roots_changed: watch::Sender::new(()),
            }),
            clients: Mutex::default(),
            servers: Mutex::default(),
        }))
    }

    /// The identity that this side presents.
    pub fn own_id(&self) -> &SpiffeId {
        &self.0.own_id
    }

    /// The trust domain that peers must be of.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.own_domain
    }

    /// How many certificates this has had: 0 until the first.
    pub fn generation(&self) -> u64 {
        self.0
            .state
            .credential
            .load()
            .as_ref()
            .map_or(0, |held| held.generation)
    }

    /// From when until when the certificate in use is valid.
    pub fn validity(&self) -> Option<Validity> {
        self.0
            .state
            .credential
            .load()
            .as_ref()
            .map(|held| held.validity)
    }

    /// Is there a certificate, and is it valid now?
    pub fn is_ready(&self) -> bool {
        self.validity()
            .is_some_and(|validity| validity.holds_at(UnixTime::now()))
    }

    /// The roots in use.
    pub fn roots(&self) -> Arc<[CertificateDer<'static>]> {
        self.0.state.trust.load().certificates()
    }

    /// Replaces the roots by those that the control plane pushed; from then on
    /// [`Self::suggest_roots`] does nothing. The first of them is the one that signs now.
    ///
    /// # Errors
    /// None, too many, or not all of them certificates of authorities: the roots before stay.
    pub fn set_roots(&self, roots: Vec<CertificateDer<'static>>) -> Result<(), RootsError> {
        let trust = Trust::new(roots)?;
        let mut updates = self.updates();
        updates.roots_were_pushed = true;
        self.trust(trust);
        Ok(())
    }

    /// Replaces the roots by those of a file, unless the control plane has already pushed some.
    ///
    /// # Errors
    /// As for [`Self::set_roots`].
    pub fn suggest_roots(&self, roots: Vec<CertificateDer<'static>>) -> Result<(), RootsError> {
        let trust = Trust::new(roots)?;
        let updates = self.updates();
        if !updates.roots_were_pushed {
            self.trust(trust);
        }
        Ok(())
    }

    /// Takes the roots that came with a certificate: the identity service knows of a new one first,
    /// and the certificate may be of it. They replace those of a file; what was pushed stays beside
    /// them until the next push.
    ///
    /// # Errors
    /// As for [`Self::set_roots`].
    pub fn learn_roots(&self, roots: Vec<CertificateDer<'static>>) -> Result<(), RootsError> {
        let learnt = Trust::new(roots.clone())?;
        let updates = self.updates();
        if !updates.roots_were_pushed {
            self.trust(learnt);
            return Ok(());
        }
        let pushed = self.roots();
        let others = pushed.iter().filter(|root| !roots.contains(root)).cloned();
        let both = [roots.clone(), others.collect()].concat();
        // Too many together: those that a certificate comes with are needed for it.
        self.trust(Trust::new(both).unwrap_or(learnt));
        Ok(())
    }

    fn trust(&self, trust: Trust) {
        let changed = self.roots()[..] != trust.certificates()[..];
        if changed {
            self.0.state.trust.store(Arc::new(trust));
            self.0.state.roots_changed.send_replace(());
        }
    }

    /// Changes whenever the roots in use do.
    pub fn roots_changed(&self) -> watch::Receiver<()> {
        self.0.state.roots_changed.subscribe()
    }

    /// What the roots in use mean for our own certificate.
    pub(crate) fn standing(&self) -> Standing {
        let Some(held) = self.0.state.credential.load_full() else {
            return Standing::Current;
        };
        let trust = self.0.state.trust.load_full();
        let by = |trust: &Trust| held.check_against(trust, &self.0.own_id).is_ok();
        match trust.first() {
            Some(first) if by(&first) => Standing::Current,
            None => Standing::Current,
            Some(_) if by(&trust) => Standing::Outgoing,
            Some(_) => Standing::Lost,
        }
    }

    /// Presents this certificate from the next handshake on. `chain` begins with the leaf.
    ///
    /// # Errors
    /// When it is not ours, does not fit the key, is not valid now or is not signed by a root in
    /// use: the certificate before stays.
    pub fn set_credential(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Validity, CredentialError> {
        let mut credential = Credential::new(chain, key, &self.0.own_id)?;
        credential.check_against(&self.0.state.trust.load(), &self.0.own_id)?;
        let validity = credential.validity;
        let mut updates = self.updates();
        updates.generation += 1;
        credential.generation = updates.generation;
        self.0.state.credential.store(Some(Arc::new(credential)));
        Ok(validity)
    }

    /// For accepting mesh connections: the peer must present a certificate of our trust domain.
    pub fn server_config(&self, alpn: Alpn) -> Arc<ServerConfig> {
        self.server(ClientAuth::Required, alpn)
    }

    /// For accepting plain HTTPS with the mesh certificate: nothing is asked of the client.
    pub fn tls_server_config(&self, alpn: Alpn) -> Arc<ServerConfig> {
        self.server(ClientAuth::None, alpn)
    }

    /// For connecting to `peer`: nobody else is accepted, whatever the address.
    pub fn client_config(&self, peer: &SpiffeId, alpn: Alpn) -> Arc<ClientConfig> {
        let mut cache = self
            .0
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = cache.get(&(peer.clone(), alpn)) {
            return config.clone();
        }
        if cache.len() >= MAX_CACHED_CONFIGS {
            cache.clear();
        }
        let config = Arc::new(self.make_client_config(peer, alpn));
        cache.insert((peer.clone(), alpn), config.clone());
        config
    }

    /// Who the peer of an accepted connection is, by its certificates.
    pub fn peer_id(&self, presented: &[CertificateDer<'_>]) -> Option<SpiffeId> {
        let (first, others) = presented.split_first()?;
        let id = Presented::new(first, others, Purpose::Client)
            .and_then(|p| self.0.state.trust.load().known().who(&p, UnixTime::now()))
            .filter(|id| id.is_of(&self.0.own_domain));
        id.or_else(|| leaf::id_of(first, &self.0.own_domain).ok())
    }

    fn server(&self, auth: ClientAuth, alpn: Alpn) -> Arc<ServerConfig> {
        let mut cache = self
            .0
            .servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = cache.get(&(auth, alpn)) {
            return config.clone();
        }
        if cache.len() >= MAX_CACHED_CONFIGS {
            cache.clear();
        }
        let config = Arc::new(self.make_server_config(auth, alpn));
        cache.insert((auth, alpn), config.clone());
        config
    }

    fn make_server_config(&self, auth: ClientAuth, alpn: Alpn) -> ServerConfig {
        let verifier = match auth {
            ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
            ClientAuth::Required => {
                Arc::new(VerifyClient::new(self.state(), self.0.own_domain.clone()))
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(provider::VERSIONS)
            // The provider's suites are all of TLS 1.3, the only version asked for.
            .expect("the provider speaks TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(PresentOwn::new(self.state())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    fn make_client_config(&self, peer: &SpiffeId, alpn: Alpn) -> ClientConfig {
        let verifier = VerifyServer::new(self.state(), self.0.own_domain.clone(), peer.clone());
        let mut config = ClientConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(provider::VERSIONS)
            // The provider's suites are all of TLS 1.3, the only version asked for.
            .expect("the provider speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(PresentOwn::new(self.state())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config
    }

    fn state(&self) -> Arc<State> {
        self.0.state.clone()
    }

    fn updates(&self) -> std::sync::MutexGuard<'_, Updates> {
        self.0
            .state
            .updates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server name that rustls wants of a client. Nothing is sent or checked by it: who the
/// server must be is in the configuration.
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into())
}

impl fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshTls")
            .field("own_id", &self.0.own_id)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
