//! How many certificates the program issues in a second of one core's time: its own CPU time, by the
//! kernel's account, over what it issued. Tokens are verified, certificates logged.

use std::{sync::Arc, time::Duration};

use heddle_identity::{MeshTls, channel, tls::parse_pem_bundle};
use heddle_proto::identity::{IssueRequest, identity_client::IdentityClient};
use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::task::JoinSet;
use tonic::{Request, transport::Channel};

use crate::{
    process::Process,
    support::{Cluster, eventually, id},
};

/// Clients at a time, each with an identity of its own.
const CLIENTS: usize = 8;
const REQUESTS_EACH: usize = 400;
/// What one core shall issue in a second, over connections that are there.
const AIM: f64 = 3000.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Connections {
    /// A client keeps its connection.
    Kept,
    /// Each request comes on a connection of its own, as those of sidecars do.
    Fresh,
}

struct Client {
    tls: MeshTls,
    address: String,
    bearer: String,
    csr: Vec<u8>,
}

impl Client {
    fn new(cluster: &Cluster, name: &str) -> Self {
        let own = id("shop", name);
        let tls = MeshTls::new(own.clone());
        let bundle = std::fs::read(cluster.bundle()).unwrap();
        tls.suggest_roots(parse_pem_bundle(&bundle).unwrap())
            .unwrap();
        let mut request = CertificateParams::default();
        request.subject_alt_names = vec![SanType::URI(own.as_str().try_into().unwrap())];
        let csr = request
            .serialize_request(&KeyPair::generate().unwrap())
            .unwrap();
        Self {
            tls,
            address: cluster.address.to_string(),
            bearer: format!("Bearer {}", cluster.token("shop", name)),
            csr: csr.der().to_vec(),
        }
    }

    async fn connect(&self) -> Channel {
        let service = id("heddle-system", "heddle-identity");
        channel::connect(&self.tls, &self.address, &service)
            .await
            .unwrap()
    }

    async fn ask(&self, channel: Channel) {
        let mut request = Request::new(IssueRequest {
            csr: self.csr.clone(),
            ttl_seconds: 0,
        });
        let bearer = self.bearer.parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let answer = IdentityClient::new(channel).issue(request).await.unwrap();
        assert_eq!(answer.into_inner().chain.len(), 1);
    }
}

async fn run(clients: &[Arc<Client>], connections: Connections, requests: usize) {
    let mut all = JoinSet::new();
    for client in clients {
        let client = client.clone();
        all.spawn(async move {
            let kept = client.connect().await;
            for _ in 0..requests {
                match connections {
                    Connections::Kept => client.ask(kept.clone()).await,
                    Connections::Fresh => client.ask(client.connect().await).await,
                }
            }
        });
    }
    all.join_all().await;
}

/// CPU time of a process, all its threads and the kernel's work for them.
fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = tasks.map(|task| {
        let file = task.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(file).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures CPU: cargo nextest run --release -p heddle-identity-server --run-ignored only rate"]
async fn thousands_of_certificates_a_second_and_core() {
    let cluster = Cluster::new();
    let process = Process::start(&cluster, 4096, "info");
    eventually("the trust bundle", || cluster.bundle().exists()).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| Arc::new(Client::new(&cluster, &format!("client-{number}"))))
        .collect();
    let mut reached = Vec::new();
    for connections in [Connections::Kept, Connections::Fresh] {
        run(&clients, connections, REQUESTS_EACH / 10).await;
        let (begun, before) = (std::time::Instant::now(), cpu(process.id()));
        run(&clients, connections, REQUESTS_EACH).await;
        let used = cpu(process.id()) - before;
        let issued = (CLIENTS * REQUESTS_EACH) as f64;
        let rate = issued / used.as_secs_f64();
        println!(
            "{connections:?} connections: {rate:.0} certificates for each second of CPU, {:.0} µs each, \
             {:.0} a second by the clock",
            1e6 / rate,
            issued / begun.elapsed().as_secs_f64(),
        );
        reached.push(rate);
    }
    assert!(process.terminate().await.status.success());
    // A fresh connection costs as much again: a handshake, whose signature and key exchange are not
    // those of certificates.
    assert!(reached[0] >= AIM, "{reached:?}");
}
