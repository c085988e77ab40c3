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
mod tests;
