//! Over mesh TLS, with the real authority: who the control plane must be, and pushed roots.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_authority::ca::{Authority, Policy};
use heddle_identity::{MeshTls, SpiffeId};
use heddle_proxy_config::ads::{Connect, ConnectError, MeshControlPlane};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::store::{Limits, roots_into};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::sync::Notify;
use tonic::transport::Channel;

use crate::fake::{self, FakeControl, resource};
use crate::{eventually, run};

const CONTROL: &str = "spiffe://cluster.local/ns/heddle-system/sa/heddle-control";
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
async fn only_the_control_planes_identity_is_believed_and_its_roots_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(directory.path(), Policy::default()).unwrap();
    let mut control = FakeControl::start_mesh(workload(&authority, CONTROL)).await;
    let tls = workload(&authority, PROXY);
    let store = fake::store_with(Limits::default(), roots_into(tls.clone()));
    let connect = |identity: &str| MeshControlPlane {
        tls: tls.clone(),
        address: control.address.to_string(),
        identity: identity.parse().unwrap(),
    };

    let stranger = run(
        &store,
        connect("spiffe://cluster.local/ns/heddle-system/sa/other"),
    );
    eventually(&store, "refused", |store| {
        store.status().last_error.is_some()
    })
    .await;
    let error = store.status().last_error.unwrap();
    assert!(
        error.contains("heddle-control") && error.contains("sa/other"),
        "{error}"
    );
    drop(stranger);

    let _client = run(&store, connect(CONTROL));
    let mut stream = control.stream().await;
    stream.first_requests(Kind::Telemetry).await;
    let bundle = |root: &[u8]| {
        vec![resource(
            Kind::TrustBundle,
            "cluster.local",
            &fake::bundle(root),
        )]
    };
    let refused = stream
        .push(Kind::TrustBundle, bundle(b"not a certificate"), &[])
        .await;
    assert!(
        refused[0].reason.starts_with("the roots are refused: "),
        "{refused:?}"
    );
    let root = &authority.roots()[0];
    stream.accepted(Kind::TrustBundle, bundle(root), &[]).await;
    assert_eq!(&tls.roots()[..], std::slice::from_ref(root));
}

/// Tells that it was refused.
struct Telling(MeshControlPlane, Arc<Notify>);

impl Connect for Telling {
    fn connect(&self) -> BoxFuture<'_, Result<Channel, ConnectError>> {
        self.0.connect()
    }

    fn refused(&self) {
        self.1.notify_one();
    }
}

#[tokio::test]
async fn a_certificate_that_the_control_plane_does_not_accept_is_told_of() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [old, new] = directories
        .each_ref()
        .map(|at| Authority::load_or_create(at.path(), Policy::default()).unwrap());
    // It has dropped the root that ours is of. We know both, and cannot hear of that from anybody else.
    let control = FakeControl::start_mesh(workload(&new, CONTROL)).await;
    let tls = workload(&old, PROXY);
    tls.learn_roots([old.roots(), new.roots()].concat())
        .unwrap();
    let store = fake::store_with(Limits::default(), roots_into(tls.clone()));
    let refused = Arc::new(Notify::new());
    let mesh = MeshControlPlane {
        tls,
        address: control.address.to_string(),
        identity: CONTROL.parse().unwrap(),
    };
    let _client = run(&store, Telling(mesh, refused.clone()));
    let heard = tokio::time::timeout(std::time::Duration::from_secs(30), refused.notified());
    heard.await.expect("it is told of");
}
