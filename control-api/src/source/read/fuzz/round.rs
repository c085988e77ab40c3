//! What is read does not depend on how it is written: an object that is written again, as JSON, as YAML
//! in either style, or from what is kept of it for a restart, is the same object, makes the same rules,
//! and has the same mistakes.

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use super::shapes::{DOCUMENTS, apply, block, edit};
use crate::{
    model::{Client, Model, Settings},
    name::NsName,
    resources::labels::{Interner, Labels},
    source::{
        Change, Object,
        document::{Document, split},
        read::{Item, read},
    },
};

/// What there is besides, so that routes have somebody to lead to.
const SERVICES: &str = "{apiVersion: v1, kind: Service, metadata: {name: cart}, spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: b, port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 80}]}}
";

fn items(text: &str) -> Vec<Item> {
    let documents = split(text);
    let read = |document: &Document<'_>| read(document, None, &mut Interner::default());
    documents.iter().flat_map(read).collect()
}

/// Objects, and of what is none its mistakes, without their places.
#[derive(Debug, PartialEq)]
enum Made {
    /// What it is called, and all of it.
    Good(String, String),
    Bad(Vec<(String, String)>),
}

/// Without places, of which an `At` shows nothing.
fn shown(object: &Object) -> String {
    format!("{:?}", object.resource)
}

/// Where a version should be, a number is told as it is spelt, and each writer spells large ones its own way.
fn respelt(reason: &str) -> String {
    reason.replace("e+", "e").replace(".0e", "e")
}

fn made(text: &str) -> Vec<Made> {
    let made = |item: Item| match item {
        Item::Good(object) => Made::Good(object.key.to_string(), shown(&object)),
        Item::Bad { refusals, .. } => {
            let told = refusals.into_iter();
            let mut told: Vec<_> = told
                .map(|one| (one.code.to_string(), respelt(&one.reason)))
                .collect();
            told.sort();
            Made::Bad(told)
        }
    };
    items(text).into_iter().map(made).collect()
}

/// What a sidecar is told of both services.
fn rules(text: &str) -> Vec<Vec<u8>> {
    let all = items(SERVICES).into_iter().chain(items(text));
    let changes = all.filter_map(|item| match item {
        Item::Good(object) => Some(Change::Upsert(object)),
        Item::Bad { .. } => None,
    });
    let mut model = Model::new(Settings::default());
    model.apply(changes.collect());
    let client = Client {
        namespace: "default".into(),
        labels: Labels::default(),
    };
    let names = ["default/cart", "default/web"].map(|name| NsName::parse(name).unwrap());
    let told = |name: &NsName| {
        let table = model
            .route_table(name, &client)
            .map(|view| view.encoded.body.to_vec());
        let service = model.service_resource(name, &client);
        [table, service.map(|service| service.body.to_vec())]
    };
    names.iter().flat_map(told).flatten().collect()
}

fn kept(text: &str) -> Vec<std::sync::Arc<Object>> {
    let good = items(text).into_iter().filter_map(|item| match item {
        Item::Good(object) => Some(object),
        Item::Bad { .. } => None,
    });
    good.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_that_is_written_again_is_the_same(
        chosen in any::<Index>(),
        edits in prop::collection::vec(edit(), 0..4),
    ) {
        let mut document: Value = chosen.get(&DOCUMENTS[..]).clone();
        for edit in &edits {
            apply(&mut document, edit);
        }
        let json = document.to_string();
        let first = made(&json);
        let printed = serde_saphyr::to_string(&document);
        let forms = [Some(block(&document, 0)), printed.ok()];
        for form in forms.into_iter().flatten() {
            prop_assert_eq!(&made(&form), &first, "{}", form);
            prop_assert_eq!(rules(&form), rules(&json), "{}", form);
        }
        for object in kept(&json) {
            if let Some(written) = &object.written {
                let again = kept(&written.text);
                prop_assert!(again.iter().any(|one| one.key == object.key && shown(one) == shown(&object)));
            }
        }
    }
}

/// The property above speaks of something: most documents of the guides are objects, of every kind that people write.
#[test]
fn the_guides_have_objects_of_every_kind() {
    let mut kinds: Vec<String> = Vec::new();
    for document in DOCUMENTS.iter() {
        for one in made(&document.to_string()) {
            if let Made::Good(key, _) = one {
                kinds.push(key.split(' ').next().unwrap_or_default().to_owned());
            }
        }
    }
    for kind in [
        "VirtualService",
        "DestinationRule",
        "ServiceEntry",
        "HTTPRoute",
        "GRPCRoute",
        "Sidecar",
        "PeerAuthentication",
    ] {
        let count = kinds.iter().filter(|known| *known == kind).count();
        assert!(count >= 1, "{kind}: {count} of {}", kinds.len());
    }
}
