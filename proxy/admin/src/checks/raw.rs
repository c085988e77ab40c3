//! The JSON as it is written, and its way into checked types.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Action, AppMetrics, Check, DEFAULT_TIMEOUT, HttpGet, Invalid};

/// A pod's longest hook is bounded by its grace period; an hour is beyond any.
const LONGEST_SECONDS: u64 = 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawCheck {
    http_get: Option<RawHttpGet>,
    tcp_socket: Option<RawTcp>,
    grpc: Option<RawGrpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawHttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Vec<RawHeader>,
    host: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcp {
    port: u16,
    /// The kubelet would dial this; the sidecar dials its own app and nobody else.
    #[serde(rename = "host")]
    _host: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrpc {
    port: u16,
    service: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetrics {
    port: u16,
    path: Option<String>,
}

pub(super) fn checks(text: &str) -> Result<BTreeMap<String, RawCheck>, Invalid> {
    if text.trim().is_empty() {
        Ok(BTreeMap::new())
    } else {
        read(text)
    }
}

pub(super) fn metrics(text: &str) -> Result<AppMetrics, Invalid> {
    let raw: RawMetrics = read(text)?;
    let path = path(
        raw.path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/metrics"),
    )?;
    Ok(AppMetrics {
        port: port(raw.port)?,
        path,
    })
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    serde_json::from_str(text)
        .map_err(|error| Invalid(format!("not the JSON that is expected here: {error}")))
}

impl RawCheck {
    pub(super) fn check(self) -> Result<Check, Invalid> {
        let timeout = match self.timeout_seconds {
            None => DEFAULT_TIMEOUT,
            Some(seconds @ 1..=LONGEST_SECONDS) => Duration::from_secs(seconds),
            Some(seconds) => {
                return Err(Invalid(format!(
                    "timeoutSeconds {seconds} is not between 1 and {LONGEST_SECONDS}"
                )));
            }
        };
        let action = match (self.http_get, self.tcp_socket, self.grpc) {
            (Some(get), None, None) => Action::Http(get.http()?),
            (None, Some(tcp), None) => Action::Tcp {
                port: port(tcp.port)?,
            },
            (None, None, Some(grpc)) => Action::Grpc {
                port: port(grpc.port)?,
                service: grpc.service.unwrap_or_default(),
            },
            (None, None, None) => {
                return Err(Invalid(
                    "asks nothing; one of httpGet, tcpSocket, grpc is needed".into(),
                ));
            }
            _ => {
                return Err(Invalid(
                    "asks more than one thing; one of httpGet, tcpSocket, grpc is allowed".into(),
                ));
            }
        };
        Ok(Check { action, timeout })
    }
}

impl RawHttpGet {
    fn http(self) -> Result<HttpGet, Invalid> {
        let tls = match self.scheme.as_deref().unwrap_or("HTTP") {
            scheme if scheme.eq_ignore_ascii_case("http") => false,
            scheme if scheme.eq_ignore_ascii_case("https") => true,
            scheme => return Err(Invalid(format!("scheme {scheme:?} is not HTTP or HTTPS"))),
        };
        let mut headers = HeaderMap::with_capacity(self.http_headers.len());
        for RawHeader { name, value } in self.http_headers {
            let key = HeaderName::try_from(name.as_str())
                .map_err(|_| Invalid(format!("header {name:?} is not a header's name")))?;
            let value = HeaderValue::try_from(value)
                .map_err(|_| Invalid(format!("header {name:?} has a value that cannot be sent")))?;
            headers.append(key, value);
        }
        let host = self.host.filter(|host| !host.is_empty());
        if let Some(host) = host
            .as_deref()
            .filter(|host| HeaderValue::try_from(*host).is_err())
        {
            return Err(Invalid(format!("host {host:?} cannot be sent")));
        }
        Ok(HttpGet {
            tls,
            port: port(self.port)?,
            path: path(&self.path)?,
            headers,
            host,
        })
    }
}

fn port(port: u16) -> Result<u16, Invalid> {
    if port == 0 {
        Err(Invalid("port 0 is not between 1 and 65535".into()))
    } else {
        Ok(port)
    }
}

/// Made absolute, cut at `#`, and what may not be sent as it is in `%XX`.
fn path(text: &str) -> Result<PathAndQuery, Invalid> {
    let text = text.split('#').next().unwrap_or_default();
    let mut sent = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        sent.push('/');
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
            )
        {
            sent.push(char::from(byte));
        } else {
            sent.push_str(&format!("%{byte:02X}"));
        }
    }
    PathAndQuery::try_from(sent)
        .map_err(|error| Invalid(format!("path {text:?} cannot be sent: {error}")))
}
