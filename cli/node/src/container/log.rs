//! What a container writes, kept in one file of bounded size.
//!
//! Standard output and error go to the same file in the order they arrive; at 10 MiB it is moved
//! aside to `.1`, replacing the one before, so that a container never keeps more than twice that.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Kubernetes' default `containerLogMaxSize`.
const LARGEST: u64 = 10 * 1024 * 1024;
const CHUNK: usize = 16 * 1024;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    largest: u64,
}

impl Log {
    /// Appends to what is there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, LARGEST)
    }

    /// Removes a log and what was moved aside, as far as they are there.
    pub(crate) fn remove(path: &Path) {
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(aside(path));
    }

    fn open_with(path: &Path, largest: u64) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            largest,
        })
    }

    /// Writes a whole chunk, to a new file when this one is full.
    pub(crate) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + chunk.len() as u64 > self.largest {
            fs::rename(&self.path, aside(&self.path))?;
            self.file = append(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(chunk)?;
        self.size += chunk.len() as u64;
        Ok(())
    }

    /// Copies both streams until both end. A log that cannot be written is drained all the same,
    /// so that the container does not stop for it.
    pub(crate) async fn copy(
        mut self,
        mut out: impl AsyncRead + Unpin,
        mut error: impl AsyncRead + Unpin,
    ) {
        let (mut first, mut second) = (vec![0; CHUNK], vec![0; CHUNK]);
        let (mut out_open, mut error_open) = (true, true);
        while out_open || error_open {
            tokio::select! {
                read = out.read(&mut first), if out_open => {
                    out_open = self.keep(read, &first);
                }
                read = error.read(&mut second), if error_open => {
                    error_open = self.keep(read, &second);
                }
            }
        }
    }

    /// False at the end of the stream.
    fn keep(&mut self, read: io::Result<usize>, chunk: &[u8]) -> bool {
        match read {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                if let Err(error) = self.write(&chunk[..length]) {
                    tracing::warn!(path = %self.path.display(), %error, "a log cannot be written");
                }
                true
            }
        }
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".1");
    aside.into()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_full_log_is_moved_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = Log::open_with(&path, 100).unwrap();
        let text: String = (0..30).map(|n| format!("line {n:04}\n")).collect();
        let (mut to, out) = tokio::io::duplex(10);
        let writer = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut to, text.as_bytes())
                .await
                .unwrap();
        });
        log.copy(out, tokio::io::empty()).await;
        writer.await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
        let aside = fs::read_to_string(dir.path().join("a.log.1")).unwrap();
        assert!(aside.starts_with("line 0010"), "{aside}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
