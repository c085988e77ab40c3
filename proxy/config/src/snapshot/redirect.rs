//! Where a redirect leads: what it does not name stays as it came, the query always, and a port that
//! is the scheme's own is left out.

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

use super::Redirect;
use crate::route::RewriteError;

impl Redirect {
    /// The `Location` for a request with this target and this authority.
    ///
    /// # Errors
    /// When the path would become too long.
    pub fn location(&self, uri: &Uri, came: &str) -> Result<String, RewriteError> {
        let scheme = self.scheme.as_ref().or(uri.scheme());
        let scheme = scheme.unwrap_or(&Scheme::HTTP);
        let (name, came_port) = match came.rsplit_once(':') {
            Some((name, port)) if !came.ends_with(']') => (name, port.parse().ok()),
            _ => (came, None),
        };
        // The scheme's own, where the scheme is given.
        let came_port = came_port.filter(|_| self.scheme.is_none());
        let (host, own_port) = match &self.authority {
            Some(authority) => {
                let kept = came_port.filter(|_| self.keep_port);
                (authority.host(), authority.port_u16().or(kept))
            }
            None => (name, came_port),
        };
        let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        let port = self.port.or(own_port).filter(|port| *port != usual);
        let path = match &self.path {
            Some(path) => path.target(uri)?,
            None => None,
        };
        let as_it_came = || uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = path.as_deref().unwrap_or_else(as_it_came);
        Ok(match port {
            Some(port) => format!("{scheme}://{host}:{port}{path}"),
            None => format!("{scheme}://{host}{path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::StatusCode;

    use super::*;
    use crate::route::PathRewrite;

    fn plain() -> Redirect {
        Redirect {
            scheme: None,
            authority: None,
            port: None,
            keep_port: false,
            path: None,
            status: StatusCode::FOUND,
        }
    }

    fn to(redirect: &Redirect, host: &str, path: &str) -> String {
        redirect.location(&path.parse().unwrap(), host).unwrap()
    }

    #[test]
    fn what_is_not_said_stays_as_it_came() {
        let path = Redirect {
            path: Some(PathRewrite::full("/new").unwrap()),
            ..plain()
        };
        assert_eq!(to(&path, "web:8080", "/a?b=c"), "http://web:8080/new?b=c");
        let scheme = Redirect {
            scheme: Some(Scheme::HTTPS),
            ..plain()
        };
        assert_eq!(to(&scheme, "web:8080", "/a?b"), "https://web/a?b");
        assert_eq!(to(&scheme, "[fd00::1]:80", "/"), "https://[fd00::1]/");
        assert_eq!(to(&scheme, "[fd00::1]", "/"), "https://[fd00::1]/");
        let port = Redirect {
            port: Some(8443),
            ..scheme.clone()
        };
        assert_eq!(to(&port, "web", "/"), "https://web:8443/");
        let usual = Redirect {
            port: Some(443),
            ..scheme
        };
        assert_eq!(to(&usual, "web", "/"), "https://web/");
        let host = Redirect {
            authority: Some("other.example:81".parse().unwrap()),
            ..plain()
        };
        assert_eq!(to(&host, "web:8080", "/x"), "http://other.example:81/x");
    }

    #[test]
    fn another_host_has_the_port_that_came_where_that_is_asked_for() {
        let kept = Redirect {
            authority: Some("other.example".parse().unwrap()),
            keep_port: true,
            ..plain()
        };
        assert_eq!(to(&kept, "web:8080", "/x"), "http://other.example:8080/x");
        assert_eq!(to(&kept, "web", "/x"), "http://other.example/x");
        assert_eq!(to(&kept, "web:80", "/x"), "http://other.example/x");
        let scheme = Redirect {
            scheme: Some(Scheme::HTTPS),
            ..kept.clone()
        };
        assert_eq!(to(&scheme, "web:8080", "/x"), "https://other.example/x");
        let lost = Redirect {
            keep_port: false,
            ..kept
        };
        assert_eq!(to(&lost, "web:8080", "/x"), "http://other.example/x");
    }
}
