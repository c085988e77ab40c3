#![allow(clippy::unwrap_used)]
use std::fs;

use super::*;
use crate::source::{Change, directory::read_again};

const POLICY: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
";
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 80}]}
";

struct Control {
    dir: tempfile::TempDir,
}

impl Control {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("config")).unwrap();
        Self { dir }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join("config").join(file), text).unwrap();
    }

    /// A life of the control plane: reads what was kept, then each version of a file, and keeps
    /// what must be. Names of what is in force at its end.
    fn live(&self, file: &str, versions: &[&str]) -> Vec<String> {
        let roots = [self.dir.path().join("config")];
        let last_good = LastGood::load(self.dir.path()).source;
        let mut objects = std::collections::BTreeMap::new();
        let mut kept = Vec::new();
        let write = |text: &&str| self.write(file, text);
        for batch in read_again(&roots, last_good, versions.iter().map(write)).unwrap() {
            for change in batch.changes {
                match change {
                    Change::Upsert(object) => objects.insert(object.key.clone(), object),
                    Change::Remove(key) => objects.remove(&key),
                };
            }
            kept = batch.kept.to_vec();
        }
        let keeping = LastGood {
            source: kept,
            model: Vec::new(),
        };
        file::store(&file::path(self.dir.path()), keeping.texts(), None).unwrap();
        objects
            .values()
            .map(|object| {
                let stands_in = if object.stand_in { " (stand-in)" } else { "" };
                format!("{}{stands_in}", object.key)
            })
            .collect()
    }

    fn keeps_something(&self) -> bool {
        file::path(self.dir.path()).exists()
    }
}

#[test]
fn what_is_bad_at_a_restart_is_in_force_after_it() {
    let control = Control::new();
    let bad = POLICY.replace("STRICT", "STRCT");
    let policy = "PeerAuthentication shop/default";
    assert_eq!(control.live("p.yaml", &[POLICY]), [policy]);
    assert!(!control.keeps_something());
    assert_eq!(control.live("p.yaml", &[POLICY, &bad]), [policy]);
    // As it is, bad in another way, and no YAML at all, over several lives.
    let broken = POLICY.replace("{mode: STRICT}", "{mode: STRICT");
    for text in [&bad, &broken, &"\u{1}:".to_owned(), &bad] {
        assert_eq!(control.live("p.yaml", &[text]), [policy], "{text}");
        assert!(control.keeps_something());
    }
    // Good again, whatever it says.
    let loose = POLICY.replace("STRICT", "PERMISSIVE");
    assert_eq!(control.live("p.yaml", &[&loose]), [policy]);
    assert!(!control.keeps_something());
    assert_eq!(
        control.live("p.yaml", &[&bad]),
        [format!("{policy} (stand-in)")]
    );
}

#[test]
fn what_is_gone_at_a_restart_does_not_come_back() {
    let both = format!("{POLICY}---\n{SERVICE}");
    let bad = both
        .replace("STRICT", "STRCT")
        .replace("port: 80", "prot: 80");
    let in_force = ["Service shop/cart", "PeerAuthentication shop/default"];
    for (after, left) in [
        (Some(bad.clone()), &in_force[..]),
        (
            Some(SERVICE.replace("port: 80", "prot: 80")),
            &in_force[..1],
        ),
        (Some(SERVICE.to_owned()), &in_force[..1]),
        (Some(String::new()), &[]),
        (None, &[]),
    ] {
        let control = Control::new();
        control.live("a.yaml", &[&both, &bad]);
        assert!(control.keeps_something());
        match &after {
            Some(text) => control.write("a.yaml", text),
            None => fs::remove_file(control.dir.path().join("config/a.yaml")).unwrap(),
        }
        assert_eq!(control.live("a.yaml", &[]), left, "{after:?}");
        assert_eq!(
            control.keeps_something(),
            after.is_some_and(|text| text.contains("prot"))
        );
    }
}

#[test]
fn what_is_restored_is_the_same_in_every_position() {
    let list = format!(
        "\n# two\napiVersion: v1\nkind: List\nitems:\n- {}- {}",
        POLICY.replace('\n', "\n  ").trim_end().to_owned() + "\n",
        SERVICE.replace('\n', "\n  ").trim_end().to_owned() + "\n",
    );
    let text = format!("{SERVICE}---\n{list}");
    let path: Arc<Path> = Path::new("a.yaml").into();
    let mut interner = Interner::default();
    let objects: Vec<Arc<Object>> = crate::source::document::split(&text)
        .iter()
        .flat_map(|document| read(document, Some(&path), &mut interner))
        .map(|item| match item {
            Item::Good(object) => object,
            Item::Bad { refusals, .. } => panic!("{refusals:?}"),
        })
        .collect();
    assert_eq!(objects.len(), 3);
    let before = LastGood {
        source: vec![objects[1].clone(), objects[2].clone()],
        model: vec![objects[2].clone()],
    };
    let texts = before.texts();
    assert_eq!(texts.len(), 1, "one document, one text");
    let mut after = LastGood::default();
    texts.iter().for_each(|text| after.add(text, &mut interner));
    for (a, b) in [
        (&before.source, &after.source),
        (&before.model, &after.model),
    ] {
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[tokio::test]
async fn the_last_word_is_written_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = watch::channel(None);
    let keeping = tokio::spawn(keep(dir.path().to_owned(), receiver));
    let path: Arc<Path> = Path::new("a.yaml").into();
    let document = Document {
        text: SERVICE,
        line_offset: 0,
    };
    let items = read(&document, Some(&path), &mut Interner::default());
    let [Item::Good(object)] = &items[..] else {
        panic!("{items:?}")
    };
    sender.send_replace(Some(LastGood::default()));
    sender.send_replace(Some(LastGood {
        source: vec![object.clone()],
        model: Vec::new(),
    }));
    drop(sender);
    keeping.await.unwrap();
    assert_eq!(LastGood::load(dir.path()).source.len(), 1);
}
