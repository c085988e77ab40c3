//! The last accepted configuration, on the pod's memory volume, so that a sidecar that restarts
//! while the control plane is away serves as before.
//!
//! One file of mode 0600, replaced whole by a rename, at most once per [`DEBOUNCE`], away from the
//! async threads. Nothing here is needed to serve: a file that is damaged, foreign or cannot be
//! written is a warning.

mod format;

use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::store::ConfigStore;
use format::Damage;

/// Name of the file in the state directory.
pub const FILE_NAME: &str = "config.pb";

/// Shortest time between two writes.
pub const DEBOUNCE: Duration = Duration::from_millis(200);

/// How long to wait after a failed write when nothing changes meanwhile.
const RETRY: Duration = Duration::from_secs(30);

/// Largest file that is read, in bytes. Far more than the bounded store can write.
const MAX_FILE: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
enum RestoreError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it has {0} bytes, more than this proxy ever writes")]
    TooLarge(u64),
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// Fills the store from the state directory; gives how many resources it has then. Whatever is
/// wrong with the file is logged, and the store stays as it was.
pub fn restore(store: &ConfigStore, state_dir: &Path) -> usize {
    let path = state_dir.join(FILE_NAME);
    let pushes = match read(&path).and_then(|bytes| Ok(format::decode(&bytes, &store.node().id())?))
    {
        Ok(pushes) => pushes,
        Err(RestoreError::Read(error)) if error.kind() == io::ErrorKind::NotFound => return 0,
        Err(reason) => {
            warn!(path = %path.display(), %reason, "ignored the kept configuration; waiting for the control plane");
            return 0;
        }
    };
    for push in pushes {
        let kind = push.kind;
        for refused in store.restore(push) {
            warn!(%kind, name = %refused.name, reason = %refused.reason, "ignored a kept resource");
        }
    }
    let resources = store.status().resources;
    info!(path = %path.display(), resources, "serving from the kept configuration");
    resources
}

/// Writes every accepted change to the state directory; never ends. Stopping it loses at most the
/// changes of the last [`DEBOUNCE`].
pub async fn keep(store: ConfigStore, state_dir: PathBuf) -> Infallible {
    let mut changed = store.changed();
    changed.mark_changed(); // what was published before this first ran is not missed
    let mut last_written = None;
    let mut failing = false;
    loop {
        let changes = changed.changed();
        if failing {
            // Nothing new within this time: the disk may have room by now.
            let _ = tokio::time::timeout(RETRY, changes).await;
        } else if changes.await.is_err() {
            // The store has no publisher left, which cannot be while we hold it.
            std::future::pending::<Infallible>().await;
        }
        tokio::time::sleep(DEBOUNCE).await;
        changed.borrow_and_update();
        let (source, directory, last) = (store.clone(), state_dir.clone(), last_written);
        let written =
            tokio::task::spawn_blocking(move || write_if_new(&source, &directory, last)).await;
        match written.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(digest) => {
                last_written = Some(digest);
                if std::mem::take(&mut failing) {
                    info!("the configuration is kept again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        directory = %state_dir.display(), %error,
                        "cannot keep the configuration: a restart while the control plane is away would begin without it"
                    );
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RestoreError> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64;
    if length > MAX_FILE {
        Err(RestoreError::TooLarge(length))
    } else {
        Ok(bytes)
    }
}

fn write_if_new(
    store: &ConfigStore,
    directory: &Path,
    last: Option<format::Digest>,
) -> io::Result<format::Digest> {
    let accepted = store.accepted();
    // Nothing yet is no reason to lose a file that another version of this proxy can read.
    let nothing = accepted.iter().all(|push| push.resources.is_empty());
    let (bytes, digest) = format::encode(accepted, &store.node().id());
    if !nothing && last != Some(digest) {
        replace(&directory.join(FILE_NAME), &bytes)?;
    }
    Ok(digest)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("pb.new");
    // Not truncated and reused: a file that somebody else made might be readable by them.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file would only fill the disk further; the write's own error is what is told.
        let _ = fs::remove_file(&temporary);
    }
    written
}
