//! What a file contributes: its good objects, and for a bad document what was there when it was
//! good, or else what stands in for it (`fail_safe`). Says in each refusal which of these it is.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::claims::twice;
use crate::{
    name::ObjectKey,
    resources::peer_authentication::PeerAuthentication,
    source::{Object, Refusal, Resource, read::Item},
};

/// Key and object, in the order of the file.
pub(in crate::source) type Contents = Vec<(ObjectKey, Arc<Object>)>;

#[derive(Default)]
pub(in crate::source) struct Contribution {
    pub(in crate::source) contents: Contents,
    /// Those of the contents that were there before and are not written any more.
    pub(in crate::source) kept: Vec<Arc<Object>>,
    pub(in crate::source) refusals: Vec<Refusal>,
}

impl Contribution {
    /// A document of which not even the name can be told keeps everything that the file held.
    pub(in crate::source) fn of(items: &[Arc<Item>], before: &Contents) -> Self {
        let mut found = Self::default();
        let mut good: HashMap<&ObjectKey, &Arc<Object>> = HashMap::new();
        let mut bad = BTreeSet::new();
        let mut keep_all = false;
        for item in items {
            match &**item {
                Item::Good(object) => match good.get(&object.key) {
                    None => {
                        good.insert(&object.key, object);
                        found.contents.push((object.key.clone(), object.clone()));
                    }
                    Some(first) => found.refusals.push(twice(object, first)),
                },
                Item::Bad { key: Some(key), .. } => _ = bad.insert(key),
                Item::Bad { key: None, .. } => keep_all = true,
            }
        }
        let kept = before
            .iter()
            .filter(|(key, object)| (keep_all || bad.contains(key)) && !object.stand_in);
        let mut known: HashSet<ObjectKey> = good.into_keys().cloned().collect();
        for (key, object) in kept {
            if known.insert(key.clone()) {
                found.contents.push((key.clone(), object.clone()));
                found.kept.push(object.clone());
            }
        }
        for item in items {
            if let Item::Bad {
                key,
                refusals,
                stand_in,
            } = &**item
            {
                let what_follows = found.instead(key.as_ref(), stand_in.as_ref(), &mut known);
                let told = refusals.iter().cloned().map(|refusal| match &what_follows {
                    Some(consequence) => Refusal {
                        consequence: consequence.clone(),
                        ..refusal
                    },
                    None => refusal,
                });
                found.refusals.extend(told);
            }
        }
        found
    }

    /// What is in force instead of a bad document, put among the contents where it is not yet.
    fn instead(
        &mut self,
        key: Option<&ObjectKey>,
        stand_in: Option<&Arc<Object>>,
        known: &mut HashSet<ObjectKey>,
    ) -> Option<String> {
        if key.is_some_and(|key| self.kept.iter().any(|object| object.key == *key)) {
            return Some("it is refused; its last good version stays in force".to_owned());
        }
        // A document without a name may be any of those that its file keeps.
        let may_be_kept = |object: &Object| {
            key.is_none()
                && self
                    .kept
                    .iter()
                    .any(|kept| kept.key.kind == object.key.kind)
        };
        let stand_in =
            stand_in.filter(|object| !may_be_kept(object) && known.insert(object.key.clone()));
        if let Some(object) = stand_in {
            self.contents.push((object.key.clone(), object.clone()));
            return Some(strictness(object));
        }
        match key {
            Some(key) if !known.contains(key) => {
                Some("it is refused; no version of it is in force".to_owned())
            }
            _ => None,
        }
    }
}

fn strictness(stand_in: &Object) -> String {
    let Resource::PeerAuthentication(policy) = &stand_in.resource else {
        return String::new();
    };
    format!(
        "it is refused; no version of it was ever good, so until it is mended mutual TLS is STRICT for {}",
        scope(policy, stand_in.key.name.namespace())
    )
}

fn scope(policy: &PeerAuthentication, namespace: &str) -> String {
    let pods = match &policy.selector {
        Some(selector) => {
            let labels = selector
                .match_labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            let labels = labels.collect::<Vec<_>>().join(",");
            format!("the pods {labels} of namespace {namespace}")
        }
        None if policy.any_pod => {
            format!("every pod of namespace {namespace} that no other policy selects")
        }
        None => format!("all that is under namespace {namespace}"),
    };
    if policy.mtls.is_some() {
        return pods;
    }
    let ports: Vec<&str> = policy.port_level_mtls.keys().map(String::as_str).collect();
    format!("port {} of {pods}", ports.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::{
        resources::labels::Interner,
        source::{document::split, read::read},
    };

    fn contribution(text: &str, before: &Contents) -> Contribution {
        let path: Arc<Path> = Path::new("p.yaml").into();
        let documents = split(text);
        let items = documents
            .iter()
            .flat_map(|document| read(document, Some(&path), &mut Interner::default()));
        let items: Vec<_> = items.map(Arc::new).collect();
        Contribution::of(&items, before)
    }

    fn policy(metadata: &str, rest: &str) -> String {
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {metadata}\n{rest}"
        )
    }

    /// The stand-in's scope, or what the refusal says instead.
    fn told(text: &str) -> String {
        let found = contribution(text, &Contents::new());
        assert!(!found.refusals.is_empty(), "{text}");
        assert!(found.kept.is_empty());
        for refusal in &found.refusals {
            assert_eq!(
                refusal.consequence.contains("STRICT for"),
                !found.contents.is_empty(),
                "{refusal}"
            );
        }
        let Some((_, object)) = found.contents.first() else {
            return "nothing".to_owned();
        };
        assert!(object.stand_in && object.origin.at.line > 0);
        let Resource::PeerAuthentication(policy) = &object.resource else {
            panic!("a policy")
        };
        scope(policy, object.key.name.namespace())
    }

    #[test]
    fn a_refused_policy_that_may_have_asked_for_it_is_strict_where_it_plainly_applies() {
        let shop = "{name: p, namespace: shop}";
        let everything = "all that is under namespace shop";
        let cart = "the pods app=cart of namespace shop";
        let each = "every pod of namespace shop that no other policy selects";
        for (rest, scope) in [
            // Only something else is wrong.
            ("spec: {mtls: {mode: STRICT}, colour: red}", everything),
            (
                "spec: {mtls: {mode: STRICT, colour: red}, selector: {matchLabels: {app: cart}}}",
                cart,
            ),
            ("spec: {mtls: {mode: STRICT}}\nstatsu: {}", everything),
            // The mode itself.
            ("spec: {mtls: {mode: STRCT}}", everything),
            ("spec: {mtls: {moed: STRICT}}", everything),
            ("spec: {mtls: STRICT}", everything),
            ("spec: {mtsl: {mode: STRICT}}", everything),
            ("sepc: {mtls: {mode: STRICT}}", everything),
            ("spec: [mtls]", everything),
            ("spec: {security: {mode: STRICT}}", everything),
            // Whom it is for.
            (
                "spec: {selctor: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}",
                cart,
            ),
            (
                "spec: {selector: {matchLables: {app: cart}}, mtls: {mode: STRICT}}",
                cart,
            ),
            ("spec: {selector: {app: cart}, mtls: {mode: STRICT}}", each),
            ("spec: {selector: cart, mtls: {mode: STRICT}}", each),
            // Ports.
            (
                "spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {80: {mode: X}}}",
                "port 80 of the pods app=cart of namespace shop",
            ),
            (
                "spec: {portLevelMtls: {80: {mode: STRICT}}}",
                "port 80 of every pod of namespace shop that no other policy selects",
            ),
            (
                "spec: {selector: {matchLabels: {app: cart}}, portLevelMtls: {http: {mode: STRICT}}}",
                cart,
            ),
            // It plainly asks for no mutual TLS, and loosens nothing either.
            ("spec: {mtls: {mode: PERMISSIVE}, colour: red}", "nothing"),
            ("spec: {mtls: {mode: disable}, colour: red}", "nothing"),
            ("spec: {mtls: {}}\nstatsu: {}", "nothing"),
        ] {
            assert_eq!(told(&policy(shop, rest)), scope, "{rest}");
        }
        // Its name, its kind, its version; text that is no YAML.
        let strict = "spec: {mtls: {mode: STRICT}}";
        assert_eq!(told(&policy("{namespace: shop}", strict)), everything);
        let good = policy(shop, strict);
        for (from, to) in [
            ("PeerAuthentication", "PeerAuthentcation"),
            ("istio.io/v1", "istio.io/v7"),
            ("apiVersion: security.istio.io/v1\n", ""),
        ] {
            assert_eq!(told(&good.replace(from, to)), everything, "{to}");
        }
        let block = "\n  name: p\n  namespace: shop";
        assert_eq!(
            told(&policy(block, "spec: {mtls: {mode: STRICT}")),
            everything
        );
        let broken = "spec:\n  selector: [\n  mtls:\n    mode: STRICT\n";
        assert_eq!(told(&policy(block, broken)), each);
        assert_eq!(
            told(&policy(block, "spec: {mtls: {mode: PERMISSIVE}")),
            "nothing"
        );
    }

    #[test]
    fn what_was_good_before_goes_before_a_stand_in() {
        let good = policy("{name: p}", "spec: {mtls: {mode: PERMISSIVE}}");
        let before = contribution(&good, &Contents::new()).contents;
        for bad in [
            good.replace("PERMISSIVE", "PERMISIVE"),
            good.replace("{name: p}", "{name: p"),
        ] {
            let found = contribution(&bad, &before);
            assert_eq!(found.contents.len(), 1);
            assert!(Arc::ptr_eq(&found.contents[0].1, &before[0].1));
            assert_eq!(found.kept.len(), 1);
        }
        // A stand-in is no last good version: it follows what is written.
        let strict = good.replace("PERMISSIVE", "STRCT");
        let before = contribution(&strict, &Contents::new()).contents;
        assert!(before[0].1.stand_in);
        let loose = good.replace("{mode: PERMISSIVE}", "{mode: PERMISSIVE, x: y}");
        assert!(contribution(&loose, &before).contents.is_empty());
    }
}
