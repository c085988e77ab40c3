//! The order of a pod's life.
//!
//! Sandbox, volumes, init containers one by one (a sidecar's turn is over when it has started), the
//! app's containers in order (a postStart hook holds the next one back), and at the end the app's
//! first, the sidecars after them in reverse, then volumes and sandbox.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Container;
use tokio::{
    sync::{Mutex, watch},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use super::{
    board::Board,
    container::{Step, Supervisor, describe},
    context::PodContext,
    fresh::keep_fresh,
};
use crate::{
    NodeError, PodSandbox,
    container::log::Log,
    status::{ContainerKind, Exit, Phase},
    volumes::Volumes,
};

/// Sidecars get at least this long after the app, as from the kubelet.
const SIDECAR_GRACE: Duration = Duration::from_secs(2);
/// Between attempts to make what a pod needs.
const RETRY: Duration = Duration::from_secs(2);

/// Owns one pod.
pub(crate) struct Runner {
    context: Arc<PodContext>,
    board: Board,
    stop: watch::Receiver<Option<Duration>>,
    grace: Duration,
    members: Vec<Member>,
}

/// A container whose supervisor was started.
struct Member {
    index: usize,
    kind: ContainerKind,
    step: watch::Receiver<Step>,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// How a stage ended.
enum Stage {
    Done,
    Stopped,
    Failed(String),
}

impl Runner {
    pub(crate) fn new(
        context: Arc<PodContext>,
        board: Board,
        stop: watch::Receiver<Option<Duration>>,
        grace: Duration,
    ) -> Self {
        Self {
            context,
            board,
            stop,
            grace,
            members: Vec::new(),
        }
    }

    /// The whole life.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let Some(sandbox) = self.sandbox().await else {
            return self.clean(None).await;
        };
        let Some(volumes) = self.volumes().await else {
            return self.clean(Some(sandbox)).await;
        };
        let volumes = Arc::new(Mutex::new(volumes));
        let mut life = Box::pin(live(&mut self, &sandbox, &volumes));
        let mut stopped = stop.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(Option::is_some) => {}
            never = &mut life => match never {},
        }
        drop(life);
        let grace = self.grace_or_asked(*stop.borrow());
        self.board
            .phase(Phase::Terminating, Some("is being stopped".to_owned()));
        self.end(grace).await;
        self.clean(Some(sandbox)).await;
    }

    /// `Duration::MAX` asks for the pod's own period.
    fn grace_or_asked(&self, asked: Option<Duration>) -> Duration {
        asked
            .filter(|grace| *grace != Duration::MAX)
            .unwrap_or(self.grace)
    }

    async fn sandbox(&mut self) -> Option<Arc<PodSandbox>> {
        loop {
            let context = self.context.clone();
            let create = move || {
                Volumes::remove(&context.dir())?;
                PodSandbox::create(&context.node.layout, context.names(), context.ip)
            };
            let made = spawn_blocking(create).await;
            match made.unwrap_or_else(|_| Err(NodeError::spec("the sandbox", "was interrupted"))) {
                Ok(sandbox) => return Some(Arc::new(sandbox)),
                Err(error) => {
                    let reason = format!("its sandbox cannot be made: {}", error.chain());
                    self.board.phase(Phase::Pending, Some(reason));
                }
            }
            if self.stopped_within(RETRY).await {
                return None;
            }
        }
    }

    async fn volumes(&mut self) -> Option<Volumes> {
        loop {
            let context = self.context.clone();
            let mut objects = context.node.options.objects.clone();
            objects.mark_unchanged();
            let prepare = move || {
                // What an earlier attempt mounted is in the way of this one.
                Volumes::remove(&context.dir())?;
                let objects = context.objects();
                Volumes::prepare(&context.dir(), &context.source(&objects))
            };
            let made = spawn_blocking(prepare).await;
            match made.unwrap_or_else(|_| Err(NodeError::spec("volumes", "were interrupted"))) {
                Ok(volumes) => return Some(volumes),
                Err(error) => self.board.phase(Phase::Pending, Some(error.chain())),
            }
            tokio::select! {
                stopped = self.stopped_within(RETRY) => if stopped { return None },
                Ok(()) = objects.changed() => {}
            }
        }
    }

    async fn stopped_within(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.stop.wait_for(Option::is_some))
            .await
            .is_ok()
    }

    /// Runs containers up to the point where all the app's were started.
    async fn start(&mut self, sandbox: &Arc<PodSandbox>, volumes: &Arc<Mutex<Volumes>>) -> Stage {
        for (index, (container, kind)) in self.context.containers().into_iter().enumerate() {
            if kind == ContainerKind::App && !self.members.iter().any(|m| m.kind == kind) {
                self.board.phase(Phase::Running, None);
            }
            let mut step = self.supervise(index, container, kind, sandbox, volumes);
            let passed = |step: &Step| match (kind, step) {
                (_, Step::Ended(_)) => true,
                (ContainerKind::Init, _) => false,
                (ContainerKind::Sidecar, step) => *step == Step::Started,
                (ContainerKind::App, step) => *step != Step::Starting,
            };
            let Ok(step) = step.wait_for(passed).await else {
                return Stage::Stopped;
            };
            if let (ContainerKind::Init, Step::Ended(exit)) = (kind, &*step)
                && exit.code != 0
            {
                return Stage::Failed(format!("an init container failed: {}", describe(exit)));
            }
        }
        Stage::Done
    }

    fn supervise(
        &mut self,
        index: usize,
        container: Container,
        kind: ContainerKind,
        sandbox: &Arc<PodSandbox>,
        volumes: &Arc<Mutex<Volumes>>,
    ) -> watch::Receiver<Step> {
        let (step, steps) = watch::channel(Step::Starting);
        let (stop, stopped) = watch::channel(None);
        self.board.container(index, |c| c.reason = None);
        let supervisor = Supervisor {
            context: self.context.clone(),
            board: self.board.clone(),
            index,
            container,
            kind,
            sandbox: sandbox.clone(),
            volumes: volumes.clone(),
            step,
            stop: stopped,
        };
        let task = tokio::spawn(supervisor.run());
        self.members.push(Member {
            index,
            kind,
            step: steps.clone(),
            stop,
            task,
        });
        steps
    }

    /// Waits for the end of every app container that is not started again.
    async fn all_apps_ended(&mut self) -> Vec<Exit> {
        let mut exits = Vec::new();
        for member in self
            .members
            .iter_mut()
            .filter(|m| m.kind == ContainerKind::App)
        {
            let ended = member
                .step
                .wait_for(|step| matches!(step, Step::Ended(_)))
                .await;
            if let Ok(Step::Ended(exit)) = ended.as_deref() {
                exits.push(exit.clone());
            }
        }
        exits
    }

    async fn end(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let (sidecars, others): (Vec<Member>, Vec<Member>) = self
            .members
            .drain(..)
            .partition(|member| member.kind == ContainerKind::Sidecar);
        for member in &others {
            member.stop.send_replace(Some(deadline));
        }
        for member in others {
            member.ended().await;
        }
        let mut sidecars = sidecars;
        sidecars.sort_by_key(|member| std::cmp::Reverse(member.index));
        for member in sidecars {
            let least = Instant::now() + SIDECAR_GRACE.min(grace);
            member.stop.send_replace(Some(deadline.max(least)));
            member.ended().await;
        }
    }

    async fn clean(&mut self, sandbox: Option<Arc<PodSandbox>>) {
        let context = self.context.clone();
        let clean = move || {
            let removed = sandbox.map_or(Ok(()), |sandbox| sandbox.remove());
            for (container, _) in context.containers() {
                // A log may never have been begun; what is left goes with the mesh.
                Log::remove(&context.log(&container.name));
            }
            removed.and(Volumes::remove(&context.dir()))
        };
        if let Ok(Err(error)) = spawn_blocking(clean).await {
            tracing::warn!(pod = %self.context.name, error = %error.chain(),
                "a pod was not taken away entirely; `heddle down` finishes that");
        }
    }
}

impl Member {
    async fn ended(self) {
        // A panic in it was logged; its process ends with the sandbox.
        let _ = self.task.await;
    }
}

/// Runs the pod; never ends by itself, a pod that is done stays to be looked at.
async fn live(
    runner: &mut Runner,
    sandbox: &Arc<PodSandbox>,
    volumes: &Arc<Mutex<Volumes>>,
) -> std::convert::Infallible {
    let fresh = keep_fresh(runner.context.clone(), volumes.clone());
    let course = async {
        let outcome = match runner.start(sandbox, volumes).await {
            Stage::Done => {
                let exits = runner.all_apps_ended().await;
                exits
                    .into_iter()
                    .find(|exit| exit.code != 0)
                    .map(|exit| describe(&exit))
            }
            Stage::Failed(reason) => Some(reason),
            Stage::Stopped => return std::future::pending().await,
        };
        let phase = if outcome.is_some() {
            Phase::Failed
        } else {
            Phase::Succeeded
        };
        runner.board.phase(phase, outcome);
        runner.end(runner.grace).await;
        std::future::pending().await
    };
    tokio::select! {
        never = fresh => never,
        never = course => never,
    }
}
