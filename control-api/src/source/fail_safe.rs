//! What stands for a PeerAuthentication that is refused and that has no last good version. A slip of
//! the fingers in a policy that asks for mutual TLS must not mean plain text, so whatever of it
//! asks for STRICT, or cannot be read and might, is STRICT for the scope that it names. A
//! stand-in never loosens: what it plainly asks for beyond that waits until it is mended.

use std::collections::BTreeMap;

use super::{
    node::{Key, Node, Value},
    suggest,
};
use crate::resources::{
    at::At,
    peer_authentication::{Mode, Mtls, PeerAuthentication, Selector},
};

const KIND: &str = "PeerAuthentication";
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
const SPEC: [&str; 3] = ["selector", "mtls", "portLevelMtls"];

/// As much of a refused document as there is.
pub(super) enum Legible<'a> {
    /// It is YAML.
    Tree(&'a Node),
    /// It is not.
    Lines(&'a str),
}

/// The stand-in for a refused document of this kind. None: it is of another kind, or asks for nothing
/// that would be missed.
pub(super) fn policy(kind: &str, document: &Legible<'_>) -> Option<PeerAuthentication> {
    suggest::nearest(kind, [KIND])?;
    match document {
        Legible::Tree(root) => of_tree(root),
        Legible::Lines(text) => of_lines(text),
    }
}

fn of_tree(root: &Node) -> Option<PeerAuthentication> {
    let Some(spec) = field(root, "spec", &TOP) else {
        let strange = entries(root).any(|(key, _)| !TOP.contains(&&*key.name));
        return strange.then(strict);
    };
    if spec.is_null() {
        return None;
    }
    let mtls = field(spec, "mtls", &SPEC);
    let unreadable = match &spec.value {
        Value::Map(entries) => {
            mtls.is_none()
                && entries
                    .iter()
                    .any(|(key, _)| suggest::nearest(&key.name, SPEC).is_none())
        }
        _ => true,
    };
    let mut is_strict = unreadable || mtls.is_some_and(asks_for_strict);
    let mut ports = BTreeMap::new();
    if let Some(written) = field(spec, "portLevelMtls", &SPEC) {
        is_strict |= !matches!(written.value, Value::Map(_)) && !written.is_null();
        for (port, _) in entries(written).filter(|(_, mtls)| asks_for_strict(mtls)) {
            match port.name.parse::<u16>() {
                Ok(number) if number > 0 => {
                    let mtls = Mtls { mode: Mode::Strict };
                    ports.insert(
                        number.to_string(),
                        At {
                            at: port.at,
                            value: mtls,
                        },
                    );
                }
                // Which port cannot be told.
                _ => is_strict = true,
            }
        }
    }
    if !is_strict && ports.is_empty() {
        return None;
    }
    let written = field(spec, "selector", &SPEC).filter(|selector| !selector.is_null());
    let selector = written.and_then(match_labels);
    Some(PeerAuthentication {
        // Ports are those of pods, so they need a policy for pods.
        any_pod: selector.is_none() && (written.is_some() || !ports.is_empty()),
        selector,
        mtls: is_strict.then_some(At::nowhere(Mtls { mode: Mode::Strict })),
        port_level_mtls: ports,
    })
}

/// Not even YAML: its lines say whether it can have meant to loosen only.
fn of_lines(text: &str) -> Option<PeerAuthentication> {
    let lines = || {
        text.lines()
            .map(|line| line.split('#').next().unwrap_or_default())
    };
    let mut modes = lines()
        .flat_map(|line| line.split("mode:").skip(1))
        .map(|rest| {
            let end = |c: char| matches!(c, ',' | '}');
            rest.split(end)
                .next()
                .unwrap_or_default()
                .trim()
                .trim_matches(['"', '\''])
        });
    let first = modes.next();
    if first.is_some_and(is_loose) && modes.all(is_loose) {
        return None;
    }
    Some(PeerAuthentication {
        any_pod: lines().any(|line| line.contains("selector") || line.contains("matchLabels")),
        ..strict()
    })
}

fn strict() -> PeerAuthentication {
    PeerAuthentication {
        mtls: Some(At::nowhere(Mtls { mode: Mode::Strict })),
        ..PeerAuthentication::default()
    }
}

fn asks_for_strict(mtls: &Node) -> bool {
    match field(mtls, "mode", &["mode"]) {
        Some(mode) => !mode.text().is_some_and(is_loose),
        None => {
            !mtls.is_null() && !matches!(&mtls.value, Value::Map(entries) if entries.is_empty())
        }
    }
}

fn is_loose(mode: &str) -> bool {
    ["PERMISSIVE", "DISABLE", "UNSET"]
        .iter()
        .any(|loose| mode.eq_ignore_ascii_case(loose))
}

/// None: which pods it selects cannot be read.
fn match_labels(selector: &Node) -> Option<Selector> {
    let labels = field(selector, "matchLabels", &["matchLabels"])?;
    let read: Option<BTreeMap<String, String>> = entries(labels)
        .map(|(key, value)| Some((key.name.to_string(), value.text()?.to_owned())))
        .collect();
    read.filter(|labels| !labels.is_empty())
        .map(|match_labels| Selector { match_labels })
}

/// A field by its name, or by one that can only be a slip of it.
fn field<'a>(node: &'a Node, name: &str, allowed: &[&str]) -> Option<&'a Node> {
    let slip = |key: &Key| {
        !allowed.contains(&&*key.name)
            && suggest::nearest(&key.name, allowed.iter().copied()) == Some(name)
    };
    let near = || entries(node).find(|(key, _)| slip(key));
    node.get(name).or_else(|| near().map(|(_, node)| node))
}

fn entries(node: &Node) -> impl Iterator<Item = &(Key, Node)> {
    let entries: &[(Key, Node)] = match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    };
    entries.iter()
}
