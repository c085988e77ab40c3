//! One file from the disk: its text within bounds, and what tells whether to look again.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::scan::Stamp;

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// A file that was modified this shortly before it was read may change again under the same stamp.
pub(super) const RACY: Duration = Duration::from_millis(50);

pub(super) fn load(path: &Path, stamp: &Stamp) -> std::io::Result<String> {
    let too_large = || std::io::Error::other(format!("it is larger than {MAX_FILE} bytes"));
    if stamp.len() > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large());
    }
    let text = String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn is_racy(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|age| age < RACY)
    })
}

/// The directory that really holds a file, if a link leads there.
pub(super) fn leads_to(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    let plain = fs::canonicalize(path.parent()?).ok()?;
    let directory = real.parent()?;
    (directory != plain).then(|| directory.to_owned())
}
