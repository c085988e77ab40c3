//! A file of cases, as it is written. Every key has a meaning; one that has none is refused with
//! its line.

use std::collections::BTreeMap;
use std::path::Path;

use heddle_control::source::document::split;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Deserialize;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    #[expect(dead_code, reason = "for whoever reads the file")]
    about: String,
    pub(super) cases: Vec<Case>,
}

/// Documents, and what becomes of requests under them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) documents: String,
    /// All refusals that there are.
    #[serde(default)]
    pub(super) refused: Vec<Finding>,
    /// Some of the warnings that there are.
    #[serde(default)]
    pub(super) warned: Vec<Finding>,
    #[serde(default)]
    pub(super) requests: Vec<Request>,
    /// Of Gateway API's routes, as `KIND NAME`: `TYPE STATUS REASON` of each condition.
    #[serde(default)]
    pub(super) conditions: BTreeMap<String, Vec<String>>,
}

/// A refusal or a warning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finding {
    /// Text of the line that it points to.
    pub(super) line: String,
    /// Part of the reason.
    pub(super) because: String,
}

/// A request, and what is expected. What is not said must not be: no timeout, no fault, the path as
/// it came. Only `rule`, `line`, `pods` and `policy` may be left open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) ask: Ask,
    #[serde(default = "client")]
    pub(super) from: String,
    #[serde(default)]
    pub(super) headers: Vec<Header>,
    pub(super) rule: Option<String>,
    pub(super) line: Option<String>,
    #[serde(default)]
    pub(super) to: Shares,
    pub(super) pods: Option<Vec<String>>,
    pub(super) status: Option<u16>,
    pub(super) location: Option<String>,
    pub(super) body: Option<String>,
    pub(super) path: Option<String>,
    pub(super) host: Option<String>,
    #[serde(default)]
    pub(super) sends: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(super) answers: BTreeMap<String, Option<String>>,
    pub(super) timeout: Option<String>,
    pub(super) retries: Option<Retries>,
    pub(super) delay: Option<Delay>,
    pub(super) abort: Option<Abort>,
    #[serde(default)]
    pub(super) mirrors: BTreeMap<String, f64>,
    pub(super) cors: Option<Cors>,
    pub(super) sticky: Option<String>,
    #[serde(default)]
    pub(super) policy: BTreeMap<String, String>,
}

fn client() -> String {
    "default/client".to_owned()
}

/// `METHOD URL`, `TCP HOST:PORT` or `TLS HOST:PORT NAME`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Ask {
    text: String,
    pub(super) what: What,
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Http(Method, Uri),
    Tcp,
    Tls(String),
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Ask {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no request: write `GET http://HOST:PORT/PATH`");
        let words: Vec<&str> = text.split(' ').collect();
        let place = |place: &str| {
            let uri: Uri = format!("http://{place}").parse().ok()?;
            Some((uri.host()?.to_owned(), uri.port_u16()?))
        };
        let (what, (host, port)) = match words.as_slice() {
            ["TCP", at] => (What::Tcp, place(at).ok_or_else(wrong)?),
            ["TLS", at, name] => {
                let name = name.to_ascii_lowercase();
                (What::Tls(name), place(at).ok_or_else(wrong)?)
            }
            [method, url] => {
                let uri: Uri = url.parse().map_err(|_| wrong())?;
                let host = uri.host().ok_or_else(wrong)?.to_owned();
                let port = uri.port_u16().unwrap_or(80);
                let method = method.parse().map_err(|_| wrong())?;
                (What::Http(method, uri), (host, port))
            }
            _ => return Err(wrong()),
        };
        Ok(Self {
            what,
            host,
            port,
            text,
        })
    }
}

/// `name: value`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Header(pub(super) HeaderName, pub(super) HeaderValue);

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(name, value)| {
            let value = HeaderValue::from_str(value.trim()).ok()?;
            Some(Self(name.trim().parse().ok()?, value))
        });
        parsed.ok_or_else(|| format!("`{text}` is no header: write `name: value`"))
    }
}

/// Destinations with their relative weights; one alone has all.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(super) enum Shares {
    #[default]
    None,
    One(String),
    Several(BTreeMap<String, u64>),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retries {
    pub(super) attempts: u32,
    pub(super) each: Option<String>,
    #[serde(default)]
    pub(super) on: Vec<String>,
    pub(super) pause: Option<String>,
    #[serde(default)]
    pub(super) same_endpoint: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delay {
    #[serde(rename = "for")]
    pub(super) long: String,
    pub(super) percent: f64,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Abort {
    pub(super) status: Option<u16>,
    pub(super) grpc: Option<u8>,
    pub(super) percent: f64,
}

/// As a page of the request's `origin` meets it.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    pub(super) allowed: bool,
    pub(super) methods: Option<String>,
    pub(super) headers: Option<String>,
    pub(super) exposes: Option<String>,
    pub(super) seconds: Option<String>,
    #[serde(default)]
    pub(super) credentials: bool,
    /// What becomes of preflights from elsewhere.
    pub(super) other_preflights: String,
}

impl Topic {
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())
    }
}

impl Case {
    /// How many documents of routes it has.
    pub(super) fn routes(&self) -> usize {
        const ROUTES: [&str; 6] = [
            "VirtualService",
            "DestinationRule",
            "ServiceEntry",
            "Sidecar",
            "HTTPRoute",
            "GRPCRoute",
        ];
        let is_route = |text: &str| {
            let kinds = text.lines().filter_map(|line| line.strip_prefix("kind: "));
            kinds.into_iter().any(|kind| ROUTES.contains(&kind.trim()))
        };
        let documents = split(&self.documents);
        documents.iter().filter(|one| is_route(one.text)).count()
    }
}

impl Request {
    pub(super) fn header_map(&self) -> HeaderMap {
        let fields = self.headers.iter();
        let mut map = HeaderMap::new();
        for Header(name, value) in fields {
            map.append(name, value.clone());
        }
        map
    }
}
