//! A data directory as a whole, for who keeps it elsewhere: taken and put back under the lock that
//! its services and commands take turns by.

use std::{collections::BTreeMap, fs, path::Path};

use heddle_identity::{
    TrustDomain,
    private_file::{self, SECRET},
};

use super::{
    root::{Root, RootError},
    rotation::{list, lock, unusable},
};

/// What a directory holds: keys, certificates and steps of a rotation, by file.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A key and a chain take a few KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// Whether these files have a root that signs.
pub fn has_root(files: &Files) -> bool {
    [super::root::KEY_FILE, super::root::CERTIFICATE_FILE]
        .iter()
        .all(|name| files.get(*name).is_some_and(|file| !file.is_empty()))
}

/// Checks that the root in these files can sign, before it takes the place of one that does.
///
/// # Errors
/// When it cannot: what is wrong with which file.
pub fn check(files: &Files, domain: &TrustDomain) -> Result<(), RootError> {
    Root::of_files(files, domain).map(drop)
}

/// What `directory` holds; made when it is not there.
///
/// # Errors
/// When it cannot be read.
pub fn take(directory: &Path) -> Result<Files, RootError> {
    fs::create_dir_all(directory).map_err(unusable(directory))?;
    let _lock = lock(directory)?;
    let mut files = Files::new();
    for name in list(directory)?.into_keys() {
        let content = private_file::read(&directory.join(&name), MAX_BYTES)?;
        files.insert(name, content);
    }
    Ok(files)
}

/// Makes `directory` hold these files and no others of its kind.
///
/// # Errors
/// When it cannot be written, or a name is not one of its kind.
pub fn put(directory: &Path, files: &Files) -> Result<(), RootError> {
    fs::create_dir_all(directory).map_err(unusable(directory))?;
    let _lock = lock(directory)?;
    let fitting = |name: &str| {
        name.ends_with(".pem") && !name.starts_with('.') && !name.contains(['/', '\\'])
    };
    for (name, content) in files.iter().filter(|(name, _)| fitting(name)) {
        private_file::write(&directory.join(name), content, SECRET)?;
    }
    for name in list(directory)?
        .into_keys()
        .filter(|name| !files.contains_key(name))
    {
        let file = directory.join(name);
        fs::remove_file(&file).map_err(unusable(&file))?;
    }
    Ok(())
}
