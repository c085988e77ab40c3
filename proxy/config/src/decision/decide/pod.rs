//! A pod that is called by its own address: what a headless service of its says where the request, or
//! the only one that a connection can be for, is that service's; else the pod alone.

use super::super::{Decision, Hidden, Means, Outcome, Share, State, share, words};
use super::{Asking, is_opaque};
use crate::snapshot::{Named, Pod};

impl<'a> Asking<'a> {
    /// A pod by its own address: for a headless service that is named, or by itself.
    pub(super) fn pod(self, pod: &'a Pod, decision: &mut Decision) {
        let (snapshot, number) = (self.snapshot, self.called.port());
        let protocol = pod.protocol(number, snapshot);
        let opaque = is_opaque(protocol, self.question);
        let meant = match opaque {
            true => pod.only(number).map(|headless| (headless, Named::Service)),
            false => pod.named(number, &self.question.authority, snapshot),
        };
        let known = meant.and_then(|(headless, named)| {
            let service = snapshot.services.get(&headless.service)?;
            Some((service, headless, named))
        });
        let asking = Asking {
            port: known.map_or(number, |(_, headless, _)| headless.port),
            pod: known.map(|(_, headless, _)| (pod, headless)),
            ..self
        };
        if let Some((service, _, Named::Service)) = known {
            return asking.service(service, decision);
        }
        let hidden = pod.hidden.as_ref().filter(|_| known.is_none());
        let hidden = hidden.filter(|hidden| hidden.is_named(&self.question.authority));
        decision.hidden = hidden.map(|hidden| Hidden::from(&**hidden));
        decision.means = Means::Pod {
            name: pod.endpoint.workload.to_string(),
        };
        decision.protocol = Some(protocol.into());
        decision.outcome = match opaque {
            true => Outcome::Opaque,
            false => Outcome::Forwarded,
        };
        decision.retries = (!opaque).then(|| words::retries(None));
        let share = match known {
            Some((service, ..)) => asking.whole(service),
            None => Share {
                port: number,
                percent: 100.0,
                endpoints: vec![share::reached(
                    self.called,
                    &pod.endpoint,
                    None,
                    State::Ready,
                )],
                ..Share::default()
            },
        };
        decision.destinations.push(share);
    }
}
