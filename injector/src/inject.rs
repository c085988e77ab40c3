//! The one function from a pod (template) to an injected one. Pure; everything it needs is in its
//! arguments. Injecting an injected pod takes the earlier injection out and puts the new one in;
//! when both are the same, nothing changes.

use json_patch::Patch;
use serde_json::Value;

use crate::config::InjectConfig;
use crate::context::PodContext;
use crate::decide::{SkipReason, decide};
use crate::error::InjectError;
use crate::plan::Plan;
use crate::status::Status;
use crate::strip::strip;
use crate::view::PodView;

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It gets a sidecar.
    Inject(Injection),
    /// It stays as it is.
    Skip {
        /// Why.
        reason: SkipReason,
    },
}

/// An injected pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// The whole pod (template).
    pub pod: Value,
    /// The smallest patch from what was given to `pod`; empty when it was injected already.
    pub patch: Patch,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Injects `pod`, which is a Pod or a pod template: `metadata` and `spec`.
///
/// # Errors
/// When something in the pod has a value that it may not have; see [`InjectError`].
pub fn inject(
    pod: &Value,
    context: &PodContext,
    config: &InjectConfig,
) -> Result<Decision, InjectError> {
    let view = PodView::parse(pod)?;
    if let Some(reason) = decide(&view, context, config)? {
        return Ok(Decision::Skip { reason });
    }
    let Some(earlier) = Status::of(&view)? else {
        let plan = Plan::make(pod.clone(), &view, context, config)?;
        return Ok(plan.into_decision(pod));
    };
    let stripped = strip(pod, &view, &earlier)?;
    let plan = Plan::make(
        stripped.pod.clone(),
        &PodView::parse(&stripped.pod)?,
        context,
        config,
    )?;
    if plan.is_in(&view, &earlier, &stripped.rewritten) {
        let warnings = plan.warnings;
        return Ok(Decision::Inject(Injection {
            pod: pod.clone(),
            patch: Patch::default(),
            warnings,
        }));
    }
    Ok(plan.into_decision(pod))
}
