//! `heddle get`: objects as they are in force, with what the server filled in.

use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Client, Query};
use crate::args::{Format, Get};
use crate::commands::output::{self, span};
use crate::failure::{Failure, Outcome};
use crate::manifests::{Kind, known, resolve};
use crate::terminal::{Style, Table, say};

pub(crate) async fn run(client: &Client, get: &Get) -> Outcome {
    let (word, name) = match get.kind.split_once('/') {
        Some((kind, name)) if get.name.is_none() => (kind, Some(name.to_owned())),
        _ => (get.kind.as_str(), get.name.clone()),
    };
    let kinds = kinds(word)?;
    let query = Query {
        kinds: kinds
            .iter()
            .map(|kind| kind.name)
            .collect::<Vec<_>>()
            .join(","),
        namespace: (!get.all_namespaces).then(|| get.namespace.clone()),
        name: name.clone(),
    };
    let found = client.objects(&query).await?;
    if let (Some(name), true) = (&name, found.is_empty()) {
        let what = kinds.first().map_or("object", |kind| kind.plural);
        return Err(Failure::new(format!(
            "there is no `{name}` among the {what} of namespace `{}`",
            get.namespace
        ))
        .advise(format!(
            "heddle get {word} -A  lists those of every namespace"
        )));
    }
    match get.output.format {
        Format::Table if found.is_empty() => {
            say!(
                "nothing found{}",
                if get.all_namespaces {
                    ""
                } else {
                    "; -A looks into every namespace"
                }
            );
            Ok(())
        }
        Format::Table => output::write(&tables(&found, get.all_namespaces, kinds.len() != 1)),
        // One object asked for by name is that object, several are a List, as kubectl has it.
        format => match (name, found.as_slice()) {
            (Some(_), [one]) => output::print(format, one, String::new),
            _ => {
                let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": found});
                output::print(format, &list, String::new)
            }
        },
    }
}

fn kinds(words: &str) -> Outcome<Vec<&'static Kind>> {
    if words == "all" {
        return Ok(Vec::new());
    }
    words
        .split(',')
        .map(|word| {
            resolve(word).ok_or_else(|| {
                Failure::new(format!("`{word}` is not a kind")).advise(format!(
                    "one of: all, {}",
                    known().collect::<Vec<_>>().join(", ")
                ))
            })
        })
        .collect()
}

/// One table per kind.
fn tables(objects: &[Value], namespaces: bool, titled: bool) -> String {
    let mut out = String::new();
    for group in objects.chunk_by(|one, next| one["kind"] == next["kind"]) {
        let kind = group[0]["kind"].as_str().unwrap_or_default();
        let columns = columns(kind);
        let mut header: Vec<&str> = if namespaces {
            vec!["NAMESPACE", "NAME"]
        } else {
            vec!["NAME"]
        };
        header.extend(columns.iter().map(|(title, _)| *title));
        header.push("AGE");
        let mut table = Table::new(Style::stdout(), &header);
        for object in group {
            let text = |path: &str| {
                object
                    .pointer(path)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let name = text("/metadata/name");
            let name = if titled {
                format!("{}/{name}", kind.to_ascii_lowercase())
            } else {
                name
            };
            let mut row = if namespaces {
                vec![text("/metadata/namespace"), name]
            } else {
                vec![name]
            };
            row.extend(columns.iter().map(|(_, value)| value(object)));
            row.push(age(object).unwrap_or_default());
            table.row(row);
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&table.render());
    }
    out
}

type Column = (&'static str, fn(&Value) -> String);

fn columns(kind: &str) -> &'static [Column] {
    match kind {
        "Pod" => &[
            ("READY", pod_ready),
            ("STATUS", |o| text(&o["status"]["phase"])),
            ("IP", |o| text(&o["status"]["podIP"])),
        ],
        "Service" => &[
            ("TYPE", |o| text(&o["spec"]["type"])),
            ("CLUSTER-IP", |o| text(&o["spec"]["clusterIP"])),
            ("PORTS", |o| {
                list(&o["spec"]["ports"], |port| {
                    format!("{}/{}", text(&port["port"]), text(&port["protocol"]))
                })
            }),
        ],
        "Deployment" | "StatefulSet" | "ReplicaSet" => {
            &[("REPLICAS", |o| match &o["spec"]["replicas"] {
                Value::Null => "1".to_owned(),
                replicas => replicas.to_string(),
            })]
        }
        "VirtualService" => &[
            ("HOSTS", |o| list(&o["spec"]["hosts"], text)),
            ("RULES", |o| {
                ["http", "tcp", "tls"]
                    .iter()
                    .filter_map(|kind| o["spec"][*kind].as_array())
                    .map(Vec::len)
                    .sum::<usize>()
                    .to_string()
            }),
        ],
        "DestinationRule" => &[
            ("HOST", |o| text(&o["spec"]["host"])),
            ("SUBSETS", |o| {
                list(&o["spec"]["subsets"], |subset| text(&subset["name"]))
            }),
        ],
        "HTTPRoute" | "GRPCRoute" => &[
            ("PARENTS", |o| {
                list(&o["spec"]["parentRefs"], |parent| text(&parent["name"]))
            }),
            ("RULES", |o| {
                let rules = o["spec"]["rules"].as_array();
                rules.map_or(0, Vec::len).to_string()
            }),
            ("ACCEPTED", |o| {
                list(&o["status"]["parents"], |parent| {
                    let conditions = parent["conditions"].as_array().into_iter().flatten();
                    let mut accepted = conditions.filter(|c| c["type"] == "Accepted");
                    accepted
                        .next()
                        .map_or_else(|| "-".to_owned(), |c| text(&c["status"]))
                })
            }),
        ],
        "PeerAuthentication" => &[("MODE", |o| text(&o["spec"]["mtls"]["mode"]))],
        _ => &[],
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value, each: fn(&Value) -> String) -> String {
    let items: Vec<String> = value.as_array().into_iter().flatten().map(each).collect();
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.join(",")
    }
}

fn pod_ready(pod: &Value) -> String {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions
        .filter(|c| c["type"] == "Ready")
        .any(|c| c["status"] == "True");
    let stopping = pod["metadata"]["deletionTimestamp"].is_string();
    match (
        ready,
        stopping,
        pod["status"]["podIP"]
            .as_str()
            .and_then(|ip| ip.parse::<IpAddr>().ok()),
    ) {
        (_, true, _) => "stopping",
        (true, ..) => "yes",
        (false, _, Some(_)) => "no",
        (false, _, None) => "starting",
    }
    .to_owned()
}

fn age(object: &Value) -> Option<String> {
    let created = object["metadata"]["creationTimestamp"].as_str()?;
    let created = OffsetDateTime::parse(created, &Rfc3339).ok()?;
    Some(span(
        (OffsetDateTime::from(SystemTime::now()) - created)
            .whole_seconds()
            .max(0),
    ))
}

#[cfg(test)]
mod tests;
