//! What a test can make go wrong.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::request::Asked;

/// What happens instead of an answer, or before it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// This status and reason, such as 500 `InternalError`, 410 `Expired` or 429 `TooManyRequests`.
    Refuse(u16, &'static str),
    /// The connection is closed without an answer.
    Drop,
    /// The answer comes late.
    Delay(Duration),
}

/// Something that goes wrong a few times.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Verbs that it concerns; empty: all.
    pub verbs: Vec<&'static str>,
    /// `PLURAL.GROUP` (or `PLURAL/SUBRESOURCE.GROUP`) that it concerns; empty: all, discovery included.
    pub resource: String,
    /// What happens.
    pub effect: Effect,
    /// How many times.
    pub times: usize,
}

impl Fault {
    /// The next requests of a verb for a resource are refused.
    pub fn refuse(
        verb: &'static str,
        resource: &str,
        code: u16,
        reason: &'static str,
        times: usize,
    ) -> Self {
        Self {
            verbs: vec![verb],
            resource: resource.to_owned(),
            effect: Effect::Refuse(code, reason),
            times,
        }
    }
}

/// Those that are still to come.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    }

    pub(crate) fn take(&self, asked: &Asked) -> Option<Effect> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = |fault: &&mut Fault| {
            fault.times > 0
                && (fault.verbs.is_empty() || fault.verbs.contains(&asked.verb.as_str()))
                && (fault.resource.is_empty() || fault.resource == asked.full_resource())
        };
        let fault = faults.iter_mut().find(concerned)?;
        fault.times -= 1;
        let effect = fault.effect.clone();
        faults.retain(|fault| fault.times > 0);
        Some(effect)
    }
}
