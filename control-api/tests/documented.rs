//! The guide to routes names every field that is refused for not being supported, so that nobody
//! learns of one by a refusal.

use std::{fs, path::Path};

/// Fields that a struct types as `Unsupported`, as they are written in manifests.
fn unsupported(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            unsupported(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let mut renamed = None;
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.split("rename = \"").nth(1) {
                renamed = rest.split('"').next().map(str::to_owned);
            }
            let Some((name, kind)) = line.trim_end_matches(',').split_once(": ") else {
                continue;
            };
            let written = renamed.take();
            if kind == "Option<Unsupported>" {
                let name = name.trim_start_matches("pub ");
                found.push(written.unwrap_or_else(|| camel(name)));
            }
        }
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut whole, word| {
        let mut letters = word.chars();
        whole.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        whole + letters.as_str()
    })
}

#[test]
fn every_field_that_is_refused_by_name_is_in_the_guide() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut fields = Vec::new();
    unsupported(&own.join("src/resources"), &mut fields);
    assert!(fields.len() > 30, "they are read: {fields:?}");
    let guides = ["routes.md", "gateway-api.md"].map(|guide| own.join("../docs").join(guide));
    let guides: String = guides
        .iter()
        .filter_map(|guide| fs::read_to_string(guide).ok())
        .collect();
    let (_, listed) = guides.split_once("## Not supported").expect("the list");
    let names: Vec<&str> = listed.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let missing: Vec<&String> = fields
        .iter()
        .filter(|field| !names.contains(&field.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in docs/routes.md: {missing:?}");
}
