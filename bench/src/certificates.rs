//! The one authority of a comparison. heddle-identity signs our sidecars' certificates with it;
//! here it signs Envoy's, the same kind of leaf, as files.

use std::path::PathBuf;

use heddle_identity::ca::{Authority, Policy};
use heddle_identity::tls::to_pem_bundle;
use heddle_identity::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

use crate::error::{Error, Result};
use crate::world::{SIDECAR_USER, World};

/// The pods' namespace.
pub(crate) const NAMESPACE: &str = "default";

/// Signs leaves.
pub(crate) struct Certificates {
    authority: Authority,
    data_dir: PathBuf,
}

/// A leaf and its key, in PEM.
pub(crate) struct Leaf {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Certificates {
    /// Makes an authority with its root in a directory of the world.
    pub(crate) fn new(world: &World, name: &str) -> Result<Self> {
        let data_dir = world.fresh_dir(name, 0)?;
        let authority = Authority::load_or_create(&data_dir, Policy::default())
            .map_err(|error| Error::Certificate("the root".into(), error.to_string()))?;
        Ok(Self {
            authority,
            data_dir,
        })
    }

    /// What heddle-identity is given as its data directory.
    pub(crate) fn data_dir(&self) -> &PathBuf {
        &self.data_dir
    }

    pub(crate) fn root(&self) -> String {
        to_pem_bundle(&self.authority.roots())
    }

    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.authority.policy().trust_domain
    }

    /// The identity of a service account of the pods' namespace.
    pub(crate) fn id(&self, account: &str) -> Result<SpiffeId> {
        SpiffeId::for_service_account(self.trust_domain(), NAMESPACE, account)
            .map_err(|error| Error::Certificate(account.to_owned(), error.to_string()))
    }

    pub(crate) fn issue(&self, account: &str) -> Result<Leaf> {
        let failed =
            |error: &dyn ToString| Error::Certificate(account.to_owned(), error.to_string());
        let id = self.id(account)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| failed(&e))?;
        let mut params = CertificateParams::default();
        let uri = id
            .as_str()
            .try_into()
            .map_err(|e: rcgen::Error| failed(&e))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let request = params.serialize_request(&key).map_err(|e| failed(&e))?;
        let leaf = self
            .authority
            .issue(request.der(), &id, None)
            .map_err(|e| failed(&e))?;
        Ok(Leaf {
            chain: to_pem_bundle(&leaf.chain),
            key: key.serialize_pem(),
        })
    }

    /// Writes `NAME-cert.pem`, `NAME-key.pem` for each, and `root-cert.pem`, for the sidecars.
    pub(crate) fn write(&self, world: &World, dir: &str, leaves: &[(&str, &str)]) -> Result<()> {
        world.write(&format!("{dir}/root-cert.pem"), &self.root(), SIDECAR_USER)?;
        for (name, account) in leaves {
            let leaf = self.issue(account)?;
            world.write(&format!("{dir}/{name}-cert.pem"), &leaf.chain, SIDECAR_USER)?;
            world.write(&format!("{dir}/{name}-key.pem"), &leaf.key, SIDECAR_USER)?;
        }
        Ok(())
    }
}
