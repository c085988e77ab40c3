//! The paths a person gave: files, directories (recursively, `*.yaml`, `*.yml`, `*.json`) or `-`
//! for standard input. The second of two objects with the same key is refused by name. Inside a
//! directory only regular files are read (a pipe would wait for ever, a device never end), and no
//! directory twice, however links lead.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Error, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use heddle_control::check::Code;
use nix::libc::O_NONBLOCK;

use super::{Key, Object, Problem, parse};

/// Largest manifest that is read, bytes: far above any real one, below what hurts.
const MAX_FILE: u64 = 16 << 20;
/// Deepest directory that is entered, as by the control plane.
const MAX_DEPTH: usize = 32;
/// Most directories of one path: far above any real tree, and soon reached by a link to `/`.
const MAX_DIRECTORIES: usize = 4096;

/// A path that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file or directory.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// Why a path cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot read {}", path.display())]
    Missing {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Source {
    /// Takes a path as typed; it has to exist.
    pub(crate) fn new(path: &Path) -> Result<Self, SourceError> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        std::fs::metadata(path).map_err(|source| SourceError::Missing {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::Path(path.to_owned()))
    }
}

impl Source {
    /// Where it is, for those that can be watched.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Path(path) => Some(path),
            Self::Stdin => None,
        }
    }
}

/// What the sources hold.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) objects: BTreeMap<Key, Object>,
    pub(crate) problems: Vec<Problem>,
    /// Files that were read, in order.
    pub(crate) files: Vec<PathBuf>,
}

/// Reads every source; what cannot be read is a problem of that file. Where two sources hold the
/// same object the later source wins; twice in one source, the second is refused.
pub(crate) fn load(sources: &[Source]) -> Loaded {
    let mut all = Loaded::default();
    for source in sources {
        let mut loaded = Loaded::default();
        match source {
            Source::Stdin => {
                loaded.add(Path::new("<stdin>"), bounded(std::io::stdin().lock()));
            }
            Source::Path(path) if path.is_dir() => {
                let mut walk = Walk::default();
                walk.visit(path, 0, &mut loaded);
                if walk.visited.len() > MAX_DIRECTORIES {
                    let reason = format!("more than {MAX_DIRECTORIES} directories are below it");
                    let problem = Problem::at(Code::Unreadable, path, 0, 0, reason);
                    let advice = "name the directory with the manifests, without links out of it";
                    loaded.problems.push(problem.suggest(advice));
                }
            }
            // Named by a person: a pipe is meant.
            Source::Path(path) => loaded.add(path, File::open(path).and_then(bounded)),
        }
        all.objects.append(&mut loaded.objects);
        all.problems.append(&mut loaded.problems);
        all.files.append(&mut loaded.files);
    }
    all
}

/// A walk through one directory.
#[derive(Default)]
struct Walk {
    /// Device and inode of the directories so far.
    visited: HashSet<(u64, u64)>,
}

impl Walk {
    fn visit(&mut self, directory: &Path, depth: usize, loaded: &mut Loaded) {
        let unreadable = || {
            Problem::at(
                Code::Unreadable,
                directory,
                0,
                0,
                "the directory cannot be read",
            )
        };
        let (Ok(meta), Ok(entries)) = (directory.metadata(), directory.read_dir()) else {
            return loaded.problems.push(unreadable());
        };
        if self.visited.len() > MAX_DIRECTORIES || !self.visited.insert((meta.dev(), meta.ino())) {
            return;
        }
        let mut entries: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
            if entry.is_dir() {
                if depth < MAX_DEPTH {
                    self.visit(entry, depth + 1, loaded);
                }
            } else if is_manifest(entry) {
                loaded.add(entry, regular(entry).and_then(bounded));
            }
        }
    }
}

/// Whether a change of `path` inside a watched directory can matter.
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension == *known)
    })
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Opens a file without waiting for whoever may be at its other end.
fn regular(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Error::other("it is no regular file")),
    }
}

fn bounded(reader: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("it has more than the {MAX_FILE} bytes that are read");
        return Err(Error::other(reason));
    }
    String::from_utf8(bytes).map_err(|_| Error::other("it is not UTF-8"))
}

impl Loaded {
    fn add(&mut self, file: &Path, text: std::io::Result<String>) {
        self.files.push(file.to_owned());
        let (objects, problems) = match text {
            Ok(text) => parse(file, &text),
            Err(error) => (
                Vec::new(),
                vec![Problem::at(
                    Code::Unreadable,
                    file,
                    0,
                    0,
                    format!("the file cannot be read: {error}"),
                )],
            ),
        };
        self.problems.extend(problems);
        for object in objects {
            match self.objects.get(&object.key) {
                Some(first) => {
                    let place = format!("{}:{}", first.origin.file.display(), first.origin.line);
                    let problem = Problem::of(
                        Code::Twice,
                        &object,
                        format!("{} is already defined at {place}", object.key),
                    );
                    self.problems
                        .push(problem.suggest("remove one of the two, or give it another name"));
                }
                None => {
                    self.objects.insert(object.key.clone(), object);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_are_read_in_order_and_duplicates_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let object = |name: &str| {
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n")
        };
        std::fs::write(dir.path().join("a.yaml"), object("one")).unwrap();
        std::fs::write(
            dir.path().join("sub/b.yml"),
            format!("{}---\n{}", object("one"), object("two")),
        )
        .unwrap();
        std::fs::write(dir.path().join("notes.txt"), "not a manifest").unwrap();
        std::fs::write(dir.path().join(".hidden.yaml"), object("three")).unwrap();
        let loaded = load(&[Source::new(dir.path()).unwrap()]);
        assert_eq!(loaded.files.len(), 2);
        assert_eq!(
            loaded
                .objects
                .keys()
                .map(|key| key.name.as_str())
                .collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(loaded.problems.len(), 1);
        assert!(
            loaded.problems[0].reason.contains("already defined"),
            "{:?}",
            loaded.problems
        );
    }

    #[test]
    fn whatever_is_in_a_directory_reading_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("pipe.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero.yaml")).unwrap();
        std::os::unix::fs::symlink(".", at("again")).unwrap();
        std::os::unix::fs::symlink(".", at("and-again")).unwrap();
        std::fs::write(at("latin1.yaml"), b"a: \xe4").unwrap();
        File::create(at("huge.yaml"))
            .unwrap()
            .set_len(MAX_FILE + 1)
            .unwrap();
        let object = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: one}\n";
        std::fs::write(at("good.yaml"), object).unwrap();
        let loaded = load(&[Source::new(dir.path()).unwrap()]);
        assert_eq!((loaded.objects.len(), loaded.files.len()), (1, 5));
        let reasons: Vec<_> = loaded.problems.iter().map(|p| p.reason.as_str()).collect();
        let expected = [
            "more than the",
            "not UTF-8",
            "no regular file",
            "no regular file",
        ];
        assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
        for (reason, expected) in reasons.iter().zip(expected) {
            assert!(reason.contains(expected), "{reasons:?}");
        }
    }

    #[test]
    fn a_missing_path_is_an_error_at_once() {
        assert!(Source::new(Path::new("/nowhere/at/all.yaml")).is_err());
    }
}
