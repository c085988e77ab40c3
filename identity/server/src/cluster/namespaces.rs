//! Which namespaces there are and what their trust bundles are: the view that two watches keep, and
//! what is wrong in it. Pure; who acts on it is `trust`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{ResourceExt, core::PartialObjectMeta, runtime::watcher::Event};

/// Under which key volumes look for it.
pub(super) const KEY: &str = "root-cert.pem";
/// More than clusters are made for; what is beyond gets no bundle, and a line in the log.
pub(super) const MAX_NAMESPACES: usize = 20_000;

/// A watch's set of things: replaced as a whole when the watch begins anew.
#[derive(Default)]
struct Seen<T> {
    now: BTreeMap<String, T>,
    listing: Option<BTreeMap<String, T>>,
    complete: bool,
}

impl<T> Seen<T> {
    fn hear(&mut self, event: Event<(String, Option<T>)>) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply((name, value)) => {
                if let (Some(listing), Some(value)) = (&mut self.listing, value)
                    && listing.len() < MAX_NAMESPACES
                {
                    listing.insert(name, value);
                }
            }
            Event::InitDone => {
                self.now = self.listing.take().unwrap_or_default();
                self.complete = true;
            }
            Event::Apply((name, Some(value))) => {
                if self.now.len() < MAX_NAMESPACES || self.now.contains_key(&name) {
                    self.now.insert(name, value);
                }
            }
            Event::Apply((name, None)) | Event::Delete((name, _)) => {
                self.now.remove(&name);
            }
        }
    }
}

/// Both watches' view.
#[derive(Default)]
pub(super) struct View {
    namespaces: Seen<()>,
    /// The bundle of each.
    bundles: Seen<String>,
}

fn map<A, B>(event: Event<A>, with: impl Fn(A) -> B) -> Event<B> {
    match event {
        Event::Apply(object) => Event::Apply(with(object)),
        Event::Delete(object) => Event::Delete(with(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(with(object)),
        Event::InitDone => Event::InitDone,
    }
}

impl View {
    pub(super) fn hear_namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        self.namespaces.hear(map(event, |namespace| {
            // In one that is going nothing can be made.
            let stays = namespace.metadata.deletion_timestamp.is_none();
            (namespace.name_any(), stays.then_some(()))
        }));
    }

    pub(super) fn hear_bundle(&mut self, event: Event<ConfigMap>) {
        self.bundles.hear(map(event, |found| {
            let namespace = found.namespace().unwrap_or_default();
            let bundle = found.data.and_then(|mut data| data.remove(KEY));
            (namespace, Some(bundle.unwrap_or_default()))
        }));
    }

    /// It was written so.
    pub(super) fn written(&mut self, namespace: &str, bundle: &str) {
        self.bundles
            .now
            .insert(namespace.to_owned(), bundle.to_owned());
    }

    /// The namespaces that do not have this bundle; none until both watches are complete.
    pub(super) fn without(&self, bundle: &str) -> BTreeSet<String> {
        if !self.namespaces.complete || !self.bundles.complete {
            return BTreeSet::new();
        }
        let names = self.namespaces.now.keys();
        names
            .filter(|name| {
                self.bundles
                    .now
                    .get(*name)
                    .is_none_or(|found| found != bundle)
            })
            .cloned()
            .collect()
    }
}
