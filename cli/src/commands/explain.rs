//! `heddle explain`: what becomes of a request and why, as a numbered story with the user's own line
//! behind each step. A running mesh, on this machine or in a cluster, answers by the tables of the pod's
//! own sidecar, so that it cannot disagree with the traffic; files are decided by the same code, here.

mod asked;
mod cluster;
mod running;
mod story;
mod tell;

use heddle_control::model::Model;
use heddle_proxy_config::decision::{Admission, AskedInbound, Decision, Tls};

use super::cluster::ask::Cluster;
use super::output::print;
use crate::api::Client;
use crate::args::Explain;
use crate::failure::Outcome;
use crate::picture;
use crate::snapshots::{self, Asker};
use crate::terminal::Style;

use self::asked::Asked;
use self::running::Mesh;
use self::story::{By, Story};

/// Servers that are asked whether they let it in: two of each share, and so many in all.
const SERVERS: (usize, usize) = (2, 8);

pub(crate) async fn run(client: &Client, explain: &Explain) -> Outcome {
    let asked = Asked::new(explain)?;
    let story = if explain.place.cluster {
        let context = explain.place.context.as_deref();
        let cluster = Cluster::connect(context, &asked.namespace).await?;
        running::ask(&Mesh::Cluster(cluster), &asked).await?
    } else if explain.files.is_empty() {
        running::ask(&Mesh::Here(client), &asked).await?
    } else {
        offline(&picture::of(&explain.files)?.model, &asked)?
    };
    print(explain.output.format, &story, || {
        story.render(Style::stdout())
    })
}

/// Decides by what files say.
fn offline(model: &Model, asked: &Asked) -> Outcome<Story> {
    let asker = Asker::find(model, &asked.namespace, &asked.pod)?;
    let request = &asked.request;
    if !asker.meshed {
        return Ok(tell::unmeshed(&asked.title, asker.name.as_str()));
    }
    let decision = snapshots::explain(model, &asker, &request.host, request.port, &asked.question)?;
    let mut admissions = Vec::new();
    for (pod, asked) in servers(&decision) {
        admissions.extend(snapshots::admission(model, &pod, asked)?);
    }
    let from = asker.name.to_string();
    Ok(tell::story(By::Files, asked, from, decision, admissions))
}

/// Pods that it may reach, and how.
fn servers(decision: &Decision) -> Vec<(String, AskedInbound)> {
    let mut servers: Vec<(String, AskedInbound)> = Vec::new();
    for share in &decision.destinations {
        for endpoint in share.endpoints.iter().take(SERVERS.0) {
            let port = endpoint.address.rsplit(':').next();
            let Some(port) = port.and_then(|port| port.parse().ok()) else {
                continue;
            };
            let mutual = endpoint.tls == Tls::Mutual;
            let server = (endpoint.workload.clone(), AskedInbound { port, mutual });
            if endpoint.tls != Tls::Origin && !server.0.is_empty() && !servers.contains(&server) {
                servers.push(server);
            }
        }
    }
    servers.truncate(SERVERS.1);
    servers
}

/// Whether all that were asked let it in.
fn is_let_in(admissions: &[Admission]) -> bool {
    admissions.iter().all(|admission| admission.allowed)
}

#[cfg(test)]
mod tests;
