//! A table of cases as it is written; an unknown key is refused.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[expect(dead_code, reason = "for whoever reads the file")]
    about: String,
    pub(super) cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) documents: String,
    pub(super) requests: Vec<Request>,
    pub(super) split: Option<Split>,
}

/// A request, and what its answer must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// `http://SERVICE[:PORT]/PATH`, or `grpc://…` with the method as its path.
    pub(super) ask: String,
    /// `consumer`: from the other namespace.
    pub(super) from: Option<String>,
    /// Where to connect, if not to the service that the URL names: `SERVICE:PORT` or `pod POD:PORT`.
    pub(super) connect: Option<String>,
    #[serde(default)]
    pub(super) headers: Vec<String>,
    /// HTTP's; 200, or 0 of gRPC, when absent.
    pub(super) status: Option<u16>,
    /// What the answering pod's name begins with.
    pub(super) pod: Option<String>,
    /// Path with query, as the application saw it; as it was asked when absent.
    pub(super) path: Option<String>,
    /// Host, as the application saw it; likewise.
    pub(super) host: Option<String>,
    /// Headers, as the application saw them; null: none.
    #[serde(default)]
    pub(super) sees: BTreeMap<String, Option<String>>,
    /// Headers of the answer.
    #[serde(default)]
    pub(super) answers: BTreeMap<String, Option<String>>,
    pub(super) location: Option<String>,
}

/// Requests that several pods share.
#[derive(Debug, Deserialize)]
pub(super) struct Split {
    pub(super) ask: String,
    #[serde(flatten)]
    pub(super) shares: BTreeMap<String, usize>,
}

impl Table {
    pub(super) fn read(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Request {
    pub(super) fn is_grpc(&self) -> bool {
        self.ask.starts_with("grpc://")
    }

    pub(super) fn uri(&self) -> Uri {
        uri(&self.ask)
    }

    pub(super) fn header_map(&self) -> HeaderMap {
        let fields = self.headers.iter().map(|field| {
            let (name, value) = field.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        fields.collect()
    }
}

pub(super) fn uri(ask: &str) -> Uri {
    ask.parse().unwrap_or_else(|error| panic!("{ask}: {error}"))
}
