//! The paths a person gave: files, directories (recursively, `*.yaml`, `*.yml`, `*.json`) or `-`
//! for standard input. The second of two objects with the same key is refused by name.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Key, Object, Problem, parse};

/// Largest manifest that is read, bytes: far above any real one, below what hurts.
const MAX_FILE: u64 = 16 << 20;
/// Deepest directory that is entered; symlink loops end here.
const MAX_DEPTH: usize = 16;

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
                let mut text = String::new();
                let read = std::io::stdin()
                    .lock()
                    .take(MAX_FILE)
                    .read_to_string(&mut text);
                loaded.add(Path::new("<stdin>"), read.map(|_| text));
            }
            Source::Path(path) => visit(path, 0, true, &mut loaded),
        }
        all.objects.append(&mut loaded.objects);
        all.problems.append(&mut loaded.problems);
        all.files.append(&mut loaded.files);
    }
    all
}

fn visit(path: &Path, depth: usize, named: bool, loaded: &mut Loaded) {
    if path.is_dir() {
        if depth == MAX_DEPTH {
            return;
        }
        let Ok(entries) = std::fs::read_dir(path) else {
            loaded
                .problems
                .push(Problem::at(path, 0, 0, "the directory cannot be read"));
            return;
        };
        let mut entries: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
            visit(entry, depth + 1, false, loaded);
        }
    } else if named || is_manifest(path) {
        loaded.add(path, read(path));
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

fn read(path: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(std::io::Error::other(format!(
            "{length} bytes are more than the {MAX_FILE} that are read"
        )));
    }
    std::fs::read_to_string(path)
}

impl Loaded {
    fn add(&mut self, file: &Path, text: std::io::Result<String>) {
        self.files.push(file.to_owned());
        let (objects, problems) = match text {
            Ok(text) => parse(file, &text),
            Err(error) => (
                Vec::new(),
                vec![Problem::at(
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
    fn a_missing_path_is_an_error_at_once() {
        assert!(Source::new(Path::new("/nowhere/at/all.yaml")).is_err());
    }
}
