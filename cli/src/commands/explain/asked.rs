//! The request in question, as it was typed; what is no request is refused by the part that is wrong.

use heddle_proxy_config::decision::{Asked as Request, Question};
use http::Uri;

use crate::args::Explain;
use crate::failure::{Failure, Outcome};

/// The request in question.
pub(super) struct Asked {
    /// Whose: a pod's namespace, and its name or its workload's.
    pub(super) namespace: String,
    pub(super) pod: String,
    /// `GET http://web/`.
    pub(super) title: String,
    pub(super) request: Request,
    pub(super) question: Question,
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
        let tls = uri.scheme_str() == Some("https");
        let mut headers = Vec::new();
        for line in &explain.headers {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| wrong(line, "not a header: write `name: value`".into()))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let named_host = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("host");
        let authority = match headers.iter().find(named_host) {
            Some((_, host)) => host.clone(),
            None => uri.authority().map(ToString::to_string).unwrap_or_default(),
        };
        let path = uri.path_and_query().map(ToString::to_string);
        let (namespace, pod) = explain
            .from
            .split_once('/')
            .unwrap_or(("default", &explain.from));
        let request = Request {
            host,
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            method: explain.method.clone(),
            path: path.unwrap_or_default(),
            authority,
            headers,
            source: None,
            tls,
        };
        let question = Question::new(&request).map_err(|error| Failure::error(&error))?;
        Ok(Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            title: format!("{} {uri}", explain.method),
            request,
            question,
        })
    }
}
