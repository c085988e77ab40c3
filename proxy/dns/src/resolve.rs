//! The addresses of a host outside the mesh, for the sidecar itself: asked of the pod's resolvers
//! alone, never of the mesh's names, whose answer may stand for that very host.

use std::net::IpAddr;
use std::time::Duration;

use crate::upstream::{PATIENCE, Upstream};
use crate::wire::{self, Code, IN, Query, kind};

/// Most addresses of one host.
const ADDRESSES: usize = 256;

/// What a host stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// IPv4, or IPv6 where there is no IPv4; none when the host is said not to be. In order.
    pub ips: Vec<IpAddr>,
    /// How long that holds, as it was said; zero when nothing was.
    pub ttl: Duration,
}

/// Why a host's addresses are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Not a name that can be asked for.
    #[error("{0:?} is not a host name")]
    Name(String),
    /// Nobody answered.
    #[error("no resolver of the pod answered within {}s", PATIENCE.as_secs())]
    Unanswered,
    /// The resolvers could not say.
    #[error("the pod's resolvers answered with code {0}")]
    Code(u8),
    /// The answer makes no sense.
    #[error("the answer cannot be read")]
    Malformed,
}

/// Asks for a host's addresses.
///
/// # Errors
/// When nobody can say; that there are none is an answer.
pub async fn lookup(upstream: &Upstream, host: &str) -> Result<Resolved, LookupError> {
    let v4 = family(upstream, host, kind::A).await;
    match v4 {
        Ok(found) if !found.ips.is_empty() => Ok(found),
        // Some resolvers fail for a family that a name does not have.
        other => match (other, family(upstream, host, kind::AAAA).await) {
            (_, Ok(found)) if !found.ips.is_empty() => Ok(found),
            (Ok(none), Ok(_)) => Ok(none),
            (Err(error), _) | (_, Err(error)) => Err(error),
        },
    }
}

async fn family(upstream: &Upstream, host: &str, kind: u16) -> Result<Resolved, LookupError> {
    let bytes = wire::question(host, kind).ok_or_else(|| LookupError::Name(host.to_owned()))?;
    let query = Query::parse(&bytes).map_err(|_| LookupError::Name(host.to_owned()))?;
    let answer = upstream.ask(&query, false).await;
    addresses(&answer.ok_or(LookupError::Unanswered)?, kind)
}

/// The addresses in an answer. A resolver gives the aliases on the way to them too: all are taken
/// as they come, and all bound the time.
fn addresses(answer: &[u8], wanted: u16) -> Result<Resolved, LookupError> {
    const NO_ERROR: u8 = Code::NoError as u8;
    const NX_DOMAIN: u8 = Code::NxDomain as u8;
    match wire::code(answer) {
        NO_ERROR | NX_DOMAIN => {}
        code => return Err(LookupError::Code(code)),
    }
    let mut ips = Vec::new();
    let mut ttl: Option<u32> = None;
    for record in wire::records(answer).ok_or(LookupError::Malformed)? {
        let record = record.ok_or(LookupError::Malformed)?;
        if record.kind == kind::OPT || record.section == wire::Section::Additional {
            continue;
        }
        ttl = Some(ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl)));
        if record.section != wire::Section::Answer || record.kind != wanted || record.class != IN {
            continue;
        }
        let data = answer.get(record.data).unwrap_or_default();
        let ip = <[u8; 4]>::try_from(data)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from))
            .map_err(|_| LookupError::Malformed)?;
        if ips.len() < ADDRESSES {
            ips.push(ip.to_canonical());
        }
    }
    ips.sort_unstable();
    ips.dedup();
    Ok(Resolved {
        ips,
        ttl: Duration::from_secs(ttl.unwrap_or_default().into()),
    })
}
