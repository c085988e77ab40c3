//! The request in question, as it was typed; what is no request is refused by the part that is wrong.

use heddle_control::name::NsName;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::args::Explain;
use crate::failure::{Failure, Outcome};

/// The request in question.
pub(super) struct Asked {
    pub(super) from: NsName,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: String,
    pub(super) headers: HeaderMap,
}

impl Asked {
    pub(super) fn new(explain: &Explain) -> Outcome<Self> {
        let wrong = |what: &str, why: String| Failure::new(format!("{what}: {why}"));
        let url = match explain.url.contains("://") {
            true => explain.url.clone(),
            false => format!("http://{}", explain.url),
        };
        let uri: Uri = url
            .parse()
            .map_err(|error| wrong(&url, format!("not a URL: {error}")))?;
        let host = uri
            .host()
            .ok_or_else(|| wrong(&url, "it names no host".into()))?
            .trim_matches(['[', ']'])
            .to_owned();
        let default = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let method = Method::from_bytes(explain.method.as_bytes())
            .map_err(|_| wrong(&explain.method, "not a method".into()))?;
        let mut headers = HeaderMap::new();
        for line in &explain.headers {
            let parsed = line.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                parsed.ok_or_else(|| wrong(line, "not a header: write `name: value`".into()))?;
            headers.append(name, value);
        }
        let (namespace, pod) = explain
            .from
            .split_once('/')
            .unwrap_or(("default", &explain.from));
        let from = NsName::new(namespace, pod)
            .ok_or_else(|| wrong(&explain.from, "not NAMESPACE/POD".into()))?;
        let given = headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok());
        let authority = given.or_else(|| uri.authority().map(|a| a.as_str()));
        Ok(Self {
            from,
            method,
            host,
            port: uri.port_u16().unwrap_or(default),
            authority: authority.unwrap_or_default().to_owned(),
            headers,
            uri,
        })
    }
}
