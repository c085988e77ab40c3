//! Which pods of a workload to start and to stop next, given those that are there: scaling, rolling
//! replacement (the new are ready before the old stop), ordered sets and jobs.
//! Called again after every change of a pod; it keeps no state between calls.

use super::{Style, Workload};

/// A pod of the workload as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
    /// Ended for good: well (true) or not.
    pub(crate) finished: Option<bool>,
    /// Grows with each start, so that the youngest can be told.
    pub(crate) order: u64,
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Names for pods to start; `None` lets the workload make one up.
    pub(crate) start: Vec<Option<String>>,
    /// Names of pods to stop.
    pub(crate) stop: Vec<String>,
}

/// The next step towards what the workload wants.
pub(crate) fn plan(workload: &Workload, replicas: &[Replica]) -> Plan {
    let mut alive: Vec<&Replica> = replicas
        .iter()
        .filter(|replica| !replica.stopping)
        .collect();
    match workload.style {
        Style::Rolling { surge, unavailable } => rolling(workload, &mut alive, surge, unavailable),
        Style::Recreate => recreate(workload, replicas, &mut alive, None),
        Style::Single => recreate(workload, replicas, &mut alive, Some(&workload.key.name)),
        Style::Ordinal { parallel } => ordinal(workload, replicas, parallel),
        Style::Completions {
            parallel,
            backoff_limit,
        } => job(workload, &alive, parallel, backoff_limit),
    }
}

fn rolling(workload: &Workload, alive: &mut [&Replica], surge: usize, unavailable: usize) -> Plan {
    let wanted = workload.replicas;
    // The first to go come first: not ready, then youngest.
    alive.sort_by_key(|replica| (replica.ready, std::cmp::Reverse(replica.order)));
    let (new, old): (Vec<&Replica>, Vec<&Replica>) = alive
        .iter()
        .copied()
        .partition(|replica| replica.revision == workload.revision);
    let mut plan = Plan::default();

    let missing = wanted.saturating_sub(new.len());
    let room = (wanted + surge).saturating_sub(alive.len());
    plan.start = vec![None; missing.min(room)];

    let excess = new.len().saturating_sub(wanted);
    plan.stop
        .extend(new.iter().take(excess).map(|replica| replica.name.clone()));
    let ready = new
        .iter()
        .skip(excess)
        .chain(&old)
        .filter(|replica| replica.ready)
        .count();
    let mut spare = ready.saturating_sub(wanted.saturating_sub(unavailable));
    for replica in old {
        // What is not ready serves nobody; what is ready leaves only while enough others are.
        if replica.ready && spare == 0 {
            continue;
        }
        spare -= usize::from(replica.ready);
        plan.stop.push(replica.name.clone());
    }
    plan
}

fn recreate(
    workload: &Workload,
    all: &[Replica],
    alive: &mut [&Replica],
    name: Option<&String>,
) -> Plan {
    let mut plan = Plan::default();
    let old = all
        .iter()
        .filter(|replica| replica.revision != workload.revision);
    let (stopping, running): (Vec<_>, Vec<_>) = old.partition(|replica| replica.stopping);
    plan.stop
        .extend(running.iter().map(|replica| replica.name.clone()));
    // A name is free again only when its last bearer is gone.
    let must_wait = !stopping.is_empty()
        || !running.is_empty()
        || name.is_some() && all.iter().any(|r| r.stopping);
    alive.sort_by_key(|replica| (replica.ready, std::cmp::Reverse(replica.order)));
    let new: Vec<_> = alive
        .iter()
        .filter(|replica| replica.revision == workload.revision)
        .collect();
    plan.stop.extend(
        new.iter()
            .take(new.len().saturating_sub(workload.replicas))
            .map(|replica| replica.name.clone()),
    );
    if !must_wait {
        plan.start = vec![name.cloned(); workload.replicas.saturating_sub(new.len())];
    }
    plan
}

fn ordinal(workload: &Workload, all: &[Replica], parallel: bool) -> Plan {
    let mut plan = Plan::default();
    let name = |ordinal: usize| format!("{}-{ordinal}", workload.key.name);
    let find = |ordinal: usize| all.iter().find(|replica| replica.name == name(ordinal));
    let wanted = workload.replicas;
    let index = |replica: &Replica| {
        replica
            .name
            .rsplit('-')
            .next()
            .and_then(|text| text.parse::<usize>().ok())
    };

    let mut surplus: Vec<_> = all
        .iter()
        .filter(|replica| index(replica).is_none_or(|index| index >= wanted))
        .collect();
    surplus.sort_by_key(|replica| std::cmp::Reverse(index(replica)));
    let going = surplus.iter().any(|replica| replica.stopping);
    let stoppable = surplus
        .iter()
        .filter(|replica| !replica.stopping)
        .map(|replica| replica.name.clone());
    plan.stop.extend(stoppable.take(if parallel {
        usize::MAX
    } else {
        usize::from(!going)
    }));

    for ordinal in 0..wanted {
        match find(ordinal) {
            None => plan.start.push(Some(name(ordinal))),
            Some(replica) if replica.ready && !replica.stopping => continue,
            Some(_) => {}
        }
        // In order: the next one waits until this one is ready.
        if !parallel {
            break;
        }
    }
    let settled =
        |ordinal: usize| find(ordinal).is_some_and(|replica| replica.ready && !replica.stopping);
    let outdated = (0..wanted)
        .rev()
        .find(|ordinal| find(*ordinal).is_some_and(|r| r.revision != workload.revision));
    if let Some(ordinal) = outdated
        && (0..wanted).all(|other| other == ordinal || settled(other))
        && find(ordinal).is_some_and(|replica| !replica.stopping)
    {
        plan.start.clear();
        plan.stop.push(name(ordinal));
    }
    plan
}

fn job(workload: &Workload, alive: &[&Replica], parallel: usize, backoff_limit: usize) -> Plan {
    let ended = |well: bool| {
        alive
            .iter()
            .filter(|replica| replica.finished == Some(well))
            .count()
    };
    let running = alive
        .iter()
        .filter(|replica| replica.finished.is_none())
        .count();
    if ended(false) > backoff_limit {
        return Plan::default();
    }
    let wanted = workload.replicas.saturating_sub(ended(true)).min(parallel);
    Plan {
        start: vec![None; wanted.saturating_sub(running)],
        stop: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
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
        workload(
            &deployment(replicas, version, "").replace("kind: Deployment", "kind: StatefulSet"),
        )
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
}
