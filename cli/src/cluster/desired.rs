//! What should be: objects of the watched paths, and over them what was applied and deleted by
//! command. The last edit wins wherever it was made: a file that changes after an `apply` or a
//! `delete` of its object takes the object back.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::manifests::{Key, Loaded, Object, Problem};

/// What a command did to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Configured,
    Unchanged,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// An applied object, and what the watched paths said of it then.
#[derive(Debug)]
struct Applied {
    object: Object,
    over: Option<Value>,
}

/// The desired state.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    watched: BTreeMap<Key, Object>,
    watched_problems: Vec<Problem>,
    applied: BTreeMap<Key, Applied>,
    /// Deleted by command though the watched paths have it: what they said then.
    removed: BTreeMap<Key, Value>,
}

impl Desired {
    /// The watched paths were read again. An object whose document cannot be read any more keeps its
    /// last good version; it goes when its document does.
    pub(crate) fn set_watched(&mut self, loaded: Loaded) {
        let mut now = loaded.objects;
        for (key, last_good) in std::mem::take(&mut self.watched) {
            if !now.contains_key(&key) && is_broken(&last_good, &loaded.problems) {
                now.insert(key, last_good);
            }
        }
        self.applied.retain(|key, applied| match now.get(key) {
            Some(object) => applied.over.as_ref() == Some(&object.value),
            None => true,
        });
        self.removed
            .retain(|key, then| now.get(key).is_some_and(|object| object.value == *then));
        self.watched = now;
        self.watched_problems = loaded.problems;
    }

    /// Takes an object from a command.
    pub(crate) fn apply(&mut self, object: Object) -> Outcome {
        let key = object.key.clone();
        let outcome = match self.get(&key) {
            None => Outcome::Created,
            Some(current) if current.value == object.value => return Outcome::Unchanged,
            Some(_) => Outcome::Configured,
        };
        self.removed.remove(&key);
        let over = self.watched.get(&key).map(|watched| watched.value.clone());
        if over.as_ref() == Some(&object.value) {
            self.applied.remove(&key);
        } else {
            self.applied.insert(key, Applied { object, over });
        }
        outcome
    }

    /// Removes an object; false when there is none.
    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        let was = self.get(key).is_some();
        self.applied.remove(key);
        if let Some(watched) = self.watched.get(key) {
            self.removed.insert(key.clone(), watched.value.clone());
        }
        was
    }

    /// The object in force.
    pub(crate) fn get(&self, key: &Key) -> Option<&Object> {
        let watched = || {
            self.watched
                .get(key)
                .filter(|_| !self.removed.contains_key(key))
        };
        self.applied
            .get(key)
            .map(|applied| &applied.object)
            .or_else(watched)
    }

    /// Every object in force, by key.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        let mut all: BTreeMap<&Key, &Object> = self.watched.iter().collect();
        all.retain(|key, _| !self.removed.contains_key(*key));
        all.extend(
            self.applied
                .iter()
                .map(|(key, applied)| (key, &applied.object)),
        );
        all.into_values()
    }

    /// What was applied by command and is not in the watched paths as it is.
    pub(crate) fn applied(&self) -> impl Iterator<Item = &Object> {
        self.applied.values().map(|applied| &applied.object)
    }

    /// Objects that the watched paths have and a command deleted.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &Object> {
        self.removed.keys().filter_map(|key| self.watched.get(key))
    }

    /// What could not be read of the watched paths.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.watched_problems
    }
}

/// Whether an object is missing only because its document, or one of the same file that says not
/// whose it is, cannot be read.
fn is_broken(object: &Object, problems: &[Problem]) -> bool {
    let file = object.origin.file.display().to_string();
    problems.iter().any(|problem| {
        problem.file == file && (problem.name.is_empty() || problem.is_about(&object.key))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use heddle_control::check::Code;

    use std::path::Path;

    use super::*;
    use crate::manifests::parse;

    fn route(weight: u32) -> Object {
        let yaml = format!(
            "{{apiVersion: v1, kind: VirtualService, metadata: {{name: r}}, spec: {{weight: {weight}}}}}"
        );
        parse(Path::new("r.yaml"), &yaml).0.remove(0)
    }

    fn files(weights: &[u32]) -> Loaded {
        let objects = weights
            .iter()
            .map(|weight| route(*weight))
            .map(|object| (object.key.clone(), object))
            .collect();
        Loaded {
            objects,
            ..Loaded::default()
        }
    }

    fn weight(desired: &Desired) -> Option<u64> {
        desired
            .get(&route(0).key)
            .map(|object| object.at("/spec/weight").unwrap().as_u64().unwrap())
    }

    #[test]
    fn the_last_edit_wins() {
        let mut desired = Desired::default();
        desired.set_watched(files(&[1]));
        assert_eq!(desired.apply(route(1)), Outcome::Unchanged);
        assert_eq!(desired.applied().count(), 0);
        assert_eq!(desired.apply(route(2)), Outcome::Configured);
        assert_eq!(desired.apply(route(2)), Outcome::Unchanged);
        desired.set_watched(files(&[1]));
        assert_eq!(weight(&desired), Some(2), "the file did not change");
        desired.set_watched(files(&[3]));
        assert_eq!(weight(&desired), Some(3), "the file changed later");
        assert_eq!(desired.applied().count(), 0);
        assert_eq!(desired.apply(route(4)), Outcome::Configured);
        assert_eq!(desired.apply(route(3)), Outcome::Configured);
        assert_eq!(desired.applied().count(), 0, "back to what the file says");
    }

    #[test]
    fn deleted_is_deleted_until_edited() {
        let mut desired = Desired::default();
        desired.set_watched(files(&[1]));
        let key = route(0).key;
        assert!(desired.delete(&key));
        assert!(!desired.delete(&key));
        desired.set_watched(files(&[1]));
        assert_eq!(
            (
                weight(&desired),
                desired.removed().count(),
                desired.objects().count()
            ),
            (None, 1, 0)
        );
        assert_eq!(desired.apply(route(1)), Outcome::Created);
        assert_eq!((weight(&desired), desired.removed().count()), (Some(1), 0));
        desired.delete(&key);
        desired.set_watched(files(&[2]));
        assert_eq!(weight(&desired), Some(2));
        desired.set_watched(files(&[]));
        assert_eq!(weight(&desired), None);
    }

    #[test]
    fn a_document_that_breaks_keeps_its_last_good_version() {
        let mut desired = Desired::default();
        desired.set_watched(files(&[1]));
        let broken = |file: &str| Loaded {
            problems: vec![Problem::at(Code::Syntax, Path::new(file), 1, 1, "broken")],
            ..Loaded::default()
        };
        desired.set_watched(broken("r.yaml"));
        assert_eq!((weight(&desired), desired.problems().len()), (Some(1), 1));
        desired.set_watched(broken("other.yaml"));
        assert_eq!(weight(&desired), None);
    }
}
