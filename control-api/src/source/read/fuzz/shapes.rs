//! Documents whose values change places, types and sizes while they stay YAML: the guide's examples, one of
//! each code, with parts dropped, repeated, exchanged, wrapped and blown up; and the same bytes as other
//! editors would have written them.

use std::sync::LazyLock;

use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value, json};

use super::digest;
use crate::source::{document::split, node::Node, scalar::Scalar};

const GUIDES: [&str; 3] = [
    include_str!("../../../../../docs/check.md"),
    include_str!("../../../../../docs/routes.md"),
    include_str!("../../../../../docs/gateway-api.md"),
];

/// The examples of the guides, as trees.
pub(super) static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(documents);

fn documents() -> Vec<Value> {
    let blocks = GUIDES
        .iter()
        .flat_map(|guide| guide.split("```yaml\n").skip(1));
    let blocks = blocks.filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block));
    let mut all = Vec::new();
    for block in blocks {
        for document in split(block) {
            if let Ok(node) = Node::parse(document.text, 0) {
                all.push(node.to_json());
            }
        }
    }
    all
}

/// Values that somebody might not expect where they stand.
fn strange(which: usize) -> Value {
    let all = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(65_536),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(""),
        json!("*"),
        json!("\u{0}"),
        json!("a".repeat(5_000)),
        json!("/\u{202e}é%00\\"),
        json!("(((((((((("),
        json!("(a{1000}){1000}"),
        json!("99999999999h"),
        json!([]),
        json!({}),
        json!([[], {}, null]),
        json!({"": "", "a": null, "\n": []}),
        json!(["a", "a", "a"]),
        json!("default/cart"),
        json!("cart.default.svc.cluster.local"),
    ];
    all[which % all.len()].clone()
}

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Remove(Index),
    Replace(Index, usize),
    /// What stands at the first takes the place of the second.
    Copy(Index, Index),
    Exchange(Index, Index),
    Wrap(Index, bool, usize),
    /// A list's items, again and again.
    Repeat(Index, usize),
    Rename(Index, usize),
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Edit::Remove),
        (at(), any::<usize>()).prop_map(|(at, which)| Edit::Replace(at, which)),
        (at(), at()).prop_map(|(from, to)| Edit::Copy(from, to)),
        (at(), at()).prop_map(|(a, b)| Edit::Exchange(a, b)),
        (at(), any::<bool>(), 1..80_usize).prop_map(|(at, list, deep)| Edit::Wrap(at, list, deep)),
        (at(), 1..40_usize).prop_map(|(at, times)| Edit::Repeat(at, times)),
        (at(), any::<usize>()).prop_map(|(at, which)| Edit::Rename(at, which)),
    ]
}

/// Paths (as JSON pointers) of every value, the root's first.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                places(item, &format!("{path}/{i}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

pub(super) fn apply(root: &mut Value, edit: &Edit) {
    let mut all = Vec::new();
    places(root, "", &mut all);
    let at = |index: &Index| all[index.index(all.len())].as_str();
    let parent = |path: &str| {
        let (parent, name) = path.rsplit_once('/')?;
        Some((
            parent.to_owned(),
            name.replace("~1", "/").replace("~0", "~"),
        ))
    };
    match edit {
        Edit::Remove(index) => {
            let Some((parent, name)) = parent(at(index)) else {
                return;
            };
            match root.pointer_mut(&parent) {
                Some(Value::Object(fields)) => drop(fields.remove(&name)),
                Some(Value::Array(items)) => drop(items.remove(name.parse().unwrap())),
                _ => {}
            }
        }
        Edit::Replace(index, which) => {
            *root.pointer_mut(at(index)).unwrap() = strange(*which);
        }
        Edit::Copy(from, to) => {
            let copy = root.pointer(at(from)).unwrap().clone();
            *root.pointer_mut(at(to)).unwrap() = copy;
        }
        Edit::Exchange(a, b) => {
            let (one, other) = (at(a).to_owned(), at(b).to_owned());
            let (left, right) = (root.pointer(&one).cloned(), root.pointer(&other).cloned());
            if let (Some(left), Some(right)) = (left, right) {
                *root.pointer_mut(&one).unwrap() = right;
                if let Some(place) = root.pointer_mut(&other) {
                    *place = left;
                }
            }
        }
        Edit::Wrap(index, list, deep) => {
            let place = root.pointer_mut(at(index)).unwrap();
            for _ in 0..*deep {
                let inner = place.take();
                *place = match list {
                    true => json!([inner]),
                    false => json!({"spec": inner}),
                };
            }
        }
        Edit::Repeat(index, times) => {
            if let Some(Value::Array(items)) = root.pointer_mut(at(index))
                && items.len() < 1_000
            {
                let once: Vec<Value> = items.iter().take(1_000).cloned().collect();
                for _ in 0..*times {
                    items.extend(once.iter().cloned());
                }
            }
        }
        Edit::Rename(index, which) => {
            let Some((parent, name)) = parent(at(index)) else {
                return;
            };
            const NAMES: [&str; 6] = ["on", "0123", "", "~", "<<", "spec\u{0}"];
            if let Some(Value::Object(fields)) = root.pointer_mut(&parent)
                && let Some(value) = fields.remove(&name)
            {
                fields.insert(NAMES[which % NAMES.len()].to_owned(), value);
            }
        }
    }
}

/// The same document as it may lie in a file.
fn written(document: &Value, how: usize) -> String {
    let json = document.to_string();
    match how % 6 {
        0 => json,
        1 => format!("\u{feff}{}", block(document, 0)),
        2 => block(document, 0).replace('\n', "\r\n"),
        3 => block(document, 0).replace("  ", "\t"),
        4 => format!("%YAML 1.1\n---\n{}...\n", block(document, 0)),
        // By way of an anchor, in a list of aliases.
        _ => format!("apiVersion: v1\nkind: List\nitems: [&a {json}, *a, *a]\n"),
    }
}

/// In block style, scalars without quotes where they are no text of their own.
pub(super) fn block(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() && depth < 100 => {
            let entry = |(name, value): (&String, &Value)| {
                let inner = match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        format!("\n{}", block(value, depth + 1))
                    }
                    Value::String(text)
                        if text.bytes().all(|b| b.is_ascii_alphanumeric())
                            && Scalar::plain(text) == Scalar::Text(text) =>
                    {
                        format!(" {text}\n")
                    }
                    other => format!(" {other}\n"),
                };
                format!("{indent}{}:{inner}", Value::from(name.as_str()))
            };
            fields.iter().map(entry).collect()
        }
        other => format!("{indent}{other}\n"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_of_strange_shapes_never_panic(
        chosen in prop::collection::vec(any::<Index>(), 1..5),
        edits in prop::collection::vec((any::<Index>(), edit()), 0..10),
        how in any::<usize>(),
    ) {
        let mut documents: Vec<Value> = chosen.iter().map(|one| one.get(&DOCUMENTS[..]).clone()).collect();
        for (which, edit) in &edits {
            let place = which.index(documents.len());
            apply(&mut documents[place], edit);
        }
        let texts: Vec<String> = documents.iter().map(|one| written(one, how)).collect();
        digest(&texts.join("\n---\n"));
    }
}

/// A byte order mark, Windows' line ends and a directive change nothing.
#[test]
fn the_same_document_of_another_editor_is_the_same() {
    let route = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "cart"},
        "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart"}}]}]},
    });
    let mut empty = Map::new();
    empty.insert("x".to_owned(), Value::Null);
    assert_eq!(block(&Value::Object(empty), 0), "\"x\": null\n");
    for how in [0, 1, 2, 4] {
        let text = written(&route, how);
        let documents = split(&text);
        assert_eq!(documents.len(), 1, "{text:?}");
        let read = Node::parse(documents[0].text, documents[0].line_offset).unwrap();
        assert_eq!(read.to_json(), route, "{text:?}");
    }
}
