//! The one authority of a comparison. heddle-identity signs our sidecars' certificates with it;
//! here it signs Envoy's, the same kind of leaf, as files.

use std::path::PathBuf;

use heddle_authority::ca::{Authority, Policy};
use heddle_identity::tls::to_pem_bundle;
use heddle_identity::{SpiffeId, TrustDomain};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};

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

    /// A leaf with a DNS name beside the identity, for proxies that know servers by DNS names alone.
    pub(crate) fn issue_named(&self, account: &str, dns: &str) -> Result<Leaf> {
        let failed =
            |error: &dyn ToString| Error::Certificate(account.to_owned(), error.to_string());
        let id = self.id(account)?;
        let names: std::result::Result<Vec<_>, _> = [id.as_str(), dns]
            .into_iter()
            .map(TryInto::try_into)
            .collect();
        let mut names = names.map_err(|e| failed(&e))?.into_iter();
        let mut params = CertificateParams::default();
        params
            .subject_alt_names
            .extend(names.next().map(SanType::URI));
        params
            .subject_alt_names
            .extend(names.next().map(SanType::DnsName));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let file = self.data_dir.join("root-key.pem");
        let key = std::fs::read_to_string(&file).map_err(Error::file("read", &file))?;
        let key = KeyPair::from_pem(&key).map_err(|e| failed(&e))?;
        let root = Issuer::from_ca_cert_pem(&self.root(), key).map_err(|e| failed(&e))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| failed(&e))?;
        let leaf = params.signed_by(&key, &root).map_err(|e| failed(&e))?;
        Ok(Leaf {
            chain: leaf.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Writes `root-cert.pem`, and of leaves with a DNS name `NAME-cert.pem`, `NAME-key.pem` and both
    /// in `NAME.pem`.
    pub(crate) fn write_named(
        &self,
        world: &World,
        dir: &str,
        leaves: &[(&str, &str, &str)],
    ) -> Result<()> {
        world.write(&format!("{dir}/root-cert.pem"), &self.root(), SIDECAR_USER)?;
        for (name, account, dns) in leaves {
            let Leaf { chain, key } = self.issue_named(account, dns)?;
            world.write(&format!("{dir}/{name}-cert.pem"), &chain, SIDECAR_USER)?;
            world.write(&format!("{dir}/{name}-key.pem"), &key, SIDECAR_USER)?;
            world.write(
                &format!("{dir}/{name}.pem"),
                &[chain, key].concat(),
                SIDECAR_USER,
            )?;
        }
        Ok(())
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
