//! `heddle rollout` and `heddle scale`: the edits of a workload that people make by command. Each is an
//! `apply` of the object in force with one field changed, so that a later edit of its file wins.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Client, Manifest, Pod, Query, Status};
use crate::args::{Rollout, RolloutAction, Scale, WorkloadName};
use crate::cluster::Workload;
use crate::commands::{apply, output};
use crate::failure::{Failure, Outcome};
use crate::manifests::{Key, parse, resolve};

/// As kubectl writes it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Between looks at the pods.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn rollout(client: &Client, rollout: &Rollout) -> Outcome {
    match &rollout.action {
        RolloutAction::Restart { workload } => restart(client, workload).await,
        RolloutAction::Status { workload, timeout } => status(client, workload, *timeout).await,
    }
}

/// Replaces every pod of a workload by another of the same template, as its strategy says.
async fn restart(client: &Client, name: &WorkloadName) -> Outcome {
    let mut object = in_force(client, name).await?;
    let template = match object["kind"].as_str() {
        Some("Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            &mut object["spec"]["template"]
        }
        kind => {
            return Err(Failure::new(format!(
                "a {} cannot be restarted: nothing replaces its pods",
                kind.unwrap_or("thing")
            ))
            .advise("Deployments, StatefulSets and DaemonSets can"));
        }
    };
    template["metadata"]["annotations"][RESTARTED_AT] = json!(now());
    edit(client, &object, "rollout restart").await
}

/// To the nanosecond: a second restart within one second is one too.
fn now() -> String {
    OffsetDateTime::from(SystemTime::now())
        .format(&Rfc3339)
        .unwrap_or_default()
}

pub(crate) async fn scale(client: &Client, scale: &Scale) -> Outcome {
    let mut object = in_force(client, &scale.workload).await?;
    if !matches!(
        object["kind"].as_str(),
        Some("Deployment" | "ReplicaSet" | "StatefulSet")
    ) {
        return Err(Failure::new(format!("{} has no replicas", object["kind"])));
    }
    object["spec"]["replicas"] = json!(scale.replicas);
    edit(client, &object, "scale").await
}

async fn edit(client: &Client, object: &Value, what: &str) -> Outcome {
    let manifest = Manifest {
        file: format!("<{what}>"),
        text: object.to_string(),
    };
    apply::finish(&client.apply(&[manifest]).await?, "applied")
}

/// Waits until the workload has as many pods as it wants, all of its newest template and ready, and
/// none that is still going.
async fn status(client: &Client, name: &WorkloadName, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    loop {
        let object = in_force(client, name).await?;
        let missing = missing(&object, &client.status().await?)?;
        let Some(missing) = missing else {
            return output::write(&format!("{} is rolled out\n", name.name()));
        };
        if Instant::now() >= deadline {
            let waited = timeout.as_secs_f64();
            return Err(Failure::new(format!(
                "not rolled out after {waited} s: {missing}"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What is not as the workload wants it yet.
fn missing(object: &Value, status: &Status) -> Outcome<Option<String>> {
    let (objects, _) = parse(Path::new("<workload>"), &object.to_string());
    let workload = objects.first().map(Workload::read).transpose();
    let Some(workload) = workload.map_err(Failure::new)?.flatten() else {
        return Err(Failure::new(format!("{} makes no pods", object["kind"])));
    };
    let owner = workload.key.to_string();
    let pods: Vec<&Pod> = status
        .pods
        .iter()
        .filter(|pod| pod.owner == owner)
        .collect();
    let going = pods.iter().filter(|pod| pod.phase == "Terminating").count();
    let done = |pod: &&&Pod| {
        pod.phase != "Terminating"
            && (pod.ready || pod.phase == "Succeeded")
            && pod.revision == workload.revision
    };
    let done = pods.iter().filter(done).count();
    let wanted = workload.replicas;
    if done == wanted && pods.len() == wanted {
        return Ok(None);
    }
    let reason = pods.iter().find_map(|pod| pod.reason.as_deref());
    Ok(Some(format!(
        "{done} of {wanted} pods are ready and of the newest template, {going} still ending{}",
        reason
            .map(|reason| format!("; {reason}"))
            .unwrap_or_default()
    )))
}

/// The object as it is in force.
async fn in_force(client: &Client, name: &WorkloadName) -> Outcome<Value> {
    let kind = resolve(name.kind())
        .filter(|kind| Workload::is_kind(kind.name))
        .ok_or_else(|| {
            Failure::new(format!("`{}` is no kind of workload", name.kind()))
                .advise("write it as deployment/NAME or statefulset/NAME")
        })?;
    let query = Query {
        kinds: kind.name.to_owned(),
        namespace: Some(name.namespace.clone()),
        name: Some(name.name().to_owned()),
    };
    let found = client.objects(&query).await?;
    found.into_iter().next().ok_or_else(|| {
        let key = Key::new(kind.name, &name.namespace, name.name());
        Failure::new(format!("there is no {key}")).advise(format!(
            "heddle get {} -A  lists those there are",
            name.kind()
        ))
    })
}
