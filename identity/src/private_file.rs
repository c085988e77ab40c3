//! Files that must be whole or absent: private keys, and bundles that others mount.
//!
//! Written beside their place and renamed into it, so a reader sees the old content or the new,
//! never half of it, also across a crash. A secret is never readable by group or others, not even
//! for a moment, and one that is found readable by them is refused.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Permission bits of a secret.
pub const SECRET: u32 = 0o600;
/// Permission bits of what everybody may read.
pub const PUBLIC: u32 = 0o644;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system said no.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Others could have read the secret.
    #[error(
        "{} is a secret that others can read (mode {mode:03o}); if nobody has read it, run: chmod 600 {}",
        .path.display(), .path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a file, or larger than any that we write.
    #[error("{} is not a file of at most {limit} bytes", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// The most it may hold.
        limit: u64,
    },
}

impl FileError {
    /// Is it only that there is no such file?
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io {
        action,
        path,
        source,
    }
}

/// Puts `content` at `path`, with exactly the permission bits `mode`.
///
/// # Errors
/// When the directory cannot be written; what was at `path` is still there.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let beside = directory.join(format!(".{name}.{}.{unique}", std::process::id()));

    let written = write_new(&beside, content, mode)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        // It may not exist; and there is nothing better to do about it than what is reported.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed("write", path))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(SECRET)
        .open(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Reads a file of at most `limit` bytes that nobody but its owner can read.
///
/// # Errors
/// When it cannot be read, is too large, or is open to others.
pub fn read_secret(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(failed("read", path))?;
    let mode = file
        .metadata()
        .map_err(failed("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    read_open(file, path, limit)
}

/// Reads a file of at most `limit` bytes, whoever may read it.
///
/// # Errors
/// When it cannot be read or is too large.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(failed("read", path))?;
    read_open(file, path, limit)
}

fn read_open(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let unfit = || FileError::Unfit {
        path: path.to_owned(),
        limit,
    };
    if !file.metadata().map_err(failed("read", path))?.is_file() {
        return Err(unfit());
    }
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(failed("read", path))?;
    if content.len() as u64 > limit {
        return Err(unfit());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_is_written_whole_with_mode_0600_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"one", SECRET).unwrap();
        write(&path, b"two", SECRET).unwrap();
        assert_eq!(read_secret(&path, 3).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_public_file_is_readable_by_all_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle");
        write(&path, b"x", PUBLIC).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
    }

    #[test]
    fn a_secret_open_to_others_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for mode in [0o640, 0o604, 0o644, 0o660, 0o777] {
            write(&path, b"x", mode).unwrap();
            let error = read_secret(&path, 10).unwrap_err();
            assert!(
                matches!(error, FileError::TooOpen { mode: m, .. } if m == mode),
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .contains(&format!("chmod 600 {}", path.display()))
            );
        }
    }

    #[test]
    fn directories_large_files_and_missing_ones_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path(), 10), Err(FileError::Unfit { .. })));
        let path = dir.path().join("f");
        assert!(read(&path, 10).unwrap_err().is_missing());
        write(&path, b"12345678901", PUBLIC).unwrap();
        assert!(matches!(
            read(&path, 10),
            Err(FileError::Unfit { limit: 10, .. })
        ));
        assert!(
            write(&dir.path().join("none/f"), b"", PUBLIC)
                .unwrap_err()
                .is_missing()
        );
    }
}
