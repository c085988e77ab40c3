//! Follows the roots while the service runs: looks at the data directory, and when a root comes,
//! begins to sign or goes, publishes the bundle anew. What cannot be used is told once, and what was
//! before stays.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::ca::Authority;
use heddle_identity::{
    MeshTls,
    channel::explain,
    private_file::{self, FileError, PUBLIC},
    tls::to_pem_bundle,
};

/// Between two looks: a directory of a few files.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Rotation {
    authority: Arc<Authority>,
    file: Option<PathBuf>,
    bundle: watch::Sender<String>,
}

impl Rotation {
    pub(super) fn new(authority: Arc<Authority>, file: Option<PathBuf>) -> Self {
        let bundle = watch::Sender::new(to_pem_bundle(&authority.roots()));
        Self {
            authority,
            file,
            bundle,
        }
    }

    /// The bundle, whenever it changes.
    pub(super) fn bundle(&self) -> watch::Receiver<String> {
        self.bundle.subscribe()
    }

    /// Writes the bundle for others to mount.
    pub(super) fn publish(&self) -> Result<(), FileError> {
        let bundle = to_pem_bundle(&self.authority.roots());
        self.bundle.send_replace(bundle.clone());
        let Some(file) = &self.file else {
            return Ok(());
        };
        private_file::write(file, bundle.as_bytes(), PUBLIC)
    }

    /// Goes on for as long as the service does; `own` are the roots that it trusts itself.
    pub(super) async fn follow(&self, own: &MeshTls) -> Infallible {
        let mut problem = None;
        let mut unpublished = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.look(own, &mut unpublished).await {
                Ok(()) => problem = None,
                Err(reason) => {
                    if problem.as_ref() != Some(&reason) {
                        warn!(%reason, "the roots stay as they are");
                    }
                    problem = Some(reason);
                }
            }
        }
    }

    async fn look(&self, own: &MeshTls, unpublished: &mut bool) -> Result<(), String> {
        let authority = self.authority.clone();
        let refreshed = tokio::task::spawn_blocking(move || authority.refresh()).await;
        let refreshed = refreshed.map_err(|error| error.to_string())?;
        *unpublished |= refreshed.map_err(|error| explain(&error))?;
        if *unpublished {
            let roots = self.authority.roots();
            info!(roots = roots.len(), "the trust bundle has changed");
            own.suggest_roots(roots).map_err(|error| explain(&error))?;
            self.publish().map_err(|error| explain(&error))?;
            *unpublished = false;
        }
        Ok(())
    }
}
