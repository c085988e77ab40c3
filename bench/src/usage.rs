//! What processes and the machine have used, from /proc.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// CPU time that a process has used in all its threads, user and system.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let dir = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&dir).map_err(Error::file("read", &dir))?;
    let mut nanoseconds = 0_u64;
    for thread in threads.flatten() {
        let file = thread.path().join("schedstat");
        // Unreadable: a thread that has just ended.
        let text = fs::read_to_string(&file).unwrap_or_default();
        let used = text
            .split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok());
        nanoseconds += used.unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// CPU time of our own children that have ended: the load generator, when nothing else has.
pub(crate) fn children() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Duration::ZERO;
    };
    let duration = |time: nix::sys::time::TimeVal| {
        let microseconds = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
    };
    duration(usage.user_time()) + duration(usage.system_time())
}

/// Memory of a process, KiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Resident set.
    pub(crate) rss: f64,
    /// Proportional share of it: pages that others use too count in part.
    pub(crate) pss: f64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let read = |file: String| fs::read_to_string(&file).map_err(Error::file("read", file));
    let status = read(format!("/proc/{pid}/status"))?;
    let rollup = read(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        rss: kib(&status, "VmRSS:"),
        pss: kib(&rollup, "Pss:"),
    })
}

fn kib(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|v| v.trim().trim_end_matches(" kB").trim().parse().ok());
    number.unwrap_or(f64::NAN)
}

/// What all CPUs have done since the start of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Machine {
    pub(crate) busy: Duration,
    /// Taken by the hypervisor for other machines.
    pub(crate) stolen: Duration,
    pub(crate) total: Duration,
}

impl Machine {
    pub(crate) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").map_err(Error::file("read", "/proc/stat"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        Ok(Self::parse(&stat, u64::try_from(per_second).unwrap_or(100)))
    }

    fn parse(stat: &str, per_second: u64) -> Self {
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            // Guests, the last two, are counted in user time already.
            .take(8)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / per_second.max(1));
        let field = |index: usize| ticks.get(index).copied().unwrap_or(0);
        let (idle, stolen) = (field(3) + field(4), field(7));
        let total: u64 = ticks.iter().sum();
        Self {
            busy: time(total.saturating_sub(idle + stolen)),
            stolen: time(stolen),
            total: time(total),
        }
    }

    /// What has been done since then.
    pub(crate) fn since(self, then: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(then.busy),
            stolen: self.stolen.saturating_sub(then.stolen),
            total: self.total.saturating_sub(then.total),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_machine_is_busy_when_neither_idle_nor_stolen() {
        let machine = Machine::parse("cpu  100 20 30 400 50 6 7 80 90 10\ncpu0 1 1 1", 100);
        assert_eq!(machine.busy, Duration::from_millis(1630));
        assert_eq!(machine.stolen, Duration::from_millis(800));
        assert_eq!(machine.total, Duration::from_millis(6930));
    }

    #[test]
    fn this_process_uses_something() {
        let own = std::process::id();
        let end = std::time::Instant::now() + Duration::from_millis(30);
        while std::time::Instant::now() < end {}
        assert!(cpu(own).unwrap() > Duration::from_millis(10));
        let memory = memory(own).unwrap();
        assert!(
            memory.rss > 500.0 && memory.pss > 0.0 && memory.pss <= memory.rss,
            "{memory:?}"
        );
    }

    #[test]
    fn kibibytes_are_read_by_name() {
        assert_eq!(
            kib("VmPeak:\t 9 kB\nVmRSS:\t   1234 kB\n", "VmRSS:"),
            1234.0
        );
        assert!(kib("", "VmRSS:").is_nan());
    }
}
