//! VirtualServices that delegate to nothing, rules of a delegate that take no request, and delegates
//! that nobody uses.

use std::sync::Arc;

use super::warning;
use crate::{
    check::Code,
    model::{
        Model,
        routes::{NoDelegate, delegate_name},
    },
    resources::virtual_service::VirtualService,
    source::{Object, Refusal, node::Position},
};

impl Model {
    pub(super) fn of_delegation(
        &self,
        object: &Arc<Object>,
        spec: &VirtualService,
        found: &mut Vec<Refusal>,
    ) {
        let own = &object.key.name;
        if spec.hosts.is_empty() && self.delegating.get(own).is_none() {
            let reason =
                "spec.hosts: there are none and no VirtualService in force delegates to this one";
            let instead = "name its `hosts`, or delegate to it";
            found.push(warning(
                Code::UnusedDelegate,
                object,
                Position::default(),
                reason.to_owned(),
                instead,
            ));
        }
        for (i, rule) in spec.http.iter().enumerate() {
            let Some(to) = &rule.delegate else { continue };
            let Some(name) = delegate_name(to, own.namespace()) else {
                continue;
            };
            let path = format!("spec.http[{i}].delegate");
            let (reason, instead) = match self.delegate(object, to) {
                Err(NoDelegate::Missing) => (
                    format!("{path}: no VirtualService {name} is in force"),
                    self.nearest_delegate(object),
                ),
                Err(NoDelegate::HasHosts) => (
                    format!("{path}: VirtualService {name} has hosts of its own"),
                    "take its `hosts` out".to_owned(),
                ),
                Err(NoDelegate::Hidden) => (
                    format!(
                        "{path}: VirtualService {name} is not exported to {}",
                        own.namespace()
                    ),
                    format!("add `{}` to its `exportTo`", own.namespace()),
                ),
                Ok((theirs, their_spec)) => {
                    let left_out = their_spec.http.iter().enumerate();
                    let left_out = left_out.filter(|(_, one)| rule.narrowed(one).is_none());
                    found.extend(left_out.map(|(j, one)| {
                        let place = format!("{}:{}", object.origin.file_text(), rule.at.line);
                        let reason = format!(
                            "spec.http[{j}]: not every request that it matches is one that {}'s rule ({place}) \
                             matches",
                            object.key
                        );
                        let instead = "match what lies within that rule: the same values, or a longer prefix";
                        warning(Code::WideDelegate, theirs, one.at, reason, instead)
                    }));
                    continue;
                }
            };
            found.push(warning(
                Code::NoDelegate,
                object,
                to.name.at,
                reason,
                &instead,
            ));
        }
    }

    fn nearest_delegate(&self, object: &Object) -> String {
        let own = object.key.name.namespace();
        let delegates = self.routes.iter().filter(|(_, entry)| {
            let spec = entry.in_force.as_ref().and_then(|object| object.route());
            spec.is_some_and(|spec| spec.hosts.is_empty())
        });
        let mut names: Vec<&str> = delegates
            .filter(|(name, _)| name.namespace() == own)
            .map(|(name, _)| name.name())
            .collect();
        names.sort_unstable();
        match names.as_slice() {
            [] => "write the VirtualService, without `hosts`".to_owned(),
            names => format!("in {own} there are {}", names.join(", ")),
        }
    }
}
