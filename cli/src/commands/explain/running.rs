//! Asks the sidecars of a running mesh: the client's what becomes of the request, and the servers'
//! whether they let it in. How a sidecar is reached is the mesh's: through the daemon of this machine, or
//! through a cluster's API server.

use std::net::IpAddr;

use heddle_proxy_config::decision::{Admission, Decision};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::asked::Asked;
use super::cluster;
use super::story::{By, Story};
use super::{servers, tell};
use crate::api::{Ask, Client, ClientError, Question};
use crate::commands::cluster::ask::Cluster;
use crate::commands::exec;
use crate::failure::{Failure, Outcome};

/// Where sidecars are.
pub(super) enum Mesh<'a> {
    Here(&'a Client),
    Cluster(Cluster),
}

/// A pod that was named, by itself or by its workload.
pub(super) struct Found {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) ip: Option<IpAddr>,
}

impl Mesh<'_> {
    async fn find(&self, namespace: &str, pod: &str) -> Outcome<Found> {
        match self {
            Self::Here(client) => {
                let status = client.status().await.map_err(not_here)?;
                let pod = exec::find(&status, namespace, pod)?;
                Ok(Found {
                    namespace: pod.namespace.clone(),
                    name: pod.name.clone(),
                    ip: pod.ip,
                })
            }
            Self::Cluster(cluster) => cluster::find(cluster, namespace, pod).await,
        }
    }

    async fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Outcome<T> {
        let answer: Value = match self {
            Self::Here(client) => client.explain(ask).await?,
            Self::Cluster(cluster) => cluster::explain(cluster, ask).await?,
        };
        serde_json::from_value(answer).map_err(|error| {
            let pod = format!("{}/{}", ask.namespace, ask.pod);
            Failure::new(format!("the sidecar of {pod} answers in another way"))
                .because(&error)
                .advise("restart the pod, so that it gets the sidecar of this version")
        })
    }
}

/// A person may mean a cluster.
fn not_here(error: ClientError) -> Failure {
    let is_not_running = matches!(error, ClientError::NotRunning { .. });
    let failure = Failure::from(error);
    match is_not_running {
        true => failure.advise(
            "heddle up PATH...  starts it; --cluster  asks the cluster of KUBECONFIG; -f PATH  decides by files",
        ),
        false => failure,
    }
}

pub(super) async fn ask(mesh: &Mesh<'_>, asked: &Asked) -> Outcome<Story> {
    let pod = mesh.find(&asked.namespace, &asked.pod).await?;
    let from = format!("{}/{}", pod.namespace, pod.name);
    let mut request = asked.request.clone();
    request.source = pod.ip;
    let decision: Decision = mesh
        .ask(&Ask {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            question: Question::Request(request),
        })
        .await?;
    let mut admissions: Vec<Admission> = Vec::new();
    for (server, asked) in servers(&decision) {
        let Some((namespace, pod)) = server.split_once('/') else {
            continue;
        };
        let ask = Ask {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            question: Question::Connection(asked),
        };
        // One without a sidecar has nothing to say; nor one that has just gone.
        if let Ok(admission) = mesh.ask(&ask).await {
            admissions.push(admission);
        }
    }
    Ok(tell::story(By::Sidecar, asked, from, decision, admissions))
}
