//! Reading, writing and reading back changes nothing: not in YAML, not in JSON, and not on the wire.

use std::path::Path;
use std::sync::Arc;

use heddle_control::resources::labels::Interner;
use heddle_control::source::document::{Document, split};
use heddle_control::source::read::{Item, read};
use serde_json::Value;

/// What of the documents does not come back as it was.
pub(super) fn faults(documents: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for document in split(documents) {
        let Ok(value) = serde_saphyr::from_str::<Value>(document.text) else {
            // It is no YAML: the case says that it is refused.
            continue;
        };
        let first = meaning(&document);
        let json = serde_json::to_string_pretty(&value);
        let json = json.map_err(|error| error.to_string());
        let yaml = serde_saphyr::to_string(&value).map_err(|error| error.to_string());
        for (how, written) in [("JSON", json), ("YAML", yaml)] {
            let again = written.map(|text| {
                let document = Document {
                    text: &text,
                    line_offset: 0,
                };
                (meaning(&document), text.clone())
            });
            match again {
                Ok((again, _)) if again == first => {}
                Ok((again, text)) => wrong.push(format!(
                    "it does not come back from {how}:\n{first:#?}\n{again:#?}\n{text}"
                )),
                Err(error) => wrong.push(format!("it cannot be written as {how}: {error}")),
            }
        }
    }
    wrong
}

/// What the control plane reads, without the places where it stands.
fn meaning(document: &Document<'_>) -> Vec<String> {
    let file: Arc<Path> = Path::new("case.yaml").into();
    let items = read(document, Some(&file), &mut Interner::default());
    let one = |item: Item| match item {
        Item::Good(object) => vec![format!("{} {:?}", object.key, object.resource)],
        Item::Bad { refusals, .. } => {
            let mut reasons: Vec<String> = refusals.into_iter().map(|r| r.reason).collect();
            reasons.sort();
            reasons
        }
    };
    items.into_iter().flat_map(one).collect()
}
