//! The last good text of objects that are in force but not as they are written now, so that a restart
//! of the control plane, just when a document is bad, changes nothing. One file of mode 0600 in
//! the state directory, replaced whole by a rename. Nothing here is needed to run: a file that is
//! damaged or cannot be written is a warning, and an object whose document is gone is forgotten.

mod file;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use self::file::{Held, Text};
use super::{
    Object,
    document::Document,
    node::Node,
    read::{Item, read, read_tree},
};
use crate::{name::ObjectKey, resources::labels::Interner};

/// How long to wait after a failed write when nothing changes meanwhile.
const RETRY: Duration = Duration::from_secs(30);

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct LastGood {
    /// Objects whose documents have become bad: the source keeps them ([`super::Batch::kept`]).
    pub source: Vec<Arc<Object>>,
    /// Objects that are good by themselves but may not be in force as they are written now: the
    /// model keeps what was in force before.
    pub model: Vec<Arc<Object>>,
}

impl LastGood {
    /// Reads what the process before this one left. Whatever is wrong with it is logged.
    pub fn load(state_dir: &Path) -> Self {
        let path = file::path(state_dir);
        let texts = match file::load(&path) {
            Ok(texts) => texts,
            Err(reason) => {
                warn!(path = %path.display(), %reason, "ignored the last good versions of before");
                return Self::default();
            }
        };
        let mut found = Self::default();
        let mut interner = Interner::default();
        for text in &texts {
            found.add(text, &mut interner);
        }
        if !texts.is_empty() {
            info!(
                documents = found.source.len(),
                objects = found.model.len(),
                "last good versions of before are kept in force"
            );
        }
        found
    }

    fn add(&mut self, text: &Text, interner: &mut Interner) {
        let document = Document {
            text: &text.text,
            line_offset: text.line_offset,
        };
        // What came from no file has no position either.
        let items = match text.file.as_str() {
            "" => match Node::parse(&text.text, 0) {
                Ok(root) => read_tree(&root.without_positions(), || text.text.clone(), interner),
                Err(_) => Vec::new(),
            },
            file => read(&document, Some(&Path::new(file).into()), interner),
        };
        let objects: HashMap<&ObjectKey, &Arc<Object>> = items
            .iter()
            .filter_map(|item| match item {
                Item::Good(object) => Some((&object.key, object)),
                Item::Bad { .. } => None,
            })
            .collect();
        for held in &text.objects {
            let object = held.key().and_then(|key| objects.get(&key));
            let Some(object) = object else {
                warn!(
                    file = text.file,
                    kind = held.kind,
                    namespace = held.namespace,
                    name = held.name,
                    "the last good version of before is not good for this control plane"
                );
                continue;
            };
            let list = if held.in_model {
                &mut self.model
            } else {
                &mut self.source
            };
            list.push((*object).clone());
        }
    }

    /// Each text once, with the objects that are meant of it.
    fn texts(&self) -> Vec<Text> {
        let mut texts: Vec<Text> = Vec::new();
        let mut places: HashMap<*const u8, usize> = HashMap::new();
        let source = self.source.iter().map(|object| (object, false));
        let model = self.model.iter().map(|object| (object, true));
        for (object, in_model) in source.chain(model) {
            let Some(written) = &object.written else {
                continue;
            };
            let place = *places.entry(written.text.as_ptr()).or_insert_with(|| {
                texts.push(Text {
                    text: written.text.to_string(),
                    file: object.origin.file_text(),
                    line_offset: written.line_offset,
                    objects: Vec::new(),
                });
                texts.len() - 1
            });
            let held = Held::new(&object.key, in_model);
            if !texts[place].objects.contains(&held) {
                texts[place].objects.push(held);
            }
        }
        texts.sort_by(|a, b| {
            (&a.file, a.line_offset, &a.text).cmp(&(&b.file, b.line_offset, &b.text))
        });
        texts
    }
}

/// Writes what is to be kept to the state directory whenever it changes, away from the async threads;
/// ends, having written the last, when the sender is gone.
pub async fn keep(state_dir: PathBuf, mut wanted: watch::Receiver<Option<LastGood>>) {
    let mut written = None;
    let mut failing = false;
    loop {
        let is_over = if failing {
            // Nothing new within this time: the disk may have room by now.
            timeout(RETRY, wanted.changed())
                .await
                .is_ok_and(|changed| changed.is_err())
        } else {
            wanted.changed().await.is_err()
        };
        let now = wanted.borrow_and_update().clone();
        if let Some(now) = now {
            let path = file::path(&state_dir);
            let task = spawn_blocking(move || file::store(&path, now.texts(), written));
            match task
                .await
                .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            {
                Ok(digest) => {
                    written = Some(digest);
                    if std::mem::take(&mut failing) {
                        info!("last good versions are kept again");
                    }
                }
                Err(error) if !std::mem::replace(&mut failing, true) => warn!(
                    directory = %state_dir.display(), %error,
                    "cannot keep last good versions: what is bad when this process restarts would not be in force after"
                ),
                Err(_) => {}
            }
        }
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
