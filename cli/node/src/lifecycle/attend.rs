//! What a container's supervisor does while its process runs: hooks, probes, and the end.

use std::net::IpAddr;

use tokio::time::{Instant, timeout, timeout_at};

use super::{
    check::Check,
    container::{AFTER_KILL, POST_START, Step, Supervisor, exited},
    hook::Asker,
    probe::ProbePlan,
};
use crate::{
    NodeError,
    container::spawn::Running,
    status::{ContainerKind, Exit},
};

impl Supervisor {
    /// Hooks and probes of a running process; ends with the reason to end the process.
    pub(super) async fn live(&self, asker: &Asker) -> String {
        match self.live_or_error(asker).await {
            Ok(reason) => reason,
            Err(error) => error.chain(),
        }
    }

    async fn live_or_error(&self, asker: &Asker) -> Result<String, NodeError> {
        let container = &self.container;
        let pod = IpAddr::V4(self.context.ip.v4);
        let parse =
            |kind, probe: &Option<_>| ProbePlan::parse(kind, probe.as_ref(), container, pod);
        let startup = parse("startup", &container.startup_probe)?;
        let liveness = parse("liveness", &container.liveness_probe)?;
        let readiness = parse("readiness", &container.readiness_probe)?;
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref());
        if let Some(hook) = hook {
            self.reason(Some("runs its postStart hook".to_owned()));
            let check = Check::of_hook(hook, container, pod)?;
            let answer = timeout(POST_START, asker.ask(&check, POST_START)).await;
            if let Err(failure) = answer.unwrap_or_else(|_| Err("timed out".to_owned())) {
                return Ok(format!("postStart hook failed: {check}: {failure}"));
            }
            self.reason(None);
        }
        self.step.send_replace(Step::Launched);
        if let Some(probe) = startup
            && let Err(failure) = probe
                .until_success(asker, |why| self.reason(Some(why.to_owned())))
                .await
        {
            return Ok(failure);
        }
        let done = self.kind != ContainerKind::Init && readiness.is_none();
        self.board.container(self.index, |c| {
            c.started = true;
            c.ready = done;
            c.reason = None;
        });
        self.step.send_replace(Step::Started);
        let alive = async {
            match &liveness {
                Some(probe) => probe.until_failure(asker).await,
                None => std::future::pending().await,
            }
        };
        let ready = async {
            match &readiness {
                Some(probe) => probe.watch(asker, |answer| self.ready(answer)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = alive => Ok(reason),
            never = ready => match never {},
        }
    }

    /// preStop, SIGTERM, and SIGKILL at the deadline.
    pub(super) async fn stop_process(
        &self,
        asker: &Asker,
        running: &mut Running,
        deadline: Instant,
    ) -> Exit {
        let hook = self
            .container
            .lifecycle
            .as_ref()
            .and_then(|l| l.pre_stop.as_ref());
        if let Some(hook) = hook {
            let pod = IpAddr::V4(self.context.ip.v4);
            let patience = deadline.saturating_duration_since(Instant::now());
            let ask = async {
                let check =
                    Check::of_hook(hook, &self.container, pod).map_err(|error| error.chain())?;
                asker.ask(&check, patience).await
            };
            tokio::select! {
                exit = running.wait() => return exit,
                asked = timeout_at(deadline, ask) => {
                    if let Ok(Err(failure)) = asked {
                        tracing::warn!(pod = %self.context.name, container = %self.container.name,
                            %failure, "a preStop hook failed");
                    }
                }
            }
        }
        running.terminate();
        if let Ok(exit) = timeout_at(deadline, running.wait()).await {
            return exit;
        }
        running.kill();
        match timeout(AFTER_KILL, running.wait()).await {
            Ok(exit) => exit,
            Err(_) => exited(Some("did not end although killed".to_owned())),
        }
    }
}
