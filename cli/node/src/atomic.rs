//! Replaces a file whole.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Readers see the old content or the new, never a part.
pub(crate) fn write_atomically(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    group: Option<u32>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let next: PathBuf = path.with_file_name(format!(".{name}.next"));
    let _ = fs::remove_file(&next);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(bytes)?;
    if let Some(group) = group {
        std::os::unix::fs::fchown(&file, None, Some(group))?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    fs::rename(&next, path)
}
