//! What is to be said of one object before it is written, against the mesh as it is: a pure function,
//! for whoever admits objects.

use std::sync::Arc;

use tracing::subscriber::{NoSubscriber, with_default};

use super::Severity;
use crate::{
    model::Model,
    source::{Change, Object, Refusal},
};

/// What is wrong with `object`, the worst first, if it were written now. One error is enough to refuse it.
///
/// That something which it names is not there is a warning here: objects are written one after the
/// other, and what is missing may be the next one. Until it comes the mesh holds the object back.
pub fn admission(model: &Model, object: &Arc<Object>) -> Vec<Refusal> {
    let mut trial = model.clone();
    // A trial is nobody's news.
    with_default(NoSubscriber::default(), || {
        trial.apply(vec![Change::Upsert(object.clone())])
    });
    let refusals = trial.refusals().into_iter();
    let refusals = refusals.filter(|refusal| refusal.is_about(&object.key));
    let mut found: Vec<Refusal> = refusals.chain(trial.warnings_of(&object.key)).collect();
    for refusal in found.iter_mut().filter(|one| one.code.may_mend_itself()) {
        refusal.severity = Severity::Warning;
        refusal.consequence =
            "it is not in force until that is there; its last good version, if there is one, stays"
                .into();
    }
    // A route's status tells of these, and the rest of the route is in force.
    for refusal in found.iter_mut().filter(|one| one.code.is_of_gateway_api()) {
        refusal.severity = refusal.severity.min(Severity::Warning);
    }
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    found.dedup();
    found
}
