#![allow(clippy::unwrap_used)]
use super::super::workload::tests::{deployment, workload};
use super::*;

/// Carries plans out the way the daemon does, in which every started pod becomes ready.
struct World {
    replicas: Vec<Replica>,
    starts: u64,
    least_ready: usize,
    most: usize,
}

impl World {
    fn new() -> Self {
        Self {
            replicas: Vec::new(),
            starts: 0,
            least_ready: usize::MAX,
            most: 0,
        }
    }

    fn settle(&mut self, workload: &Workload) {
        self.least_ready = self.ready();
        self.most = 0;
        for _ in 0..100 {
            let plan = plan(workload, &self.replicas);
            if plan == Plan::default()
                && self
                    .replicas
                    .iter()
                    .all(|r| !r.stopping && (r.ready || r.finished.is_some()))
            {
                return;
            }
            for name in plan.stop {
                let replica = self.replicas.iter_mut().find(|r| r.name == name).unwrap();
                assert!(!replica.stopping, "stopped twice");
                (replica.stopping, replica.ready) = (true, false);
            }
            for name in plan.start {
                self.starts += 1;
                let name = name.unwrap_or_else(|| workload.pod_name(|_| false));
                assert!(
                    self.replicas.iter().all(|r| r.name != name),
                    "{name} started twice"
                );
                self.replicas.push(Replica {
                    name,
                    revision: workload.revision.clone(),
                    ready: false,
                    stopping: false,
                    finished: None,
                    order: self.starts,
                });
            }
            self.most = self
                .most
                .max(self.replicas.iter().filter(|r| !r.stopping).count());
            self.least_ready = self.least_ready.min(self.ready());
            // One thing happens in the world: somebody is gone, or somebody becomes ready.
            if let Some(gone) = self.replicas.iter().position(|r| r.stopping) {
                self.replicas.remove(gone);
            } else if let Some(next) = self.replicas.iter_mut().find(|r| !r.ready) {
                next.ready = true;
            }
        }
        panic!("it never settles: {:?}", self.replicas);
    }

    fn ready(&self) -> usize {
        self.replicas.iter().filter(|r| r.ready).count()
    }
}

#[test]
fn a_rollout_starts_the_new_before_the_old_stop() {
    for replicas in [1, 2, 3, 5] {
        let mut world = World::new();
        world.settle(&workload(&deployment(replicas, "v1", "")).unwrap());
        assert_eq!(world.ready(), replicas);
        let next = workload(&deployment(replicas, "v2", "")).unwrap();
        world.settle(&next);
        assert!(world.replicas.iter().all(|r| r.revision == next.revision));
        assert_eq!(world.ready(), replicas);
        assert!(
            world.least_ready >= replicas - replicas / 4,
            "{} ready of {replicas}",
            world.least_ready
        );
        assert!(
            world.most <= replicas + replicas.div_ceil(4),
            "{} at once of {replicas}",
            world.most
        );
    }
}

#[test]
fn scaling_keeps_the_eldest() {
    let mut world = World::new();
    world.settle(&workload(&deployment(3, "v1", "")).unwrap());
    let eldest = world.replicas[0].name.clone();
    world.settle(&workload(&deployment(1, "v1", "")).unwrap());
    assert_eq!(
        world.replicas.iter().map(|r| &r.name).collect::<Vec<_>>(),
        [&eldest]
    );
    world.settle(&workload(&deployment(0, "v1", "")).unwrap());
    assert!(world.replicas.is_empty());
}

#[test]
fn a_pod_that_never_becomes_ready_does_not_replace_one_that_is() {
    let old = workload(&deployment(1, "v1", "")).unwrap();
    let mut world = World::new();
    world.settle(&old);
    let new = workload(&deployment(1, "v2", "")).unwrap();
    let broken = Replica {
        name: "b".into(),
        revision: new.revision.clone(),
        ready: false,
        ..world.replicas[0].clone()
    };
    world.replicas.push(broken);
    assert_eq!(plan(&new, &world.replicas), Plan::default());
}

#[test]
fn recreate_and_bare_pods_never_overlap() {
    let recreate =
        |version| workload(&deployment(2, version, "strategy: {type: Recreate},")).unwrap();
    let mut world = World::new();
    world.settle(&recreate("v1"));
    world.settle(&recreate("v2"));
    assert_eq!((world.ready(), world.most), (2, 2));

    let pod = |command: &str| {
        workload(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: one}}, spec: {{containers: [{{name: a, command: [{command}]}}]}}}}"
        ))
        .unwrap()
    };
    let mut world = World::new();
    world.settle(&pod("a"));
    world.settle(&pod("b"));
    assert_eq!((world.replicas[0].name.as_str(), world.starts), ("one", 2));
}

fn stateful(replicas: usize, version: &str) -> Workload {
    workload(&deployment(replicas, version, "").replace("kind: Deployment", "kind: StatefulSet"))
        .unwrap()
}

#[test]
fn stateful_sets_go_in_order() {
    let mut world = World::new();
    assert_eq!(
        plan(&stateful(3, "v1"), &[]).start,
        [Some("web-0".to_owned())]
    );
    world.settle(&stateful(3, "v1"));
    world.settle(&stateful(3, "v2"));
    assert_eq!(world.starts, 6);
    assert!(world.least_ready >= 2, "{}", world.least_ready);
    world.settle(&stateful(1, "v2"));
    assert_eq!(
        world
            .replicas
            .iter()
            .map(|r| r.name.as_str())
            .collect::<Vec<_>>(),
        ["web-0"]
    );
}

#[test]
fn jobs_end() {
    let job = workload(
        "{apiVersion: batch/v1, kind: Job, metadata: {name: j}, spec: {completions: 2, backoffLimit: 1, \
         template: {spec: {containers: [{name: a, command: [x]}]}}}}",
    )
    .unwrap();
    let ended = |name: &str, well: bool| Replica {
        name: name.to_owned(),
        revision: job.revision.clone(),
        ready: false,
        stopping: false,
        finished: Some(well),
        order: 0,
    };
    assert_eq!(plan(&job, &[]).start.len(), 1);
    assert_eq!(plan(&job, &[ended("a", true)]).start.len(), 1);
    assert_eq!(
        plan(&job, &[ended("a", true), ended("b", true)]),
        Plan::default()
    );
    assert_eq!(plan(&job, &[ended("a", false)]).start.len(), 1);
    assert_eq!(
        plan(&job, &[ended("a", false), ended("b", false)]),
        Plan::default()
    );
}
