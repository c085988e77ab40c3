//! Whatever a file holds: no panic, and what is good is judged and compiled without one either.
#![allow(clippy::unwrap_used)]

mod round;
mod shapes;

use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    check::admission,
    model::{Client, Model, Settings},
    name::NsName,
    resources::labels::{Interner, Labels},
    source::{
        Change,
        document::split,
        node::ends,
        read::{Item, read},
    },
};

const SEED: &str = concat!(
    include_str!("../../../testdata/bookinfo.yaml"),
    "---\n",
    include_str!("../../../testdata/networking.yaml"),
    "---\n",
    include_str!("../../../testdata/mistakes.yaml"),
);
const WORDS: [&str; 28] = [
    "---",
    "\n",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "\\",
    "\t",
    "\u{0}",
    "\u{feff}",
    "é\u{301}",
    "99999999999999999999",
    "-1",
    "null",
    "1e999",
    "!!str ",
    "? ",
    "%YAML 1.2\n",
    "...",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(prop::sample::Index, usize),
    Delete(prop::sample::Index, usize),
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), 0..WORDS.len()).prop_map(|(at, word)| Edit::Insert(at, word)),
        (any::<Index>(), 1..60_usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<Index>(), any::<Index>(), 1..200_usize)
            .prop_map(|(from, to, len)| Edit::Copy(from, to, len)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Swap(a, b)),
    ]
}

fn mutate(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for edit in edits {
        let len = chars.len();
        if len == 0 {
            break;
        }
        match edit {
            Edit::Insert(at, word) => {
                let at = at.index(len);
                chars.splice(at..at, WORDS[*word].chars());
            }
            Edit::Delete(at, count) => {
                let at = at.index(len);
                chars.drain(at..(at + count).min(len));
            }
            Edit::Copy(from, to, count) => {
                let (from, to) = (from.index(len), to.index(len));
                let piece: Vec<char> = chars[from..(from + count).min(len)].to_vec();
                chars.splice(to..to, piece);
            }
            Edit::Swap(a, b) => {
                // Whole lines change places.
                let text: String = chars.iter().collect();
                let mut lines: Vec<&str> = text.split('\n').collect();
                let count = lines.len();
                lines.swap(a.index(count), b.index(count));
                chars = lines.join("\n").chars().collect();
            }
        }
    }
    chars.into_iter().collect()
}

fn digest(text: &str) {
    for document in split(text) {
        ends(document.text, document.line_offset);
    }
    let mut interner = Interner::default();
    let mut model = Model::new(Settings::default());
    let mut changes = Vec::new();
    for document in split(text) {
        for item in read(&document, None, &mut interner) {
            match item {
                Item::Good(object) => changes.push(Change::Upsert(object)),
                Item::Bad { refusals, .. } => {
                    for refusal in refusals {
                        assert!(
                            !refusal.reason.is_empty() && refusal.at.line > 0,
                            "{refusal:?}"
                        );
                    }
                }
            }
        }
    }
    let names: Vec<NsName> = changes
        .iter()
        .map(|change| match change {
            Change::Upsert(object) => object.key.name.clone(),
            Change::Remove(key) => key.name.clone(),
        })
        .collect();
    let gone: Vec<Change> = changes
        .iter()
        .filter_map(|change| {
            if let Change::Upsert(object) = change {
                Some(Change::Remove(object.key.clone()))
            } else {
                None
            }
        })
        .collect();
    let objects: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Upsert(object) => Some(object.clone()),
            Change::Remove(_) => None,
        })
        .take(8)
        .collect();
    model.apply(changes);
    let client = Client {
        namespace: Arc::from("default"),
        labels: Labels::default(),
    };
    for name in &names {
        model.service_resource(name, &client);
        model.endpoints(name, &client);
        model.route_table(name, &client);
        model.workload(name);
    }
    for name in [
        "api.example.com",
        "db.default.svc.cluster.local",
        "x.wild.example",
    ] {
        model.dns_name(name, &client);
    }
    for finding in model.warnings().iter().chain(&model.refusals()) {
        assert!(!finding.reason.is_empty() && !finding.consequence.is_empty());
    }
    for object in &objects {
        admission(&model, object);
    }
    model.apply(gone);
    assert_eq!((model.service_count(), model.endpoint_count()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_manifests_never_panic(edits in prop::collection::vec(edit(), 1..12)) {
        digest(&mutate(SEED, &edits));
    }

    #[test]
    fn noise_never_panics(text in "[-a-z:{}\\[\\]&*<>|'\"!%@`#,? \t\n0-9.]{0,300}") {
        digest(&text);
    }
}
