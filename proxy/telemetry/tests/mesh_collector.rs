//! Spans over the mesh's own mutual TLS, with the real authority.
#![allow(clippy::unwrap_used)]

mod support;

use heddle_authority::ca::{Authority, Policy};
use heddle_identity::{MeshTls, SpiffeId};
use heddle_proxy_telemetry::{CollectorSpec, Kind, MeshChannel, Metrics, Tracer, Workload};
use http::HeaderMap;
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::sync::Arc;
use support::{Collector, eventually, quick};
use tokio::runtime::Handle;

const COLLECTOR: &str = "spiffe://cluster.local/ns/observe/sa/collector";
const PROXY: &str = "spiffe://cluster.local/ns/default/sa/productpage";

/// A workload with a certificate.
fn workload(authority: &Authority, id: &str) -> MeshTls {
    let id: SpiffeId = id.parse().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut request = rcgen::CertificateParams::default();
    request.subject_alt_names = vec![rcgen::SanType::URI(id.as_str().try_into().unwrap())];
    let request = request.serialize_request(&key).unwrap();
    let certificate = authority.issue(request.der(), &id, None).unwrap();
    let tls = MeshTls::new(id);
    tls.suggest_roots(authority.roots()).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    tls.set_credential(certificate.chain, key.into()).unwrap();
    tls
}

#[tokio::test]
async fn only_the_expected_identity_gets_the_spans() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(directory.path(), Policy::default()).unwrap();
    let collector = Collector::mesh(workload(&authority, COLLECTOR));
    let tls = workload(&authority, PROXY);
    let mesh: MeshChannel = Arc::new(move |authority, identity| {
        Ok(heddle_identity::channel::connect_lazy(
            &tls, authority, identity,
        )?)
    });
    let metrics = Metrics::default();
    let named = Workload {
        service: "productpage".into(),
        ..Workload::default()
    };
    let limits = heddle_proxy_telemetry::ExportLimits {
        attempts: 2,
        ..quick()
    };
    let tracer = Tracer::with_limits(&Handle::current(), named, Some(mesh), &metrics, limits);
    let endpoint = format!("spiffe+https://{}", collector.address);
    let request = || {
        tracer
            .start(Kind::Client, &mut HeaderMap::new(), &mut rand::rng())
            .unwrap()
            .finish();
    };

    tracer.configure(1_000_000, CollectorSpec::parse(&endpoint, PROXY).unwrap());
    request();
    eventually(|| {
        let mut text = String::new();
        metrics.render(&mut text);
        text.contains("heddle_spans_dropped_total{reason=\"export_failed\"} 1")
    })
    .await;
    assert!(collector.spans().is_empty());

    tracer.configure(
        1_000_000,
        CollectorSpec::parse(&endpoint, COLLECTOR).unwrap(),
    );
    request();
    collector.wait_for(1).await;
}
