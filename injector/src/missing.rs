//! Why a pod that is there has no sidecar although it, or its namespace, asks for the mesh. The webhook
//! sees a pod once, as it is made, and only if its configuration's selectors let it: whoever looks
//! afterwards gets the same decision, and learns which pods no injector was asked about.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::config::InjectConfig;
use crate::context::PodContext;
use crate::decide::{self, SkipReason};
use crate::error::InjectError;
use crate::files;
use crate::inject::{Decision, inject};
use crate::names;
use crate::view::PodView;

/// Why a pod that asks for the mesh is not in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// It would be left as it is now too.
    Skipped(SkipReason),
    /// It would be refused now.
    Refused(InjectError),
    /// Nothing is in the way now.
    Missed,
}

impl Missing {
    /// One word for those who count or compare.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Skipped(reason) => reason.as_str(),
            Self::Refused(_) => "refused",
            Self::Missed => "missed",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) => reason.fmt(formatter),
            Self::Refused(error) => write!(formatter, "as it is it would be refused: {error}"),
            Self::Missed => formatter.write_str(
                "it was made before it asked for the mesh, or while no injector answered; make it anew",
            ),
        }
    }
}

/// Whether a pod with these labels and annotations may be missing a sidecar. The rest of the pod is
/// worth asking for only then.
#[must_use]
pub fn may_miss(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    context: &PodContext,
    config: &InjectConfig,
) -> bool {
    !annotations.contains_key(names::STATUS)
        && decide::asks(&PodView::of_metadata(labels, annotations), context, config)
}

/// Why `pod` has no sidecar; none when it has one, asks for none, or is over.
#[must_use]
pub fn missing(pod: &Value, context: &PodContext, config: &InjectConfig) -> Option<Missing> {
    let view = match PodView::parse(pod) {
        Ok(view) => view,
        Err(error) => return Some(Missing::Refused(error)),
    };
    let is_injected = view.annotation(names::STATUS).is_some();
    if is_injected || is_over(pod) || !decide::asks(&view, context, config) {
        return None;
    }
    let context = PodContext {
        owner: files::controller(pod),
        ..context.clone()
    };
    Some(match inject(pod, &context, config) {
        Ok(Decision::Skip { reason }) => Missing::Skipped(reason),
        Ok(Decision::Inject(_)) => Missing::Missed,
        Err(error) => Missing::Refused(error),
    })
}

fn is_over(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str();
    matches!(phase, Some("Succeeded" | "Failed"))
        || pod["metadata"]["deletionTimestamp"].is_string()
}
