//! Telemetry, and the trust bundle's roots.

use std::sync::Arc;

use heddle_proto::mesh;
use http::Uri;

use super::{Problem, Refusal, spiffe_id};
use crate::snapshot::{Collector, Telemetry};

pub(super) fn telemetry(telemetry: mesh::Telemetry) -> Result<Telemetry, Refusal> {
    if telemetry.sampling_ppm > 1_000_000 {
        return Err(Refusal::from(Problem::Sampling(telemetry.sampling_ppm)).within("sampling_ppm"));
    }
    let identity = match telemetry.otlp_identity.as_str() {
        "" => None,
        id => Some(spiffe_id(id).map_err(|refusal| refusal.within("otlp_identity"))?),
    };
    let collector = match telemetry.otlp_endpoint.as_str() {
        "" => None,
        endpoint => {
            let scheme = scheme(endpoint).ok_or_else(|| {
                Refusal::from(Problem::Collector(endpoint.to_owned())).within("otlp_endpoint")
            })?;
            if scheme == "spiffe+https" && identity.is_none() {
                return Err(Refusal::from(Problem::Missing).within("otlp_identity"));
            }
            Some(Collector {
                endpoint: Arc::from(endpoint),
                identity,
            })
        }
    };
    Ok(Telemetry {
        sampling_ppm: telemetry.sampling_ppm,
        collector,
    })
}

/// The scheme of a collector's address, when it is one.
fn scheme(endpoint: &str) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let scheme = uri.scheme_str()?;
    let known = matches!(scheme, "http" | "https" | "spiffe+https");
    (known
        && uri
            .authority()
            .is_some_and(|authority| !authority.host().is_empty()))
    .then(|| scheme.to_owned())
}

/// An empty bundle would refuse every peer: it is refused, and the last one stays.
pub(super) fn roots(bundle: mesh::TrustBundle) -> Result<Vec<Vec<u8>>, Refusal> {
    if bundle.roots.is_empty() {
        return Err(Refusal::from(Problem::Empty).within("roots"));
    }
    Ok(bundle.roots)
}
