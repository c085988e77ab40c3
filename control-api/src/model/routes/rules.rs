//! The HTTP rules of a VirtualService as they are in force: its own, and in place of each that
//! delegates, those of the VirtualService that it names, narrowed by it.

use std::{borrow::Cow, sync::Arc};

use crate::{
    model::Model,
    name::NsName,
    resources::{
        at::At,
        export::closeness,
        virtual_service::{Delegate, Destination, HttpRoute, Sticky, VirtualService},
    },
    source::Object,
};

/// One rule.
pub(in crate::model) struct Rule<'a> {
    /// Who wrote it: what its hosts mean, and where it stands.
    pub(in crate::model) object: &'a Arc<Object>,
    /// Which of its rules it is.
    pub(in crate::model) index: usize,
    pub(in crate::model) rule: Cow<'a, At<HttpRoute>>,
    pub(super) sticky: Option<&'a Sticky>,
}

/// Why a VirtualService cannot be delegated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum NoDelegate {
    /// None of this name is in force.
    Missing,
    /// It has hosts of its own.
    HasHosts,
    /// It is not exported to who delegates.
    Hidden,
}

impl Model {
    pub(in crate::model) fn http_rules<'a>(
        &'a self,
        object: &'a Arc<Object>,
        spec: &'a VirtualService,
    ) -> Vec<Rule<'a>> {
        let mut rules = Vec::with_capacity(spec.http.len());
        for (index, rule) in spec.http.iter().enumerate() {
            let Some(delegate) = &rule.delegate else {
                rules.push(Rule {
                    object,
                    index,
                    rule: Cow::Borrowed(rule),
                    sticky: spec.sticky.as_ref(),
                });
                continue;
            };
            let Ok((theirs, their_spec)) = self.delegate(object, delegate) else {
                continue;
            };
            let ours = self.qualified(rule, object.key.name.namespace());
            for (index, rule) in their_spec.http.iter().enumerate() {
                let Some(narrowed) = ours.narrowed(rule) else {
                    continue;
                };
                rules.push(Rule {
                    object: theirs,
                    index,
                    rule: Cow::Owned(At {
                        at: rule.at,
                        value: narrowed,
                    }),
                    sticky: their_spec.sticky.as_ref().or(spec.sticky.as_ref()),
                });
            }
        }
        rules
    }

    /// The VirtualService in force whose rules stand in for one of `object`.
    pub(in crate::model) fn delegate(
        &self,
        object: &Object,
        to: &Delegate,
    ) -> Result<(&Arc<Object>, &VirtualService), NoDelegate> {
        let own = object.key.name.namespace();
        let found = delegate_name(to, own).and_then(|name| self.routes.get(&name));
        let theirs = found.and_then(|entry| entry.in_force.as_ref());
        let theirs = theirs.and_then(|theirs| Some((theirs, theirs.route()?)));
        let (theirs, spec) = theirs.ok_or(NoDelegate::Missing)?;
        if !spec.hosts.is_empty() {
            return Err(NoDelegate::HasHosts);
        }
        let namespace = theirs.key.name.namespace();
        closeness(&spec.export_to, namespace, own).ok_or(NoDelegate::Hidden)?;
        Ok((theirs, spec))
    }

    /// With the services that it mirrors to as every namespace names them.
    fn qualified(&self, rule: &HttpRoute, namespace: &str) -> HttpRoute {
        let mut rule = rule.clone();
        let qualify = |to: &mut Destination| {
            if let Some(service) = self.named(&to.host, namespace) {
                to.host.value = self.hosts().full_name(&service);
            }
        };
        rule.mirror.iter_mut().for_each(|to| qualify(&mut to.value));
        let several = rule.mirrors.iter_mut();
        several.for_each(|mirror| qualify(&mut mirror.value.destination));
        rule
    }
}

/// Which VirtualService is meant.
pub(in crate::model) fn delegate_name(to: &Delegate, own: &str) -> Option<NsName> {
    let namespace = to.namespace.as_ref().map_or(own, |namespace| namespace);
    NsName::new(namespace, &to.name)
}
