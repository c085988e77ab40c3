//! The smallest JSON patch (RFC 6902) from one pod to another. Lists of named things (containers,
//! volumes, variables) are compared by name, so that putting a container first is one `add` and not
//! a rewrite of all. Operations apply in order; positions are those at that moment.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value, json};

/// Lists whose differing middles are larger than this product are replaced whole: a pod of 3 MiB
/// must not cost seconds.
const MOST_PAIRS: usize = 1 << 20;

pub(crate) fn between(from: &Value, to: &Value) -> Patch {
    let mut operations = Vec::new();
    values(&PointerBuf::new(), from, to, &mut operations);
    Patch(operations)
}

fn values(path: &PointerBuf, from: &Value, to: &Value, operations: &mut Vec<PatchOperation>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(from), Value::Object(to)) => objects(path, from, to, operations),
        (Value::Array(from), Value::Array(to)) => arrays(path, from, to, operations),
        _ => operations.push(PatchOperation::Replace(ReplaceOperation {
            path: path.clone(),
            value: to.clone(),
        })),
    }
}

fn objects(
    path: &PointerBuf,
    from: &Map<String, Value>,
    to: &Map<String, Value>,
    operations: &mut Vec<PatchOperation>,
) {
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        operations.push(PatchOperation::Remove(RemoveOperation {
            path: child(path, key),
        }));
    }
    for (key, value) in to {
        match from.get(key) {
            Some(old) => values(&child(path, key), old, value, operations),
            None => operations.push(PatchOperation::Add(AddOperation {
                path: child(path, key),
                value: value.clone(),
            })),
        }
    }
}

fn arrays(path: &PointerBuf, from: &[Value], to: &[Value], operations: &mut Vec<PatchOperation>) {
    let Some(kept) = kept(from, to) else {
        operations.push(PatchOperation::Replace(ReplaceOperation {
            path: path.clone(),
            value: json!(to),
        }));
        return;
    };
    let (mut old, mut new) = (0, 0);
    for (next_old, next_new) in kept.into_iter().chain([(from.len(), to.len())]) {
        for _ in old..next_old {
            operations.push(PatchOperation::Remove(RemoveOperation {
                path: child(path, &new.to_string()),
            }));
        }
        for (index, value) in to.iter().enumerate().take(next_new).skip(new) {
            operations.push(PatchOperation::Add(AddOperation {
                path: child(path, &index.to_string()),
                value: value.clone(),
            }));
        }
        if let (Some(from), Some(to)) = (from.get(next_old), to.get(next_new)) {
            values(&child(path, &next_new.to_string()), from, to, operations);
        }
        (old, new) = (next_old + 1, next_new + 1);
    }
}

/// Pairs of positions, old and new, at which the same thing stands, in order; `None` when the lists
/// are too long to compare.
pub(crate) fn kept(from: &[Value], to: &[Value]) -> Option<Vec<(usize, usize)>> {
    let equal = |(from, to): &(&Value, &Value)| from == to;
    let ahead = from.iter().zip(to).take_while(equal).count();
    let (from_rest, to_rest) = (&from[ahead..], &to[ahead..]);
    let behind = from_rest
        .iter()
        .rev()
        .zip(to_rest.iter().rev())
        .take_while(equal)
        .count();
    let from_middle = &from_rest[..from_rest.len() - behind];
    let to_middle = &to_rest[..to_rest.len() - behind];
    if from_middle.len().saturating_mul(to_middle.len()) > MOST_PAIRS {
        return None;
    }
    let mut kept: Vec<_> = (0..ahead).map(|index| (index, index)).collect();
    let middle = common(from_middle, to_middle).into_iter();
    kept.extend(middle.map(|(old, new)| (ahead + old, ahead + new)));
    kept.extend((0..behind).map(|index| {
        let back = behind - index;
        (from.len() - back, to.len() - back)
    }));
    Some(kept)
}

/// The longest sequence of pairs (old position, new position) that stand for the same thing.
fn common(from: &[Value], to: &[Value]) -> Vec<(usize, usize)> {
    let width = to.len() + 1;
    let mut longest = vec![0_u32; (from.len() + 1) * width];
    for old in (0..from.len()).rev() {
        for new in (0..to.len()).rev() {
            longest[old * width + new] = if same(&from[old], &to[new]) {
                longest[(old + 1) * width + new + 1] + 1
            } else {
                longest[(old + 1) * width + new].max(longest[old * width + new + 1])
            };
        }
    }
    let (mut old, mut new, mut pairs) = (0, 0, Vec::new());
    while old < from.len() && new < to.len() {
        if same(&from[old], &to[new]) {
            pairs.push((old, new));
            (old, new) = (old + 1, new + 1);
        } else if longest[(old + 1) * width + new] >= longest[old * width + new + 1] {
            old += 1;
        } else {
            new += 1;
        }
    }
    pairs
}

fn same(from: &Value, to: &Value) -> bool {
    match (
        from.get("name").and_then(Value::as_str),
        to.get("name").and_then(Value::as_str),
    ) {
        (Some(from), Some(to)) => from == to,
        _ => from == to,
    }
}

fn child(path: &PointerBuf, token: &str) -> PointerBuf {
    let mut path = path.clone();
    path.push_back(token);
    path
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(from: Value, to: Value, operations: usize) {
        let patch = between(&from, &to);
        let mut patched = from.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert_eq!(patched, to, "{from} by {patch}");
        assert_eq!(patch.len(), operations, "{patch}");
    }

    #[test]
    fn equal_values_need_nothing() {
        check(
            json!({"a": [1, {"b": null}]}),
            json!({"a": [1, {"b": null}]}),
            0,
        );
    }

    #[test]
    fn a_container_put_first_is_one_addition() {
        check(
            json!([{"name": "a"}, {"name": "b"}]),
            json!([{"name": "z"}, {"name": "a"}, {"name": "b"}]),
            1,
        );
    }

    #[test]
    fn a_change_inside_a_named_element_is_a_change_there() {
        check(
            json!([{"name": "a", "x": {"p": 1, "q": 2}}, {"name": "b"}]),
            json!([{"name": "z"}, {"name": "a", "x": {"p": 1, "q": 3}}, {"name": "b"}]),
            2,
        );
    }

    #[test]
    fn removals_moves_and_replacements_apply_in_order() {
        check(json!([1, 2, 3, 4]), json!([0, 2, 4, 5]), 4);
        check(
            json!([{"name": "a"}, {"name": "b"}]),
            json!([{"name": "b"}, {"name": "a"}]),
            2,
        );
        check(
            json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]),
            json!([]),
            3,
        );
        check(json!({"a": 1, "b": 2}), json!({"b": [2], "c": 3}), 3);
        check(json!({"a": null}), json!({"a": {"b": 1}}), 1);
    }

    #[test]
    fn keys_with_slashes_and_tildes_are_escaped() {
        check(
            json!({"annotations": {}}),
            json!({"annotations": {"heddle.io/a~b": "1"}}),
            1,
        );
        check(json!({"": {"a/b": 1}}), json!({"": {"a/b": 2}}), 1);
    }
}
