//! The identity service's own certificate: issued by its own authority, in its own process.

use std::sync::Arc;

use crate::ca::Authority;
use heddle_identity::{
    SpiffeId, Workload,
    channel::explain,
    workload::{IssueError, Issued, Issuer, Order},
};

struct LocalIssuer {
    authority: Arc<Authority>,
    id: SpiffeId,
}

#[tonic::async_trait]
impl Issuer for LocalIssuer {
    async fn issue(&self, order: Order) -> Result<Issued, IssueError> {
        let certificate = self
            .authority
            .issue(&order.csr, &self.id, order.ttl)
            .map_err(|error| IssueError::Local(explain(&error)))?;
        Ok(Issued {
            chain: certificate.chain,
            roots: self.authority.roots(),
        })
    }
}

/// A workload of the identity `id` that renews its certificate from `authority` itself.
pub fn own_identity(authority: Arc<Authority>, id: SpiffeId) -> Workload {
    let issuer = LocalIssuer {
        authority,
        id: id.clone(),
    };
    Workload::with_issuer(id, Box::new(issuer), None, Vec::new())
}
