//! The certificate that the webhook presents: the mesh's own, renewed by the identity client, or a
//! pair of files, read anew when they change. Either way without a restart; a pair that cannot be
//! used leaves the last good one in place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use heddle_identity::{MeshTls, Workload};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::task::JoinSet;

/// The API server's client and curl speak either.
const ALPN: heddle_identity::tls::Alpn = &[b"h2", b"http/1.1"];
/// A Secret's files change minutes before the old pair ends.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Files that cannot be used as a certificate.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// One of them cannot be read.
    #[error("cannot read {file}: {error}")]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds something else than it should.
    #[error("{file} does not hold {what} in PEM")]
    Pem {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key do not belong together, or cannot be used at all.
    #[error("certificate {certificate} with key {key}: {error}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        error: rustls::Error,
    },
}

/// A certificate that keeps itself fresh.
pub struct Certificate {
    config: Arc<ServerConfig>,
    _fresh: Fresh,
}

/// Who keeps it so; dropped with it.
#[allow(dead_code)] // held for its drop alone
enum Fresh {
    Mesh(Workload),
    Elsewhere,
    Files(JoinSet<()>),
}

impl Certificate {
    /// The certificate of a workload of the mesh.
    #[must_use]
    pub fn of_workload(workload: Workload) -> Self {
        Self {
            config: workload.tls().tls_server_config(ALPN),
            _fresh: Fresh::Mesh(workload),
        }
    }

    /// The certificate of a workload that somebody else keeps.
    #[must_use]
    pub fn of_mesh(tls: &MeshTls) -> Self {
        Self {
            config: tls.tls_server_config(ALPN),
            _fresh: Fresh::Elsewhere,
        }
    }

    /// A certificate (chain) and its key, PEM. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the files cannot be used now. Later mistakes are logged.
    pub fn of_files(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let pair = Pair { certificate, key };
        let (seen, first) = pair.load()?;
        let current = Arc::new(Current(RwLock::new(Arc::new(first))));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| pair.refused(error))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        let mut config = config;
        config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
        let mut watching = JoinSet::new();
        watching.spawn(watch(pair, seen, current));
        Ok(Self {
            config: Arc::new(config),
            _fresh: Fresh::Files(watching),
        })
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// The bytes that a pair was made from.
type Seen = (Vec<u8>, Vec<u8>);

impl Pair {
    fn read(&self) -> Result<Seen, CertificateError> {
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    fn load(&self) -> Result<(Seen, CertifiedKey), CertificateError> {
        let seen = self.read()?;
        let made = self.make(&seen)?;
        Ok((seen, made))
    }

    fn make(&self, (certificate, key): &Seen) -> Result<CertifiedKey, CertificateError> {
        let pem = |file: &Path, what| CertificateError::Pem {
            file: file.to_owned(),
            what,
        };
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| pem(&self.certificate, "a certificate"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| pem(&self.key, "a private key"))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| self.refused(error))
    }

    fn refused(&self, error: rustls::Error) -> CertificateError {
        CertificateError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(file).map_err(|error| CertificateError::Read {
        file: file.to_owned(),
        error,
    })
}

async fn watch(pair: Pair, mut seen: Seen, current: Arc<Current>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let made = match pair.read() {
            Ok(now) if now == seen => continue,
            Ok(now) => {
                seen = now;
                pair.make(&seen)
            }
            Err(error) => Err(error),
        };
        match made {
            Ok(made) => {
                *current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                tracing::info!(file = %pair.certificate.display(), "certificate read anew");
            }
            Err(error) => tracing::warn!(%error, "keeping the certificate in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use tokio::time::timeout;

    fn write_pair(pair: &Pair, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(&pair.certificate, made.cert.pem()).unwrap();
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
    }

    fn pair_in(directory: &Path) -> Pair {
        Pair {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
        }
    }

    fn leaf(current: &Current) -> CertificateDer<'static> {
        current.0.read().unwrap().cert[0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_read_anew_and_a_broken_pair_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let pair = pair_in(directory.path());
        write_pair(&pair, "one");
        let (seen, first) = pair.load().unwrap();
        let current = Arc::new(Current(RwLock::new(Arc::new(first))));
        let one = leaf(&current);
        let watching = watch(pair_in(directory.path()), seen, current.clone());
        tokio::pin!(watching);

        std::fs::write(&pair.certificate, "no certificate").unwrap();
        assert!(timeout(LOOK_AGAIN * 2, &mut watching).await.is_err());
        assert_eq!(leaf(&current), one);

        write_pair(&pair, "two");
        assert!(timeout(LOOK_AGAIN * 2, &mut watching).await.is_err());
        assert_ne!(leaf(&current), one);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let pair = pair_in(directory.path());
        let says = || pair.load().err().unwrap().to_string();
        assert!(says().contains("cannot read") && says().contains("tls.crt"));
        write_pair(&pair, "one");
        std::fs::write(&pair.key, "").unwrap();
        assert!(says().contains("tls.key does not hold a private key"));
        let other = rcgen::generate_simple_self_signed(["two".to_owned()]).unwrap();
        std::fs::write(&pair.key, other.signing_key.serialize_pem()).unwrap();
        assert!(says().contains("with key"));
    }
}
