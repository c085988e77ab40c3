//! Where spans go: parsed once from the pushed telemetry resource, refused with a reason.
//! `https://` is refused: this build carries no public root certificates, and sending spans to a
//! server that nothing verified would be worse than sending none.

use heddle_identity::SpiffeId;
use std::sync::Arc;
use tonic::transport::{Channel, Uri};

/// Makes a gRPC channel to `HOST:PORT` over the mesh's own mutual TLS, expecting the identity.
/// Called on the runtime that exports; must not block (connect lazily).
pub type MeshChannel = Arc<
    dyn Fn(&str, &SpiffeId) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync,
>;

/// A validated OTLP/gRPC destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorSpec {
    /// `http://HOST:PORT`
    Plain(Uri),
    /// `spiffe+https://HOST:PORT`
    Mesh {
        /// HOST:PORT
        authority: String,
        /// Who must answer there.
        identity: SpiffeId,
    },
}

/// Why an endpoint is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CollectorError {
    /// Not a URI.
    #[error("otlp endpoint {0:?} is not a URI: write http://HOST:PORT or spiffe+https://HOST:PORT")]
    NotUri(String),
    /// A scheme with no meaning here.
    #[error("otlp endpoint {0:?} has an unknown scheme: allowed are http and spiffe+https")]
    Scheme(String),
    /// Public TLS.
    #[error(
        "otlp endpoint {0:?}: https needs public root certificates, which this build does not \
         carry: use spiffe+https:// (the mesh's own certificates) or http:// to a local collector"
    )]
    NoRoots(String),
    /// Path, query or user info present, or host or port absent.
    #[error("otlp endpoint {0:?} must be SCHEME://HOST:PORT and nothing else")]
    Shape(String),
    /// A mesh endpoint without a usable SPIFFE id.
    #[error("otlp endpoint {endpoint:?} needs the SPIFFE id of the collector, got {identity:?}")]
    Identity {
        /// The endpoint.
        endpoint: String,
        /// What was given as its identity.
        identity: String,
    },
}

impl CollectorSpec {
    /// Parses the endpoint of a telemetry resource; empty means nowhere.
    pub fn parse(endpoint: &str, identity: &str) -> Result<Option<Self>, CollectorError> {
        if endpoint.is_empty() {
            return Ok(None);
        }
        let uri: Uri = endpoint
            .parse()
            .map_err(|_| CollectorError::NotUri(endpoint.into()))?;
        let shaped = || {
            let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'))
                && uri.port_u16().is_some_and(|port| port != 0)
                && uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none();
            if plain {
                Ok(())
            } else {
                Err(CollectorError::Shape(endpoint.into()))
            }
        };
        match uri.scheme_str() {
            Some("http") => shaped().map(|()| Some(Self::Plain(uri))),
            Some("https") => Err(CollectorError::NoRoots(endpoint.into())),
            Some("spiffe+https") => {
                shaped()?;
                let identity = identity.parse().map_err(|_| CollectorError::Identity {
                    endpoint: endpoint.into(),
                    identity: identity.into(),
                })?;
                let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
                Ok(Some(Self::Mesh {
                    authority,
                    identity,
                }))
            }
            Some(_) => Err(CollectorError::Scheme(endpoint.into())),
            None => Err(CollectorError::NotUri(endpoint.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "spiffe://cluster.local/ns/observe/sa/collector";

    #[test]
    fn accepts_plain_and_mesh_endpoints() {
        assert_eq!(CollectorSpec::parse("", ""), Ok(None));
        assert!(matches!(
            CollectorSpec::parse("http://127.0.0.1:4317", ""),
            Ok(Some(CollectorSpec::Plain(_)))
        ));
        let Ok(Some(CollectorSpec::Mesh {
            authority,
            identity,
        })) = CollectorSpec::parse("spiffe+https://10.0.0.1:4317", ID)
        else {
            panic!("refused")
        };
        assert_eq!(authority, "10.0.0.1:4317");
        assert_eq!(identity.to_string(), ID);
    }

    #[test]
    fn refuses_the_rest_with_the_reason() {
        let refused = |endpoint: &str, id: &str| match CollectorSpec::parse(endpoint, id) {
            Err(error) => error,
            Ok(spec) => panic!("{endpoint} accepted as {spec:?}"),
        };
        assert!(matches!(
            refused("https://otlp.example:443", ""),
            CollectorError::NoRoots(_)
        ));
        assert!(matches!(
            refused("grpc://a:1", ""),
            CollectorError::Scheme(_)
        ));
        assert!(matches!(refused("http://a", ""), CollectorError::Shape(_)));
        assert!(matches!(
            refused("http://a:0", ""),
            CollectorError::Shape(_)
        ));
        assert!(matches!(
            refused("http://u@a:1", ""),
            CollectorError::Shape(_)
        ));
        assert!(matches!(
            refused("http://a:1/v1/traces", ""),
            CollectorError::Shape(_)
        ));
        assert!(matches!(refused("a:1", ""), CollectorError::NotUri(_)));
        assert!(matches!(refused("http://[", ""), CollectorError::NotUri(_)));
        assert!(matches!(
            refused("spiffe+https://a:1", "collector"),
            CollectorError::Identity { .. }
        ));
    }
}
