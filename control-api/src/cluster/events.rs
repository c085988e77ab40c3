//! Events about what was refused, so that `kubectl describe` shows it: one for each version of an object
//! and text, under a name made of both, so that neither another replica nor a restart repeats it. Slow
//! on purpose; what cannot be written is written later, if it still stands.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::{Left, REQUEST, is_refusal, lease::Leader};
use crate::{
    name::{Kind, NsName, ObjectKey},
    push::Hub,
    source::kubernetes::{Known, Registry},
};

/// What is refused no longer than this is not said: what it lacks may be the next document.
pub(super) const STANDS: Duration = Duration::from_secs(2);
/// After each.
const PACE: Duration = Duration::from_millis(100);
/// In one go; the rest has its turn in the next.
const MAX_AT_ONCE: usize = 50;
/// What the API takes.
const MAX_NOTE: usize = 1024;
const CONTROLLER: &str = "heddle.io/control";

/// What has been said.
pub struct Events {
    client: Client,
    instance: String,
    told: HashSet<(ObjectKey, u64)>,
    /// Since when it stands, of what is not told yet.
    since: HashMap<(ObjectKey, u64), Instant>,
}

impl Events {
    /// Nothing has been said yet.
    pub fn new(client: Client, instance: String) -> Self {
        Self {
            client,
            instance,
            told: HashSet::new(),
            since: HashMap::new(),
        }
    }

    /// Says what is refused now and has not been said.
    ///
    /// # Errors
    /// When something is left.
    pub async fn write(
        &mut self,
        hub: &Hub,
        registry: &Registry,
        leader: &Leader,
    ) -> Result<(), Left> {
        let wanted = wanted(hub, registry);
        let is_wanted = |(key, number): &(ObjectKey, u64)| {
            wanted
                .get(key)
                .is_some_and(|(_, _, wanted)| wanted == number)
        };
        self.told.retain(is_wanted);
        self.since.retain(|one, _| is_wanted(one));
        let mut is_early = false;
        let mut left = MAX_AT_ONCE;
        let mut closed = HashSet::new();
        for (key, (known, note, number)) in wanted {
            let is_told = self.told.contains(&(key.clone(), number));
            if is_told || closed.contains(key.name.namespace()) {
                continue;
            }
            let since = self.since.entry((key.clone(), number));
            if since.or_insert_with(Instant::now).elapsed() < STANDS {
                is_early = true;
                continue;
            }
            if left == 0 || !leader.holds() {
                return Err(Left::default());
            }
            left -= 1;
            let event = self.event(&key, &known, note, number);
            let events: Api<Event> = Api::namespaced(self.client.clone(), key.name.namespace());
            let written = timeout(REQUEST, events.create(&PostParams::default(), &event)).await;
            match written {
                // It was said by a replica before us.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                Ok(Ok(_)) => {}
                // A namespace that takes no events (a quota, its end) does not silence the others.
                Ok(Err(kube::Error::Api(status))) if is_refusal(status.code) => {
                    debug!(%key, reason = status.message, "no event; it is tried again later");
                    closed.insert(key.name.namespace().to_owned());
                    sleep(PACE).await;
                    continue;
                }
                failed => {
                    debug!(%key, ?failed, "cannot write an event; it is written later");
                    let left = failed.ok().and_then(Result::err);
                    return Err(left.as_ref().map(Left::after).unwrap_or_default());
                }
            }
            self.since.remove(&(key.clone(), number));
            self.told.insert((key, number));
            sleep(PACE).await;
        }
        match closed.is_empty() && !is_early {
            true => Ok(()),
            false => Err(Left::default()),
        }
    }

    fn event(&self, key: &ObjectKey, known: &Known, note: String, number: u64) -> Event {
        let namespace = key.name.namespace().to_owned();
        // A name may have 253 characters, and ends with the number.
        let name: String = key.name.name().chars().take(230).collect();
        Event {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}.{number:016x}",
                    name.trim_end_matches(['.', '-'])
                )),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Check".into()),
            reason: Some("Refused".into()),
            type_: Some("Warning".into()),
            note: Some(note),
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(self.instance.chars().take(128).collect()),
            regarding: Some(ObjectReference {
                api_version: Some(known.api_version.clone()),
                kind: Some(key.kind.as_str().to_owned()),
                namespace: Some(namespace),
                name: Some(key.name.name().to_owned()),
                uid: Some(known.uid.clone()),
                resource_version: Some(known.version.clone()),
                ..ObjectReference::default()
            }),
            ..Event::default()
        }
    }
}

/// What is to be said: of which object, what, and a number that is the same for the same.
fn wanted(hub: &Hub, registry: &Registry) -> BTreeMap<ObjectKey, (Known, String, u64)> {
    let mut notes: BTreeMap<ObjectKey, String> = BTreeMap::new();
    for refusal in hub
        .refusals()
        .iter()
        .filter(|refusal| !refusal.is_warning())
    {
        let kind = Kind::parse(&refusal.kind);
        let name = NsName::new(&refusal.namespace, &refusal.name);
        let Some((kind, name)) = kind.zip(name) else {
            continue;
        };
        let note = notes.entry(ObjectKey { kind, name }).or_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        *note += &refusal.in_words();
    }
    let known = notes.into_iter().filter_map(|(key, note)| {
        let known = registry.get(&key)?;
        let note = shorten(note);
        let mut hasher = DefaultHasher::new();
        (&known.uid, known.generation, &note).hash(&mut hasher);
        Some((key, (known, note, hasher.finish())))
    });
    known.collect()
}

fn shorten(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - '…'.len_utf8())
            .rev()
            .find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or(0));
        note.push('…');
    }
    note
}
