//! Where a pod is, "REGION/ZONE/SUBZONE": its own labels say so, else its node's. And the labels by which
//! endpoints can be ordered, of which places are some.

use std::collections::{BTreeMap, BTreeSet};

use super::Model;
use crate::{
    name::NsName,
    resources::{
        labels::Labels,
        node::{REGION, SUBZONE, ZONE, place},
        pod::Pod,
    },
};

/// Istio's label of a pod: its place with dots.
const LOCALITY: &str = "istio-locality";

impl Model {
    /// Where a pod is; empty: nobody says.
    pub(super) fn locality(&self, pod: &Pod) -> String {
        if let Some(place) = pod.labels.get(LOCALITY) {
            return match place.contains('/') {
                true => place.to_owned(),
                false => place.replace('.', "/"),
            };
        }
        let own = place(&pod.labels);
        if !own.is_empty() {
            return own;
        }
        let node = pod
            .node
            .as_deref()
            .and_then(|node| NsName::new("default", node));
        let node = node.and_then(|node| self.nodes.get(&node)?.node());
        node.map(|node| node.locality.as_ref().to_owned())
            .unwrap_or_default()
    }

    /// Labels with these keys, places among them.
    pub(super) fn priority_labels(
        &self,
        labels: &Labels,
        locality: &str,
        keys: &BTreeSet<&str>,
    ) -> BTreeMap<String, String> {
        let value = |key: &str| labels.get(key).or_else(|| of_place(key, locality));
        keys.iter()
            .filter_map(|key| Some(((*key).to_owned(), value(key)?.to_owned())))
            .collect()
    }

    /// All labels by which a pod may be compared with endpoints.
    pub(super) fn all_labels(&self, pod: &Pod, locality: &str) -> BTreeMap<String, String> {
        let own = pod.labels.entries().iter();
        let own = own.map(|(key, value)| (key.to_string(), value.to_string()));
        let places = [REGION, ZONE, SUBZONE].into_iter();
        let places =
            places.filter_map(|key| Some((key.to_owned(), of_place(key, locality)?.to_owned())));
        places.chain(own).collect()
    }
}

fn of_place<'a>(key: &str, locality: &'a str) -> Option<&'a str> {
    let index = [REGION, ZONE, SUBZONE]
        .iter()
        .position(|known| *known == key)?;
    locality
        .split('/')
        .nth(index)
        .filter(|part| !part.is_empty())
}
