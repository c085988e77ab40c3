//! When a probe asks, and what its answers mean.
//!
//! A probe that has not yet succeeded asks quickly (50 ms, doubling to its period), so that a pod is
//! ready as soon as it can be; the time a container is given is still `failureThreshold` periods.

use std::{convert::Infallible, time::Duration};

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{check::Check, hook::Asker};
use crate::NodeError;

/// The first wait between quick questions.
const QUICK: Duration = Duration::from_millis(50);

/// One of a container's probes.
#[derive(Debug, Clone)]
pub(crate) struct ProbePlan {
    kind: &'static str,
    check: Check,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
}

impl ProbePlan {
    /// Parses a probe; `kind` is what people call it.
    pub(crate) fn parse(
        kind: &'static str,
        probe: Option<&Probe>,
        container: &Container,
        pod: std::net::IpAddr,
    ) -> Result<Option<Self>, NodeError> {
        let Some(probe) = probe else { return Ok(None) };
        let seconds = |value: Option<i32>, default: i32, least: i32| {
            let value = value.filter(|v| *v >= least).unwrap_or(default);
            Duration::from_secs(u64::from(value.unsigned_abs()))
        };
        let count = |value: Option<i32>, default: u32| {
            value
                .and_then(|v| u32::try_from(v).ok())
                .filter(|v| *v > 0)
                .unwrap_or(default)
        };
        Ok(Some(Self {
            kind,
            check: Check::of_probe(probe, container, pod)?,
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }))
    }

    /// Asks until the first success; an error when the time for it is over. `report` hears failures.
    pub(crate) async fn until_success(
        &self,
        asker: &Asker,
        mut report: impl FnMut(&str),
    ) -> Result<(), String> {
        sleep(self.initial_delay).await;
        let deadline = Instant::now() + self.period.saturating_mul(self.failures);
        let mut wait = QUICK;
        loop {
            let Err(failure) = self.ask(asker).await else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(failure);
            }
            report(&failure);
            sleep_until((Instant::now() + wait).min(deadline)).await;
            wait = (wait * 2).min(self.period);
        }
    }

    /// Asks once a period; ends with the reason when `failureThreshold` answers in turn were bad.
    pub(crate) async fn until_failure(&self, asker: &Asker) -> String {
        sleep(self.initial_delay).await;
        let mut bad = 0;
        loop {
            match self.ask(asker).await {
                Ok(()) => bad = 0,
                Err(failure) => {
                    bad += 1;
                    if bad >= self.failures {
                        return failure;
                    }
                }
            }
            sleep(self.period).await;
        }
    }

    /// Asks for ever and reports every change: ready, or not and why.
    pub(crate) async fn watch(
        &self,
        asker: &Asker,
        mut report: impl FnMut(Result<(), &str>),
    ) -> Infallible {
        sleep(self.initial_delay).await;
        let (mut ready, mut good, mut bad, mut wait) = (false, 0, 0, QUICK);
        loop {
            match self.ask(asker).await {
                Ok(()) => {
                    (good, bad, wait) = (good + 1, 0, QUICK);
                    if !ready && good >= self.successes {
                        ready = true;
                        report(Ok(()));
                    }
                }
                Err(failure) => {
                    (good, bad) = (0, bad + 1);
                    if !ready || bad >= self.failures {
                        ready = false;
                        report(Err(&failure));
                    }
                }
            }
            if ready {
                sleep(self.period).await;
            } else {
                sleep(wait).await;
                wait = (wait * 2).min(self.period);
            }
        }
    }

    async fn ask(&self, asker: &Asker) -> Result<(), String> {
        let answer = timeout(self.timeout, asker.ask(&self.check, self.timeout)).await;
        let failure = match answer {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure,
            Err(_) => format!("no answer in {} s", self.timeout.as_secs()),
        };
        Err(format!(
            "{} probe failed: {}: {failure}",
            self.kind, self.check
        ))
    }
}
