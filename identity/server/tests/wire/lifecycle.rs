//! A workload's certificate from the first request through renewals, outages and restarts.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crate::support::{Cluster, LONG, eventually, id, mode};
use heddle_authority::server::Lifetime;
use heddle_identity::{Workload, tls::parse_pem_bundle, workload::Status};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

async fn ready(workload: &Workload) {
    timeout(LONG, workload.ready()).await.unwrap();
}

async fn until(workload: &Workload, holds: impl FnMut(&Status) -> bool) -> Status {
    let mut status = workload.status();
    timeout(LONG, status.wait_for(holds))
        .await
        .unwrap()
        .unwrap()
        .clone()
}

#[tokio::test]
async fn two_workloads_get_certificates_and_talk() {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let a = Workload::start(cluster.settings("shop", "a"));
    let b = Workload::start(cluster.settings("bank", "b"));
    ready(&a).await;
    ready(&b).await;
    assert_eq!(
        until(&a, |status| status.generation == 1).await.last_error,
        None
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let config = a.tls().server_config(heddle_identity::tls::ALPN_H2);
        let stream = TlsAcceptor::from(config).accept(tcp).await.unwrap();
        a.tls()
            .peer_id(stream.get_ref().1.peer_certificates().unwrap())
    };
    let client = async {
        let config = b
            .tls()
            .client_config(a.tls().own_id(), heddle_identity::tls::ALPN_H2);
        let tcp = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(config)
            .connect(heddle_identity::tls::server_name(), tcp)
            .await
            .unwrap()
    };
    let (peer, _stream) = tokio::join!(server, client);
    assert_eq!(peer.as_ref(), Some(b.tls().own_id()));
    service.stop().await;
}

#[tokio::test]
async fn short_certificates_are_renewed_with_new_keys_before_they_expire() {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let state = cluster.path("state");
    fs::create_dir(&state).unwrap();
    let mut settings = cluster.settings("shop", "a");
    settings.ttl = Some(Duration::from_secs(4));
    settings.state_dir = Some(state.clone());
    let workload = Workload::start(settings);
    ready(&workload).await;
    let file = state.join("identity.pem");
    eventually("the first key on disk", || file.exists()).await;
    let first = fs::read_to_string(&file).unwrap();
    assert_eq!(mode(&file), 0o600);

    for generation in 2..4 {
        until(&workload, |status| status.generation >= generation).await;
        assert!(workload.tls().is_ready(), "renewed before it expired");
    }
    eventually("the new key on disk", || {
        fs::read_to_string(&file).unwrap() != first
    })
    .await;
    let key = |pem: &str| {
        pem.split("-----END PRIVATE KEY-----")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_ne!(key(&first), key(&fs::read_to_string(&file).unwrap()));
    assert_eq!(
        fs::read_dir(&state).unwrap().count(),
        1,
        "nothing is left beside the file"
    );
    service.stop().await;
}

#[tokio::test]
async fn a_restart_while_identity_is_away_comes_back_with_its_certificate() {
    let cluster = Cluster::new();
    let state = cluster.path("state");
    fs::create_dir(&state).unwrap();
    let settings = || {
        let mut settings = cluster.settings("shop", "a");
        settings.state_dir = Some(state.clone());
        settings
    };
    let service = cluster.serve().await;
    let first = Workload::start(settings());
    ready(&first).await;
    eventually("the key on disk", || state.join("identity.pem").exists()).await;
    let expiry = first.tls().validity().unwrap();
    drop(first);
    service.stop().await;

    let second = Workload::start(settings());
    assert!(
        second.tls().is_ready(),
        "at once, without waiting for anybody"
    );
    assert_eq!(second.tls().validity(), Some(expiry));
    ready(&second).await;

    let service = cluster.serve().await;
    second.renew();
    until(&second, |status| status.generation == 2).await;
    service.stop().await;
}

#[tokio::test]
async fn one_that_peers_refuse_is_replaced_once_however_often_they_do() {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let workload = Workload::start(cluster.settings("shop", "a"));
    ready(&workload).await;
    workload.refused();
    until(&workload, |status| status.generation == 2).await;
    workload.refused();
    // Had it asked again, it would have been answered before somebody who comes later.
    let later = Workload::start(cluster.settings("shop", "b"));
    ready(&later).await;
    assert_eq!(workload.status().borrow().generation, 2);
    service.stop().await;
}

#[tokio::test]
async fn what_is_on_disk_is_only_used_when_it_is_good() {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let state = cluster.path("state");
    fs::create_dir(&state).unwrap();
    let start = |name: &str| {
        let mut settings = cluster.settings("shop", name);
        settings.state_dir = Some(state.clone());
        Workload::start(settings)
    };
    let file = state.join("identity.pem");
    let first = start("a");
    ready(&first).await;
    eventually("the key on disk", || file.exists()).await;
    drop(first);
    let good = fs::read(&file).unwrap();

    // Somebody else's, readable by others, cut short, empty: each is replaced by a new one.
    assert!(!start("b").tls().is_ready());
    for (content, bits) in [
        (&good[..], 0o644),
        (&good[..good.len() - 40], 0o600),
        (&[], 0o600),
    ] {
        fs::remove_file(&file).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(bits)).unwrap();
        let workload = start("a");
        assert!(!workload.tls().is_ready());
        ready(&workload).await;
        eventually("a good file", || {
            mode(&file) == 0o600 && fs::read(&file).unwrap() != content
        })
        .await;
    }
    service.stop().await;
}

#[tokio::test]
async fn an_outage_is_endured_to_the_expiry_and_ends_with_a_new_certificate() {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let mut settings = cluster.settings("shop", "a");
    settings.ttl = Some(Duration::from_secs(3));
    let workload = Workload::start(settings);
    ready(&workload).await;
    service.stop().await;

    let status = until(&workload, |status| status.last_error.is_some()).await;
    let reason = status.last_error.unwrap();
    assert!(
        reason.contains("cannot reach the identity service"),
        "{reason}"
    );
    assert!(reason.contains(&cluster.address.to_string()), "{reason}");
    assert!(reason.contains("Connection refused"), "{reason}");
    eventually("the expiry", || !workload.tls().is_ready()).await;

    let service = cluster.serve().await;
    workload.renew();
    let generation = status.generation;
    until(&workload, |status| {
        status.generation > generation && status.last_error.is_none()
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_start_before_the_bundle_the_token_and_the_service_are_there_waits_for_them() {
    let cluster = Cluster::new();
    let mut settings = cluster.settings("shop", "a");
    settings.token_file = cluster.path("later");
    let workload = Workload::start(settings);
    let reason = until(&workload, |status| status.last_error.is_some())
        .await
        .last_error
        .unwrap();
    assert!(reason.contains("root-cert.pem"), "{reason}");

    let service = cluster.serve().await;
    let status = until(&workload, |status| {
        status
            .last_error
            .as_ref()
            .is_some_and(|reason| reason.contains("token"))
    })
    .await;
    let reason = status.last_error.unwrap();
    assert!(
        reason.contains("later") && reason.contains("No such file"),
        "{reason}"
    );

    fs::write(
        cluster.path("later"),
        format!("{}\n", cluster.token("shop", "a")),
    )
    .unwrap();
    workload.renew();
    ready(&workload).await;
    service.stop().await;
}

#[tokio::test]
async fn the_service_renews_its_own_certificate_while_it_serves() {
    let cluster = Cluster::new();
    let mut args = cluster.args();
    args.default_ttl = Lifetime(Duration::from_secs(2));
    let service = cluster.serve_with(args).await;
    let workload = Workload::start(cluster.settings("shop", "a"));
    ready(&workload).await;
    // Each of these comes after the service's certificate before has expired.
    for generation in 2..5 {
        until(&workload, |status| status.generation >= generation).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    service.stop().await;
}

#[tokio::test]
async fn pushed_roots_that_do_not_vouch_for_our_certificate_bring_a_new_one_at_once() {
    let cluster = Cluster::new();
    let service = cluster.serve().await;
    let workload = Workload::start(cluster.settings("shop", "a"));
    ready(&workload).await;
    let old = workload.tls().roots().to_vec();
    service.stop().await;

    // A new root under the same service: what rotation comes to.
    fs::remove_dir_all(cluster.path("data")).unwrap();
    let service = cluster.serve().await;
    let new = parse_pem_bundle(&fs::read(cluster.bundle()).unwrap()).unwrap();
    workload
        .tls()
        .set_roots([old, new.clone()].concat())
        .unwrap();
    workload.tls().set_roots(new).unwrap();
    until(&workload, |status| status.generation == 2).await;
    service.stop().await;
}

/// Two workloads with a connection between them, tried anew and over the old one.
struct Pair {
    a: Workload,
    b: Workload,
    listener: TcpListener,
}

impl Pair {
    async fn connect(&self) -> std::io::Result<(impl AsyncStream, impl AsyncStream)> {
        let address = self.listener.local_addr().unwrap();
        let server = async {
            let (tcp, _) = self.listener.accept().await.unwrap();
            let config = self.a.tls().server_config(heddle_identity::tls::ALPN_H2);
            TlsAcceptor::from(config).accept(tcp).await
        };
        let client = async {
            let peer = self.a.tls().own_id();
            let config = self
                .b
                .tls()
                .client_config(peer, heddle_identity::tls::ALPN_H2);
            let tcp = TcpStream::connect(address).await.unwrap();
            TlsConnector::from(config)
                .connect(heddle_identity::tls::server_name(), tcp)
                .await
        };
        let (accepted, connected) = tokio::join!(server, client);
        Ok((accepted?, connected?))
    }
}

trait AsyncStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncStream for T {}

#[tokio::test]
async fn a_root_rotates_under_workloads_that_never_stop_talking() {
    let cluster = Cluster::new();
    let mut args = cluster.args();
    args.root_spread = Lifetime(Duration::from_secs(6));
    let service = cluster.serve_with(args).await;
    let pair = Pair {
        a: Workload::start(cluster.settings("shop", "a")),
        b: Workload::start(cluster.settings("shop", "b")),
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
    };
    ready(&pair.a).await;
    ready(&pair.b).await;
    let old = pair.a.tls().roots().to_vec();
    let (mut kept_here, mut kept_there) = pair.connect().await.unwrap();

    heddle_authority::ca::announce(&cluster.path("data"), pair.a.tls().trust_domain()).unwrap();
    let done = async {
        for workload in [&pair.a, &pair.b] {
            until(workload, |status| status.generation >= 2).await;
        }
    };
    tokio::pin!(done);
    let mut handshakes = 0;
    loop {
        tokio::select! {
            () = &mut done => break,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        drop(pair.connect().await.unwrap());
        handshakes += 1;
    }
    assert!(handshakes > 10);
    let roots = pair.a.tls().roots().to_vec();
    assert_eq!((roots.len(), &roots[1]), (2, &old[0]));
    // A workload that begins now, and the service's own certificate, are of the new root.
    let late = Workload::start(cluster.settings("shop", "late"));
    ready(&late).await;

    assert_eq!(
        heddle_authority::ca::drop_retired(&cluster.path("data")).unwrap(),
        1
    );
    eventually("the old root is gone", || {
        pair.a.tls().roots()[..] == roots[..1]
    })
    .await;
    eventually("it is gone everywhere", || {
        pair.b.tls().roots()[..] == roots[..1]
    })
    .await;
    drop(pair.connect().await.unwrap());
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    kept_here.write_all(b"still here").await.unwrap();
    let mut text = [0; 10];
    timeout(LONG, kept_there.read_exact(&mut text))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&text, b"still here");
    assert_eq!(
        pair.a.tls().generation(),
        2,
        "a certificate of the new root was good"
    );
    service.stop().await;
}

#[tokio::test]
async fn an_impostor_of_the_identity_service_gets_no_token() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let (ours, impostor) = (cluster.serve().await, other.serve().await);
    let mut settings = cluster.settings("shop", "a");
    settings.identity_address = other.address.to_string();
    let workload = Workload::start(settings);
    let reason = until(&workload, |status| status.last_error.is_some())
        .await
        .last_error
        .unwrap();
    assert!(
        reason.contains("authority that is not in our trust bundle; compare it"),
        "{reason}"
    );

    let mut settings = cluster.settings("shop", "a");
    settings.identity_id = id("heddle-system", "heddle-other");
    let workload = Workload::start(settings);
    let reason = until(&workload, |status| status.last_error.is_some())
        .await
        .last_error
        .unwrap();
    assert!(
        reason.contains("expected spiffe://cluster.local/ns/heddle-system/sa/heddle-other got"),
        "{reason}"
    );
    ours.stop().await;
    impostor.stop().await;
}
