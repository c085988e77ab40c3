//! Keeps one container running: start, hooks, probes, restarts, an orderly end.
//!
//! A supervisor ends when its container will not be started again: told to stop, done, or failed for
//! good. Its process never outlives it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Container;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use super::{RestartBackoff, board::Board, context::PodContext, hook::Asker};
use crate::{
    NodeError,
    container::{
        plan::plan,
        spawn::{self, Running},
        spec::InitSpec,
    },
    pod::PodSandbox,
    status::{ContainerKind, ContainerState, Exit},
    volumes::Volumes,
};

/// A postStart hook that takes longer has failed.
pub(super) const POST_START: Duration = Duration::from_secs(300);
/// For a process that is killed because of its probes, as the pod's grace period bounds it.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

/// How far a container has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not running, or not past its postStart hook.
    Starting,
    /// Runs, and its postStart hook is done.
    Launched,
    /// Its startup probe has succeeded too.
    Started,
    /// Will not be started again.
    Ended(Exit),
}

/// One container's supervisor.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) context: Arc<PodContext>,
    pub(crate) board: Board,
    pub(crate) index: usize,
    pub(crate) container: Container,
    pub(crate) kind: ContainerKind,
    pub(crate) sandbox: Arc<PodSandbox>,
    pub(crate) volumes: Arc<Mutex<Volumes>>,
    pub(crate) step: watch::Sender<Step>,
    /// When to be gone; none while it should run.
    pub(crate) stop: watch::Receiver<Option<Instant>>,
}

impl Supervisor {
    /// Runs the container until its end.
    pub(crate) async fn run(mut self) {
        let mut backoff = RestartBackoff::new();
        loop {
            let begun = Instant::now();
            let exit = self.run_once().await;
            let stopping = self.stop.borrow().is_some();
            if stopping || !self.restarts_after(&exit) {
                self.end(exit);
                return;
            }
            let wait = backoff.after(begun.elapsed());
            self.wait_for_restart(exit, wait);
            let stopped = self.stop.wait_for(Option::is_some);
            if timeout(wait, stopped).await.is_ok() {
                let last = self.board.read(self.index).and_then(|c| c.last_exit);
                self.end(last.unwrap_or_else(|| exited(None)));
                return;
            }
            self.board.container(self.index, |c| c.restarts += 1);
        }
    }

    async fn run_once(&mut self) -> Exit {
        self.step.send_replace(Step::Starting);
        let started = match self.prepare().await {
            Ok(spec) => {
                let log = self.context.log(&self.container.name);
                let program = &self.context.node.options.program;
                spawn::start(program, &spec, &log)
                    .await
                    .map(|running| (spec, running))
            }
            Err(error) => Err(error),
        };
        match started {
            Ok((spec, running)) => self.attend(&spec, running).await,
            Err(error) => exited(Some(error.chain())),
        }
    }

    async fn prepare(&self) -> Result<InitSpec, NodeError> {
        let objects = self.context.objects();
        let volumes = self.volumes.lock().await;
        let bin_dir = self.context.node.bin_dir();
        let facts = self.context.facts(&objects);
        plan(&self.container, &facts, &volumes, &self.sandbox, bin_dir)
    }

    /// Looks after a process until it has ended.
    async fn attend(&mut self, spec: &InitSpec, mut running: Running) -> Exit {
        let pid = running.pid;
        self.board.container(self.index, |c| {
            c.state = ContainerState::Running;
            c.pid = Some(pid);
            c.started_at = Some(SystemTime::now());
            c.reason = None;
        });
        let asker = Asker {
            context: self.context.clone(),
            netns: spec.netns.clone(),
            pid,
            user: spec.process.user.clone(),
        };
        let mut stop = self.stop.clone();
        let reason = tokio::select! {
            exit = running.wait() => return exit,
            // The senders live as long as the pod's task, which waits for this one.
            _ = stop.wait_for(Option::is_some) => None,
            reason = self.live(&asker) => Some(reason),
        };
        let deadline = match *self.stop.borrow() {
            Some(deadline) => deadline,
            None => Instant::now() + self.context.grace(),
        };
        self.board.container(self.index, |c| {
            c.ready = false;
            c.reason = Some(
                reason
                    .clone()
                    .unwrap_or_else(|| "is being stopped".to_owned()),
            );
        });
        let mut exit = self.stop_process(&asker, &mut running, deadline).await;
        exit.reason = reason.or(exit.reason);
        exit
    }

    fn restarts_after(&self, exit: &Exit) -> bool {
        let failed = exit.code != 0;
        match (self.kind, self.context.restart_policy()) {
            (ContainerKind::Sidecar, _) => true,
            (ContainerKind::Init, "Never") => false,
            (ContainerKind::Init, _) => failed,
            (ContainerKind::App, "Never") => false,
            (ContainerKind::App, "OnFailure") => failed,
            (ContainerKind::App, _) => true,
        }
    }

    pub(super) fn reason(&self, reason: Option<String>) {
        self.board.container(self.index, |c| c.reason = reason);
    }

    pub(super) fn ready(&self, answer: Result<(), &str>) {
        self.board.container(self.index, |c| {
            c.ready = answer.is_ok();
            c.reason = answer.err().map(str::to_owned);
        });
    }

    fn wait_for_restart(&self, exit: Exit, wait: Duration) {
        tracing::info!(pod = %self.context.name, namespace = %self.context.namespace,
            container = %self.container.name, code = exit.code, reason = exit.reason.as_deref(),
            wait = ?wait, "a container ended and is started again");
        let why = format!(
            "{}; started again in {:.1} s",
            describe(&exit),
            wait.as_secs_f32()
        );
        self.board.container(self.index, |c| {
            c.state = ContainerState::Waiting;
            (c.started, c.ready, c.pid) = (false, false, None);
            c.reason = Some(why);
            c.last_exit = Some(exit);
        });
    }

    fn end(&self, exit: Exit) {
        let well = exit.code == 0;
        self.board.container(self.index, |c| {
            c.state = ContainerState::Terminated;
            (c.started, c.pid) = (false, None);
            c.ready = well && self.kind == ContainerKind::Init;
            c.reason = (!c.ready).then(|| describe(&exit));
            c.last_exit = Some(exit.clone());
        });
        self.step.send_replace(Step::Ended(exit));
    }
}

/// An end without a process, or whose process could not be waited for.
pub(super) fn exited(reason: Option<String>) -> Exit {
    Exit {
        code: 128,
        signal: None,
        at: SystemTime::now(),
        reason,
    }
}

/// One line for people.
pub(crate) fn describe(exit: &Exit) -> String {
    match (&exit.reason, exit.signal) {
        (Some(reason), _) => reason.clone(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended with exit code {}", exit.code),
    }
}
