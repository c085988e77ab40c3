//! Certificate requests to the identity service, as a sidecar makes them: a token, a PKCS #10 request
//! and gRPC over TLS. Each of some clients sends the next when it has the certificate before.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use heddle_identity::tls::parse_pem_bundle;
use heddle_identity::{MeshTls, SpiffeId, channel};
use heddle_proto::identity::{IssueRequest, identity_client::IdentityClient};
use rcgen::{CertificateParams, KeyPair, SanType};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::error::Result;
use crate::load::Ground;
use crate::process;
use crate::programs::for_anybody;
use crate::world::{Place, SIDECAR_USER};

/// Whose certificates the identity service's own is.
const SERVICE: &str = "heddle-identity";
const SYSTEM: &str = "heddle-system";

/// Flags of `heddle-bench load-certificates`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[arg(long)]
    to: SocketAddr,
    /// Whom the token proves
    #[arg(long)]
    id: SpiffeId,
    #[arg(long)]
    token: PathBuf,
    #[arg(long)]
    bundle: PathBuf,
    /// Clients at a time
    #[arg(long)]
    concurrency: u32,
    /// Connect for each request
    #[arg(long)]
    fresh: bool,
    #[arg(long)]
    seconds: u32,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) certificates: u64,
}

/// Runs it in the client pod as its sidecar, with the sidecar's token.
pub(crate) fn load(
    at: Ground<'_>,
    to: SocketAddr,
    concurrency: u32,
    fresh: bool,
    seconds: u32,
) -> Result<Done> {
    let world = at.tools.world;
    let own = for_anybody(world, &at.tools.programs.own)?;
    let mut command = Command::new(own);
    command
        .arg("load-certificates")
        .arg(format!("--to={to}"))
        .arg(format!("--id={}", at.tools.certificates.id("client")?))
        .arg("--token")
        .arg(world.path("heddle/client/token"))
        .arg("--bundle")
        .arg(world.path("heddle/root-cert.pem"))
        .arg(format!("--concurrency={concurrency}"))
        .arg(format!("--seconds={seconds}"));
    if fresh {
        command.arg("--fresh");
    }
    let said = process::run_in(Place::Client, SIDECAR_USER, &mut command)?;
    serde_json::from_str(&said).map_err(|error| at.not(format!("it said {said:?}: {error}")))
}

pub(crate) async fn run(options: &Options) -> io::Result<Done> {
    let end = Instant::now() + Duration::from_secs(options.seconds.into());
    let client = Rc::new(Client::new(options)?);
    let work = async {
        let mut all = JoinSet::new();
        for _ in 0..options.concurrency {
            let (client, fresh) = (Rc::clone(&client), options.fresh);
            all.spawn_local(async move { client.until(end, fresh).await });
        }
        let mut certificates = 0;
        while let Some(done) = all.join_next().await {
            certificates += done.map_err(io::Error::other)??;
        }
        Ok(Done { certificates })
    };
    LocalSet::new().run_until(work).await
}

struct Client {
    tls: MeshTls,
    service: SpiffeId,
    to: String,
    bearer: AsciiMetadataValue,
    csr: Vec<u8>,
}

impl Client {
    fn new(options: &Options) -> io::Result<Self> {
        let tls = MeshTls::new(options.id.clone());
        let bundle = parse_pem_bundle(&fs::read(&options.bundle)?).map_err(io::Error::other)?;
        tls.suggest_roots(bundle).map_err(io::Error::other)?;
        let mut request = CertificateParams::default();
        let uri = options.id.as_str().try_into().map_err(io::Error::other)?;
        request.subject_alt_names = vec![SanType::URI(uri)];
        let csr = KeyPair::generate()
            .and_then(|key| request.serialize_request(&key))
            .map_err(io::Error::other)?;
        let token = fs::read_to_string(&options.token)?;
        let bearer = format!("Bearer {}", token.trim());
        Ok(Self {
            service: SpiffeId::for_service_account(tls.trust_domain(), SYSTEM, SERVICE)
                .map_err(io::Error::other)?,
            tls,
            to: options.to.to_string(),
            bearer: bearer.parse().map_err(io::Error::other)?,
            csr: csr.der().to_vec(),
        })
    }

    async fn until(&self, end: Instant, fresh: bool) -> io::Result<u64> {
        let kept = self.connect().await?;
        let mut certificates = 0;
        while Instant::now() < end {
            let channel = match fresh {
                true => self.connect().await?,
                false => kept.clone(),
            };
            self.ask(channel).await?;
            certificates += 1;
        }
        Ok(certificates)
    }

    async fn connect(&self) -> io::Result<Channel> {
        channel::connect(&self.tls, &self.to, &self.service)
            .await
            .map_err(io::Error::other)
    }

    async fn ask(&self, channel: Channel) -> io::Result<()> {
        let mut request = Request::new(IssueRequest {
            csr: self.csr.clone(),
            ttl_seconds: 0,
        });
        let bearer = self.bearer.clone();
        request.metadata_mut().insert("authorization", bearer);
        let answer = IdentityClient::new(channel).issue(request).await;
        match answer.map_err(io::Error::other)?.into_inner().chain[..] {
            [_] => Ok(()),
            _ => Err(io::Error::other("the answer is not one certificate")),
        }
    }
}
