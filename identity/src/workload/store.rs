//! The key and the certificate on disk: one file for both, so that they always fit each other.

use std::path::PathBuf;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use crate::{
    private_file::{self, FileError, SECRET},
    tls::{to_pem, to_pem_bundle},
};

const FILE: &str = "identity.pem";
/// A key and a chain of a few certificates take 3 KiB.
const MAX_BYTES: u64 = 256 * 1024;

/// Why what is on disk is not usable.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} does not hold a private key and certificates: {}", .0.display(), .1)]
    Content(PathBuf, rustls_pki_types::pem::Error),
}

#[derive(Debug)]
pub(super) struct Store {
    file: PathBuf,
}

/// A certificate chain, leaf first, and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Store {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            file: directory.join(FILE),
        }
    }

    pub(super) fn save(
        &self,
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'_>,
    ) -> Result<(), FileError> {
        let mut pem = to_pem("PRIVATE KEY", key.secret_pkcs8_der());
        pem.push_str(&to_pem_bundle(chain));
        private_file::write(&self.file, pem.as_bytes(), SECRET)
    }

    /// `None` when nothing was ever saved.
    pub(super) fn load(&self) -> Result<Option<Pair>, StoreError> {
        let pem = match private_file::read_secret(&self.file, MAX_BYTES) {
            Ok(pem) => pem,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let broken = |error| StoreError::Content(self.file.clone(), error);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(broken)?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(broken)?;
        Ok(Some((chain, key)))
    }
}
