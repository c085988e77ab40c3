//! Reading: get, list in chunks, and watch.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    answer::{Lines, Refused},
    kinds::Kind,
    request::Asked,
    select::Selector,
    store::{Snapshot, Store},
};

/// How long a watch is where the client does not say.
const WATCH: Duration = Duration::from_secs(1800);

fn selector(asked: &Asked) -> Result<Selector, Refused> {
    let namespace = Some(asked.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    Selector::parse(
        namespace,
        asked.parameter("labelSelector"),
        asked.parameter("fieldSelector"),
    )
    .map_err(Refused::bad_request)
}

/// The object in a version.
pub(crate) fn in_version(kind: &Kind, version: &str, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = kind.api_version(version).into();
    object
}

pub(crate) fn get(store: &Store, kind: &Kind, asked: &Asked) -> Result<Value, Refused> {
    let object = store.get(&asked.of_kind(), &asked.key());
    let object = object.ok_or_else(|| Refused::not_found(&kind.resource(), &asked.name))?;
    Ok(in_version(kind, &asked.version, &object))
}

pub(crate) fn list(store: &Store, kind: &Kind, asked: &Asked) -> Result<Value, Refused> {
    let selector = selector(asked)?;
    let limit = match asked.parameter("limit") {
        "" | "0" => usize::MAX,
        text => text
            .parse()
            .map_err(|_| Refused::bad_request("limit: must be a number"))?,
    };
    let mut state = store.lock();
    let (version, items, from) = match asked.parameter("continue") {
        "" => {
            let wanted = asked.parameter("resourceVersion");
            let number: u64 = match wanted {
                "" => 0,
                text => text
                    .parse()
                    .map_err(|_| Refused::bad_request("invalid resourceVersion"))?,
            };
            if number > state.version {
                return Err(Refused::new(504, "Timeout", "Too large resource version"));
            }
            if asked.parameter("resourceVersionMatch") == "Exact" && number != state.version {
                return Err(Refused::expired(
                    "The provided resource version is not available",
                ));
            }
            let objects = state.objects.get(&asked.of_kind());
            let items = objects.into_iter().flat_map(|objects| objects.values());
            let items: Vec<_> = items
                .filter(|object| selector.matches(object))
                .cloned()
                .collect();
            (state.version, Arc::new(items), 0)
        }
        token => {
            let bytes = URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let place = bytes.as_deref().and_then(|text| text.split_once('/'));
            let place =
                place.and_then(|(number, from)| Some((number.parse().ok()?, from.parse().ok()?)));
            let (number, from): (u64, usize) =
                place.ok_or_else(|| Refused::bad_request("continue key is not valid"))?;
            let Some(snapshot) = state.snapshots.get(&number) else {
                return Err(Refused::expired(
                    "The provided continue parameter is too old to display a consistent list result.",
                ));
            };
            (snapshot.version, snapshot.items.clone(), from)
        }
    };
    let end = items.len().min(from.saturating_add(limit));
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if end < items.len() {
        let number = state.keep(Snapshot {
            version,
            items: items.clone(),
        });
        metadata["continue"] = URL_SAFE_NO_PAD.encode(format!("{number}/{end}")).into();
        metadata["remainingItemCount"] = (items.len() - end).into();
    }
    let page = items
        .get(from..end)
        .unwrap_or_default()
        .iter()
        .map(|object| {
            let mut object = in_version(kind, &asked.version, object);
            // The server's own types do not say what they are in a list, custom ones do.
            if let (true, Some(object)) = (kind.built_in, object.as_object_mut()) {
                object.shift_remove("apiVersion");
                object.shift_remove("kind");
            }
            object
        });
    Ok(json!({
        "kind": format!("{}List", kind.kind),
        "apiVersion": kind.api_version(&asked.version),
        "metadata": metadata,
        "items": page.collect::<Vec<_>>(),
    }))
}

struct Watch {
    store: Arc<Store>,
    changes: watch::Receiver<()>,
    kind: Kind,
    asked: Asked,
    selector: Selector,
    /// Events up to this one were sent.
    at: u64,
    lines: VecDeque<Value>,
    /// Of bookmarks; None: none are wanted.
    every: Option<Duration>,
    next_bookmark: Instant,
    end: Instant,
    cut: u64,
    expired: u64,
    over: bool,
}

/// The lines of a watch. It ends with its time, its kind, the server, or when a test cuts it.
pub(crate) fn watch(
    store: &Arc<Store>,
    kind: &Kind,
    asked: &Asked,
    bookmarks: Duration,
) -> Result<Lines, Refused> {
    let selector = selector(asked)?;
    let wanted = asked.parameter("resourceVersion");
    let number: Option<u64> = match wanted {
        "" | "0" => None,
        text => Some(
            text.parse()
                .map_err(|_| Refused::bad_request("invalid resourceVersion"))?,
        ),
    };
    let is_list = asked.parameter("sendInitialEvents") == "true";
    let wants_bookmarks = asked.parameter("allowWatchBookmarks") == "true";
    if is_list && (asked.parameter("resourceVersionMatch") != "NotOlderThan" || !wants_bookmarks) {
        let problem = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan and allowWatchBookmarks";
        return Err(Refused::invalid("ListOptions.meta.k8s.io", "", problem));
    }
    let seconds: u64 = asked.parameter("timeoutSeconds").parse().unwrap_or(0);
    let time = if seconds == 0 {
        WATCH
    } else {
        Duration::from_secs(seconds)
    };
    let changes = store.changes();
    let state = store.lock();
    let mut watch = Watch {
        store: store.clone(),
        changes,
        kind: kind.clone(),
        asked: asked.clone(),
        selector,
        at: number.unwrap_or(state.version),
        lines: VecDeque::new(),
        every: wants_bookmarks.then_some(bookmarks),
        next_bookmark: Instant::now() + bookmarks,
        end: Instant::now() + time,
        cut: state.cut,
        expired: state.expired,
        over: false,
    };
    if is_list || number.is_none() {
        watch.at = state.version;
        let objects = state.objects.get(&asked.of_kind());
        for object in objects.into_iter().flat_map(|objects| objects.values()) {
            if watch.selector.matches(object) {
                watch.lines.push_back(watch.line("ADDED", object));
            }
        }
        if is_list {
            let bookmark = watch.bookmark(json!({"k8s.io/initial-events-end": "true"}));
            watch.lines.push_back(bookmark);
        }
    }
    drop(state);
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Bytes::from(format!("{line}\n")), watch))
    });
    Ok(Box::pin(lines))
}

impl Watch {
    fn line(&self, what: &str, object: &Value) -> Value {
        json!({"type": what, "object": in_version(&self.kind, &self.asked.version, object)})
    }

    fn bookmark(&self, annotations: Value) -> Value {
        let mut metadata =
            json!({"resourceVersion": self.at.to_string(), "creationTimestamp": null});
        if !annotations.is_null() {
            metadata["annotations"] = annotations;
        }
        let api_version = self.kind.api_version(&self.asked.version);
        json!({"type": "BOOKMARK", "object": {"kind": self.kind.kind, "apiVersion": api_version, "metadata": metadata}})
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.read();
            if !self.lines.is_empty() || self.over {
                continue;
            }
            let wake = if self.every.is_some() {
                self.next_bookmark.min(self.end)
            } else {
                self.end
            };
            tokio::select! {
                changed = self.changes.changed() => self.over = changed.is_err(),
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    self.over = now >= self.end;
                    if let Some(every) = self.every {
                        self.next_bookmark = now + every;
                        let bookmark = self.bookmark(Value::Null);
                        self.lines.push_back(bookmark);
                    }
                }
            }
        }
    }

    /// What has happened since.
    fn read(&mut self) {
        let store = self.store.clone();
        let state = store.lock();
        let resource = self.asked.of_kind();
        let is_served = state
            .kind(&self.asked.group, &self.asked.version, &self.asked.resource)
            .is_some();
        if state.cut != self.cut || !is_served {
            self.over = true;
            return;
        }
        if self.at < state.compacted || state.expired != self.expired {
            let message = format!(
                "too old resource version: {} ({})",
                self.at, state.compacted
            );
            self.lines
                .push_back(json!({"type": "ERROR", "object": Refused::expired(message).status()}));
            self.over = true;
            return;
        }
        let from = state
            .events
            .partition_point(|event| event.version <= self.at);
        for event in state.events.range(from..) {
            if event.resource != resource {
                continue;
            }
            let matches = |object: &Option<Arc<Value>>| {
                object
                    .as_ref()
                    .filter(|object| self.selector.matches(object))
                    .cloned()
            };
            let line = match (matches(&event.before), matches(&event.after), &event.after) {
                (None, Some(after), _) => self.line("ADDED", &after),
                (Some(_), Some(after), _) => self.line("MODIFIED", &after),
                // Out of the selection: as it was, with the version of now.
                (Some(before), None, after) => {
                    let mut last = (*before).clone();
                    if let Some(after) = after {
                        last["metadata"]["resourceVersion"] =
                            after["metadata"]["resourceVersion"].clone();
                    }
                    self.line("DELETED", &last)
                }
                (None, None, _) => continue,
            };
            self.lines.push_back(line);
        }
        self.at = state.version;
    }
}
