//! An authority that somebody else keeps, as cert-manager does: a directory with `tls.crt`, `tls.key`
//! and `ca.crt`, usually a Secret that is mounted. Looked at again whenever it changes; what does not
//! fit is refused with the file's name and the reason, once, and changes nothing.

use std::path::{Path, PathBuf};

use heddle_identity::{TrustDomain, private_file, tls::parse_pem_bundle};

use super::{
    chain::Chain,
    root::{Root, RootError, signing_key},
};

/// A chain takes a few KiB, a key less.
const MAX_BYTES: u64 = 64 * 1024;

pub(super) struct Brought {
    directory: PathBuf,
    seen: Option<[Vec<u8>; 3]>,
}

impl Brought {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            seen: None,
        }
    }

    /// What is there, when it is not what was there the last time.
    pub(super) fn look(&mut self, domain: &TrustDomain) -> Result<Option<Root>, RootError> {
        // The kubelet mounts Secrets readable for the pod's group, so that mode is no sign of a leak.
        let read = |name| private_file::read(&self.directory.join(name), MAX_BYTES);
        let files = [read("tls.crt")?, read("tls.key")?, read("ca.crt")?];
        if self.seen.as_ref() == Some(&files) {
            return Ok(None);
        }
        let root = load(&files, domain)
            .map_err(|reason| RootError::Brought(self.directory.clone(), reason));
        self.seen = Some(files);
        root.map(Some)
    }
}

fn load([chain, key, roots]: &[Vec<u8>; 3], domain: &TrustDomain) -> Result<Root, String> {
    let in_file = |file: &str, reason: String| format!("{file}: {reason}");
    let named = |file: &'static str| move |reason| in_file(file, reason);
    let certificates =
        |file, pem: &[u8]| parse_pem_bundle(pem).map_err(|error| in_file(file, error.to_string()));
    let mut chain = certificates("tls.crt", chain)?;
    let roots = certificates("ca.crt", roots)?;
    // A root in tls.crt is not sent; it is what ca.crt names.
    chain.retain(|certificate| !roots.contains(certificate));
    let mut refused = "it names no root".to_owned();
    for root in roots {
        let key = signing_key(key).map_err(named("tls.key"))?;
        let chain = chain.iter().cloned().chain([root]).collect();
        let fitting = Chain::new(chain, &key.0, domain)
            .map_err(named("tls.crt"))
            .and_then(|chain| Root::new(chain, key, domain).map_err(named("tls.crt with ca.crt")));
        match fitting {
            Ok(root) => return Ok(root),
            Err(reason) => refused = reason,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Brought::new(dir.path())
            .look(&TrustDomain::default())
            .err()
            .unwrap();
        assert!(refused.to_string().contains("tls.crt"), "{refused}");
        for (file, content) in [("tls.crt", ""), ("tls.key", ""), ("ca.crt", "")] {
            std::fs::write(dir.path().join(file), content).unwrap();
        }
        let mut brought = Brought::new(dir.path());
        assert!(brought.look(&TrustDomain::default()).is_err());
        // Told once.
        assert!(brought.look(&TrustDomain::default()).unwrap().is_none());
    }
}
