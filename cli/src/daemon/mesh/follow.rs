//! After a change by command: waits until the control plane has seen it and the sidecars have accepted
//! it, and adds to the report what either refuses of it. Every wait is bounded; a control plane that
//! is away is told, not waited for.

use std::sync::Arc;
use std::time::Duration;

use heddle_proto::admin::StatusResponse;
use tokio::time::Instant;

use super::Mesh;
use crate::api::{Change, Report};
use crate::daemon::refusals;
use crate::daemon::view::View;

/// How long the control plane may take to see a change: it watches the files.
const SEEN_WITHIN: Duration = Duration::from_millis(1500);
/// How long sidecars may take to accept it.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(5);
/// Between looks while waiting.
const LOOK: Duration = Duration::from_millis(10);

impl Mesh {
    /// Waits until the control plane has seen a change and the sidecars have accepted it; adds what
    /// it refuses of what was changed.
    pub(super) async fn follow(&self, before: Option<StatusResponse>, report: &mut Report) {
        let concerns = |change: &Change| {
            is_routing(&change.key.kind)
                && !matches!(change.outcome.as_str(), "unchanged" | "not found")
        };
        if !report.changes.iter().any(concerns) {
            return;
        }
        let Some(before) = before else {
            report
                .notes
                .push("the control plane is away: it will follow when it is back".to_owned());
            return;
        };
        let seen = |now: &StatusResponse| {
            now.model_version != before.model_version || now.refused != before.refused
        };
        let Some(now) = self.wait(SEEN_WITHIN, seen).await else {
            return;
        };
        let view: Arc<View> = self.handle.view();
        let known = report.refused.clone();
        let refused = refusals::merge(&view, &now.refused, &self.layout.state_dir());
        let about = report
            .changes
            .iter()
            .map(|change| &change.key)
            .collect::<Vec<_>>();
        let new = refused
            .into_iter()
            .filter(|problem| about.iter().any(|key| problem.is_about(key)));
        let new: Vec<_> = new.filter(|problem| !known.contains(problem)).collect();
        let (warnings, new): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|problem| problem.is_warning());
        report.warnings.extend(warnings);
        report.refused.extend(new);
        let accepted = |now: &StatusResponse| now.proxies.iter().all(|proxy| proxy.synced);
        let Some(now) = self.wait(ACCEPTED_WITHIN, accepted).await else {
            return;
        };
        let late: Vec<_> = now
            .proxies
            .iter()
            .filter(|proxy| !proxy.synced)
            .map(|proxy| proxy.pod.as_str())
            .collect();
        if !late.is_empty() {
            report
                .notes
                .push(format!("not yet accepted by {}", late.join(", ")));
        }
        for proxy in now.proxies.iter().filter(|proxy| !proxy.nacks.is_empty()) {
            let reasons: Vec<_> = proxy
                .nacks
                .iter()
                .map(|nack| format!("{}: {}", nack.name, nack.reason))
                .collect();
            report.notes.push(format!(
                "refused by the sidecar of {}: {}",
                proxy.pod,
                reasons.join("; ")
            ));
        }
    }

    /// The control plane's status once it is as wanted, or after the patience; `None` when it is away.
    async fn wait(
        &self,
        patience: Duration,
        wanted: impl Fn(&StatusResponse) -> bool,
    ) -> Option<StatusResponse> {
        let end = Instant::now() + patience;
        loop {
            let now = self.control.status().await.ok()?;
            if wanted(&now) || Instant::now() >= end {
                return Some(now);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether the control plane makes something of objects of this kind at once.
fn is_routing(kind: &str) -> bool {
    !matches!(
        kind,
        "Deployment"
            | "ReplicaSet"
            | "StatefulSet"
            | "DaemonSet"
            | "Job"
            | "CronJob"
            | "Pod"
            | "ConfigMap"
            | "Secret"
            | "ServiceAccount"
            | "Namespace"
    )
}
