//! What a match of a route asks of the client, and whether a client is meant.

use std::collections::BTreeMap;

use crate::{
    model::Client,
    resources::virtual_service::{self, MESH},
};

/// What a match asks of the client.
pub(super) struct Source<'a> {
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) namespace: Option<&'a str>,
    gateways: &'a [String],
}

impl Source<'_> {
    pub(super) fn admits(&self, client: &Client) -> bool {
        let in_mesh =
            self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == MESH);
        let here = self
            .namespace
            .is_none_or(|namespace| namespace == &*client.namespace);
        in_mesh
            && here
            && self
                .labels
                .iter()
                .all(|(key, value)| client.labels.get(key) == Some(value))
    }
}

pub(super) fn http_source(one: &virtual_service::HttpMatch) -> Source<'_> {
    Source {
        labels: &one.source_labels,
        namespace: one.source_namespace.as_deref(),
        gateways: &one.gateways,
    }
}

pub(super) fn tcp_source(one: &virtual_service::TcpMatch) -> Source<'_> {
    Source {
        labels: &one.source_labels,
        namespace: one.source_namespace.as_deref(),
        gateways: &one.gateways,
    }
}

pub(super) fn tls_source(one: &virtual_service::TlsMatch) -> Source<'_> {
    Source {
        labels: &one.source_labels,
        namespace: one.source_namespace.as_deref(),
        gateways: &one.gateways,
    }
}
