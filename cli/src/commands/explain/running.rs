//! Asks the sidecars of a running mesh: the client's what becomes of the request, and the servers'
//! whether they let it in.

use heddle_proxy_config::decision::{Admission, Decision};

use super::asked::Asked;
use super::story::{By, Story};
use super::{servers, tell};
use crate::api::{Ask, Client, Question};
use crate::commands::exec;
use crate::failure::Outcome;

pub(super) async fn ask(client: &Client, asked: &Asked) -> Outcome<Story> {
    let status = client.status().await?;
    let pod = exec::find(&status, &asked.namespace, &asked.pod)?;
    let from = format!("{}/{}", pod.namespace, pod.name);
    let mut request = asked.request.clone();
    request.source = pod.ip;
    let decision: Decision = client
        .explain(&Ask {
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
        if let Ok(admission) = client.explain(&ask).await {
            admissions.push(admission);
        }
    }
    Ok(tell::story(By::Sidecar, asked, from, decision, admissions))
}
