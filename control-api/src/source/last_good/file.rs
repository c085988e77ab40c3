//! The file: a line that names the format, a SHA-256 of what follows, and that. Bounded both ways; a
//! file of which any bit is wrong is refused whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use prost::Message;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::name::{Kind, NsName, ObjectKey};

const NAME: &str = "last-good";
const MAGIC: &[u8] = b"heddle last good 1\n";
const DIGEST: usize = 32;
/// Largest file, in bytes: thousands of bad documents at once.
const MAX_FILE: usize = 64 * 1024 * 1024;

/// Of a file's contents.
pub(super) type Digest = [u8; DIGEST];

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it has more than {MAX_FILE} bytes")]
    TooLarge,
    #[error("it is damaged, or of another version")]
    Damaged,
}

/// A document.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Text {
    #[prost(string, tag = "1")]
    pub(super) text: String,
    #[prost(string, tag = "2")]
    pub(super) file: String,
    #[prost(uint32, tag = "3")]
    pub(super) line_offset: u32,
    /// Which of its objects are meant.
    #[prost(message, repeated, tag = "4")]
    pub(super) objects: Vec<Held>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Held {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(bool, tag = "4")]
    pub(super) in_model: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(message, repeated, tag = "1")]
    texts: Vec<Text>,
}

impl Held {
    pub(super) fn new(key: &ObjectKey, in_model: bool) -> Self {
        Self {
            kind: key.kind.to_string(),
            namespace: key.name.namespace().to_owned(),
            name: key.name.name().to_owned(),
            in_model,
        }
    }

    pub(super) fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey {
            kind: Kind::parse(&self.kind)?,
            name: NsName::new(&self.namespace, &self.name)?,
        })
    }
}

pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// Nothing where there is no file.
pub(super) fn load(path: &Path) -> Result<Vec<Text>, Damage> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if bytes.len() > MAX_FILE {
        return Err(Damage::TooLarge);
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or(Damage::Damaged)?;
    let (digest, body) = rest.split_at_checked(DIGEST).ok_or(Damage::Damaged)?;
    if Sha256::digest(body)[..] != *digest {
        return Err(Damage::Damaged);
    }
    let contents = Contents::decode(body).map_err(|_| Damage::Damaged)?;
    Ok(contents.texts)
}

/// Writes, unless that is what was written last. Nothing to keep is no file.
pub(super) fn store(path: &Path, texts: Vec<Text>, last: Option<Digest>) -> io::Result<Digest> {
    let all = texts.len();
    let texts = fitting(texts, MAX_FILE - MAGIC.len() - DIGEST);
    let body = Contents { texts };
    let encoded = body.encode_to_vec();
    let digest: Digest = Sha256::digest(&encoded).into();
    if last == Some(digest) {
        return Ok(digest);
    }
    if body.texts.len() < all {
        warn!(
            kept = body.texts.len(),
            of = all,
            "too many documents are bad to keep the last good version of each"
        );
    }
    if body.texts.is_empty() {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(digest),
        }
    }
    replace(path, &[MAGIC, &digest, &encoded])?;
    Ok(digest)
}

/// As many as there is room for.
fn fitting(mut texts: Vec<Text>, room: usize) -> Vec<Text> {
    let mut used = 0;
    let fit = texts.iter().take_while(|text| {
        // A tag and a length of at most ten bytes go before each.
        used += text.encoded_len() + 12;
        used <= room
    });
    texts.truncate(fit.count());
    texts
}

fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("new");
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
        .and_then(|mut file| {
            parts.iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file would only fill the disk further; the write's own error is what is told.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(name: &str, bytes: usize) -> Text {
        Text {
            text: "x".repeat(bytes),
            file: "f.yaml".into(),
            line_offset: 7,
            objects: vec![Held {
                kind: "Service".into(),
                namespace: "default".into(),
                name: name.into(),
                in_model: true,
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("not/yet/there"));
        assert_eq!(load(&path).unwrap(), []);
        let texts = vec![text("a", 10), text("b", 0)];
        let digest = store(&path, texts.clone(), None).unwrap();
        assert_eq!(load(&path).unwrap(), texts);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::remove_file(&path).unwrap();
        store(&path, texts.clone(), Some(digest)).unwrap();
        assert!(!path.exists(), "the same is not written again");
        store(&path, texts, None).unwrap();
        store(&path, Vec::new(), Some(digest)).unwrap();
        assert!(!path.exists());
        store(&path, Vec::new(), None).unwrap();
    }

    #[test]
    fn damage_of_any_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        store(&path, vec![text("a", 100)], None).unwrap();
        let good = fs::read(&path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(load(&path), Err(Damage::Damaged)), "{place}");
            fs::write(&path, &good[..place]).unwrap();
            assert!(
                matches!(load(&path), Err(Damage::Damaged)),
                "cut at {place}"
            );
        }
        File::create(&path)
            .unwrap()
            .set_len(MAX_FILE as u64 + 1)
            .unwrap();
        assert!(matches!(load(&path), Err(Damage::TooLarge)));
    }

    #[test]
    fn a_file_is_never_larger_than_its_bound() {
        let texts: Vec<Text> = (0..20).map(|n| text("a", 100 * n)).collect();
        for room in (0..20_000).step_by(37) {
            let texts = fitting(texts.clone(), room);
            let kept = texts.len();
            let length = Contents { texts }.encoded_len();
            assert!(length <= room, "{kept} in {length} of {room}");
        }
        assert_eq!(fitting(texts, 30_000).len(), 20);
    }
}
