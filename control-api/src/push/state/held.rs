//! One type's half of a stream: what the proxy wants, what it was sent, what it said to that.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Kind, Nack, Response, Violation};
use crate::model::Encoded;

/// Names that a proxy may not have and that wait to be answered so.
const MAX_REFUSED: usize = 1000;

/// One name.
#[derive(Default)]
struct Held {
    /// Version sent last; None: told that it does not exist, or nothing yet.
    sent: Option<Arc<str>>,
    /// It has been answered at least once.
    answered: bool,
    /// The proxy still wants it (or needs it).
    wanted: bool,
    /// Why the proxy refused what was sent last.
    refused: Option<String>,
}

#[derive(Default)]
pub(super) struct TypeState {
    /// The proxy has sent a request of this type.
    pub(super) opened: bool,
    /// Its first request named resources that it holds from before.
    pub(super) brought_some: bool,
    names: HashMap<Arc<str>, Held>,
    wanted: usize,
    look_at: BTreeSet<Arc<str>>,
    removals: BTreeSet<Arc<str>>,
    refusals: BTreeSet<Arc<str>>,
    outstanding: Option<Outstanding>,
}

struct Outstanding {
    nonce: String,
    names: Vec<Arc<str>>,
}

impl TypeState {
    pub(super) fn subscribed(&self) -> usize {
        self.wanted
    }

    pub(super) fn is_subscribed(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|held| held.wanted)
    }

    /// From now on; always answered, unless the proxy says that it holds the current version.
    pub(super) fn subscribe(&mut self, name: Arc<str>, version: Option<&str>) {
        self.brought_some |= version.is_some();
        let held = self.names.entry(name.clone()).or_default();
        self.wanted += usize::from(!held.wanted);
        *held = Held {
            sent: version.map(Arc::from),
            answered: version.is_some(),
            wanted: true,
            refused: None,
        };
        self.removals.remove(&name);
        self.look_at.insert(name);
    }

    /// The proxy forgets it by itself.
    pub(super) fn unsubscribe(&mut self, name: &str) {
        if let Some(held) = self.names.remove(name) {
            self.wanted -= usize::from(held.wanted);
        }
        self.look_at.remove(name);
        self.removals.remove(name);
    }

    /// Answered as not existing.
    pub(super) fn refuse(&mut self, name: &str) -> Result<(), Violation> {
        if self.refusals.len() >= MAX_REFUSED {
            return Err(Violation::Refused(MAX_REFUSED));
        }
        self.refusals.insert(name.into());
        Ok(())
    }

    /// The proxy brought it from before. What was sent on this stream is newer.
    pub(super) fn already_held(&mut self, name: Arc<str>, version: String, needed: bool) {
        let held = self.names.entry(name.clone()).or_default();
        if !held.answered {
            held.sent = Some(version.into());
            held.answered = true;
        }
        if !needed {
            self.removals.insert(name);
        }
    }

    /// Something that the proxy subscribes to needs it.
    pub(super) fn need(&mut self, name: Arc<str>) {
        let held = self.names.entry(name.clone()).or_default();
        self.wanted += usize::from(!held.wanted);
        held.wanted = true;
        self.removals.remove(&name);
        self.look_at.insert(name);
    }

    /// Nothing needs it any more.
    pub(super) fn drop_later(&mut self, name: &Arc<str>) {
        self.look_at.remove(name);
        let Some(held) = self.names.get_mut(name) else {
            return;
        };
        self.wanted -= usize::from(held.wanted);
        held.wanted = false;
        if held.sent.is_some() {
            self.removals.insert(name.clone());
        } else {
            self.names.remove(name);
        }
    }

    pub(super) fn look_at(&mut self, name: &Arc<str>) {
        if self.is_subscribed(name) {
            self.look_at.insert(name.clone());
        }
    }

    pub(super) fn look_at_all(&mut self) {
        self.look_at.extend(
            self.names
                .iter()
                .filter(|(_, held)| held.wanted)
                .map(|(name, _)| name.clone()),
        );
    }

    pub(super) fn awaits_answer(&self) -> bool {
        self.outstanding.is_some()
    }

    pub(super) fn has_removals(&self) -> bool {
        !self.removals.is_empty()
    }

    pub(super) fn is_synced(&self) -> bool {
        self.outstanding.is_none()
            && self.look_at.is_empty()
            && self.removals.is_empty()
            && self.refusals.is_empty()
    }

    pub(super) fn held(&self) -> usize {
        self.names
            .values()
            .filter(|held| held.sent.is_some())
            .count()
    }

    pub(super) fn nacks(&self) -> impl Iterator<Item = (Arc<str>, String)> {
        self.names
            .iter()
            .filter_map(|(name, held)| Some((name.clone(), held.refused.clone()?)))
    }

    /// An ACK or a NACK; one of another response than the outstanding one says nothing.
    pub(super) fn answer(&mut self, nonce: &str, nack: Option<&Nack>) {
        let Some(outstanding) = self
            .outstanding
            .take_if(|outstanding| outstanding.nonce == nonce)
        else {
            return;
        };
        let reasons: HashMap<&str, &String> = nack
            .into_iter()
            .flat_map(|nack| &nack.resources)
            .map(|(name, reason)| (&**name, reason))
            .collect();
        for name in outstanding.names {
            let Some(held) = self.names.get_mut(&name) else {
                continue;
            };
            held.refused = nack.and_then(|nack| {
                let all = nack.resources.is_empty().then(|| nack.message.clone());
                reasons.get(&*name).map(|reason| (*reason).clone()).or(all)
            });
        }
    }

    /// A response, if something must be said and may be; and whether nothing is left to say.
    pub(super) fn send(
        &mut self,
        kind: Kind,
        current: impl Fn(&Arc<str>) -> Option<Arc<Encoded>>,
        limit: usize,
        nonces: &mut u64,
    ) -> (Option<Response>, bool) {
        if self.outstanding.is_some() {
            return (None, self.nothing_new(&current));
        }
        let mut resources = Vec::new();
        let mut removed: Vec<Arc<str>> = std::mem::take(&mut self.refusals).into_iter().collect();
        let mut bytes = 0;
        while bytes < limit {
            let Some(name) = self.look_at.pop_first() else {
                break;
            };
            let Some(held) = self.names.get_mut(&name) else {
                continue;
            };
            let now = current(&name);
            if held.answered && held.sent.as_ref() == now.as_ref().map(|encoded| &encoded.version) {
                continue;
            }
            held.answered = true;
            held.sent = now.as_ref().map(|encoded| encoded.version.clone());
            match now {
                Some(encoded) => {
                    bytes += encoded.body.len() + name.len() + 128;
                    resources.push((name, encoded));
                }
                None => {
                    held.refused = None;
                    removed.push(name);
                }
            }
        }
        let complete = self.look_at.is_empty();
        (self.response(kind, resources, removed, nonces), complete)
    }

    /// While an answer is awaited: whether all that is to be looked at turns out to be the same.
    fn nothing_new(&mut self, current: &impl Fn(&Arc<str>) -> Option<Arc<Encoded>>) -> bool {
        let names = &self.names;
        self.look_at.retain(|name| {
            let Some(held) = names.get(name) else {
                return false;
            };
            !held.answered
                || held.sent.as_ref() != current(name).as_ref().map(|encoded| &encoded.version)
        });
        self.look_at.is_empty()
    }

    /// What nothing needs any more.
    pub(super) fn remove(&mut self, kind: Kind, nonces: &mut u64) -> Option<Response> {
        if self.outstanding.is_some() {
            return None;
        }
        let removed: Vec<Arc<str>> = std::mem::take(&mut self.removals).into_iter().collect();
        for name in &removed {
            self.names.remove(name);
        }
        self.response(kind, Vec::new(), removed, nonces)
    }

    fn response(
        &mut self,
        kind: Kind,
        resources: Vec<(Arc<str>, Arc<Encoded>)>,
        removed: Vec<Arc<str>>,
        nonces: &mut u64,
    ) -> Option<Response> {
        if resources.is_empty() && removed.is_empty() {
            return None;
        }
        *nonces += 1;
        let nonce = nonces.to_string();
        let names = resources.iter().map(|(name, _)| name.clone()).collect();
        self.outstanding = Some(Outstanding {
            nonce: nonce.clone(),
            names,
        });
        Some(Response {
            kind,
            nonce,
            resources,
            removed,
        })
    }
}
