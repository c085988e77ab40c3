//! A request in question: as it is asked, and parsed.

use std::net::{IpAddr, Ipv4Addr};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde::{Deserialize, Serialize};

use crate::route::{NotAPath, normal};

/// Most header lines of a question.
const MAX_HEADERS: usize = 200;
/// Longest path, host and header line, in bytes.
const MAX_TEXT: usize = 32 * 1024;

/// A request as it is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// Name or address that is called.
    pub host: String,
    /// Port that is called.
    pub port: u16,
    /// Empty: `GET`.
    pub method: String,
    /// With its query; empty: `/`.
    pub path: String,
    /// The `Host`; empty: host and port as they are called.
    pub authority: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The caller's address; absent: the pod's loopback.
    pub source: Option<IpAddr>,
    /// The application speaks TLS of its own.
    pub tls: bool,
}

/// Why a question cannot be a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARequest {
    /// The method.
    #[error("{0:?} is not a method")]
    Method(String),
    /// The path.
    #[error("{0:?} is not a path: it begins with a slash and has no blanks")]
    Path(String),
    /// The path, for what it hides.
    #[error(transparent)]
    Hidden(#[from] NotAPath),
    /// A header.
    #[error("{0:?} is not a header's name and value")]
    Header(String),
    /// The host.
    #[error("{0:?} is not a host")]
    Host(String),
    /// Too much of something.
    #[error("{what} is longer than {most}")]
    TooLong {
        /// What is.
        what: &'static str,
        /// How long it may be.
        most: usize,
    },
}

/// A request, parsed and spelled as a sidecar spells it before it decides.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its head: target in origin form, without `Host`.
    pub request: Request<()>,
    /// Its host.
    pub authority: String,
    /// The path is not spelled as it was asked.
    pub respelled: bool,
    /// Who calls.
    pub caller: IpAddr,
    /// The server that the application's own TLS names; `None`: no TLS.
    pub tls: Option<String>,
}

impl Question {
    /// Parses what is asked.
    ///
    /// # Errors
    /// When it cannot be a request: which part, and why.
    pub fn new(asked: &Asked) -> Result<Self, NotARequest> {
        let fits = |what, text: &str| match text.len() <= MAX_TEXT {
            true => Ok(()),
            false => Err(NotARequest::TooLong {
                what,
                most: MAX_TEXT,
            }),
        };
        fits("the host", &asked.host)?;
        fits("the path", &asked.path)?;
        fits("the authority", &asked.authority)?;
        let method = match asked.method.as_str() {
            "" => Method::GET,
            name => Method::from_bytes(name.as_bytes())
                .map_err(|_| NotARequest::Method(name.to_owned()))?,
        };
        let path = match asked.path.as_str() {
            "" => "/",
            path => path,
        };
        let not_a_path = || NotARequest::Path(path.to_owned());
        let came: PathAndQuery = match path.starts_with('/') || path == "*" {
            true => path.parse().map_err(|_| not_a_path())?,
            false => return Err(not_a_path()),
        };
        let spelled = normal(&came)?;
        let respelled = spelled.is_some();
        if asked.headers.len() > MAX_HEADERS {
            return Err(NotARequest::TooLong {
                what: "the list of headers",
                most: MAX_HEADERS,
            });
        }
        let mut headers = HeaderMap::new();
        let mut authority = asked.authority.clone();
        for (name, value) in &asked.headers {
            fits("a header", value)?;
            let header = HeaderName::from_bytes(name.as_bytes()).ok();
            let header = header.zip(HeaderValue::from_str(value).ok());
            let (name, value) =
                header.ok_or_else(|| NotARequest::Header(format!("{name}: {value}")))?;
            if name != http::header::HOST {
                headers.append(name, value);
            } else if authority.is_empty() {
                authority = value.to_str().unwrap_or_default().to_owned();
            }
        }
        if asked.host.is_empty() {
            return Err(NotARequest::Host(String::new()));
        }
        if authority.is_empty() {
            authority = match asked.host.contains(':') {
                true => format!("[{}]:{}", asked.host, asked.port),
                false => format!("{}:{}", asked.host, asked.port),
            };
        }
        if authority.parse::<http::uri::Authority>().is_err() {
            return Err(NotARequest::Host(authority));
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(spelled.unwrap_or(came));
        *request.headers_mut() = headers;
        Ok(Self {
            request,
            authority,
            respelled,
            caller: asked.source.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            tls: asked.tls.then(|| asked.host.to_ascii_lowercase()),
        })
    }
}
