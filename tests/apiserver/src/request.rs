//! What a request asks for: verb, resource and parameters, from its method, path and query.

use std::collections::HashMap;

use http::Method;

use crate::{answer::Refused, kinds::REVIEWS, store::State};

/// A request that the server has answered, for tests that ask what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// API group; empty: core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name; empty: no resource, such as discovery.
    pub resource: String,
    /// `status` and the like.
    pub subresource: String,
    /// Namespace; empty: none, or all.
    pub namespace: String,
    /// Name; empty: none.
    pub name: String,
    /// Content type of the body.
    pub content_type: String,
    /// The path.
    pub path: String,
    /// Parameters.
    pub query: HashMap<String, String>,
}

impl Asked {
    /// As `PLURAL.GROUP`, with the subresource.
    pub fn full_resource(&self) -> String {
        let mut text = self.resource.clone();
        if !self.subresource.is_empty() {
            text += &format!("/{}", self.subresource);
        }
        if !self.group.is_empty() {
            text += &format!(".{}", self.group);
        }
        text
    }

    /// A parameter; empty: not given.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.parameter("dryRun") == "All"
    }

    pub(crate) fn of_kind(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    pub(crate) fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

/// Reads method, path and query.
pub(crate) fn read(
    method: &Method,
    path: &str,
    query: &str,
    state: &State,
) -> Result<Asked, Refused> {
    let mut asked = Asked {
        path: path.to_owned(),
        verb: method.as_str().to_lowercase(),
        query: parameters(query),
        ..Asked::default()
    };
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest: &[&str] = match steps.as_slice() {
        ["api", version, rest @ ..] => {
            asked.version = (*version).to_owned();
            rest
        }
        ["apis", group, version, rest @ ..] => {
            asked.group = (*group).to_owned();
            asked.version = (*version).to_owned();
            rest
        }
        _ => return Ok(asked),
    };
    let (resource, name, subresource) = match rest {
        [] => return Ok(asked),
        ["namespaces", namespace, resource, rest @ ..]
            if !(asked.group.is_empty() && matches!(*resource, "status" | "finalize")) =>
        {
            asked.namespace = (*namespace).to_owned();
            (*resource, rest.first(), rest.get(1..).unwrap_or_default())
        }
        [resource, rest @ ..] => (*resource, rest.first(), rest.get(1..).unwrap_or_default()),
    };
    asked.resource = resource.to_owned();
    asked.name = name.map(|name| decode(name)).unwrap_or_default();
    asked.subresource = subresource.join("/");
    let is_review = REVIEWS
        .iter()
        .any(|(group, _, plural, _)| asked.group == *group && asked.resource == *plural);
    if !is_review
        && state
            .kind(&asked.group, &asked.version, &asked.resource)
            .is_none()
    {
        return Err(Refused::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ));
    }
    asked.verb = match (method, asked.name.is_empty()) {
        (&Method::GET, true) if matches!(asked.parameter("watch"), "true" | "1") => "watch",
        (&Method::GET, true) => "list",
        (&Method::GET, false) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, false) => "update",
        (&Method::PATCH, false) => "patch",
        (&Method::DELETE, false) => "delete",
        (&Method::DELETE, true) => "deletecollection",
        _ => {
            let message = "the server does not allow this method on the requested resource";
            return Err(Refused::new(405, "MethodNotAllowed", message));
        }
    }
    .to_owned();
    Ok(asked)
}

fn parameters(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Percent decoding; `+` is a space.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (other, _) => {
                bytes.push(other);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
