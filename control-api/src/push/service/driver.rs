//! One stream's state machine between its requests and its mail on one side and the wire on the other.

use heddle_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::Status;
use tracing::{debug, warn};

use super::Outgoing;
use crate::push::{Hub, hub::Registration, state::StreamState, wire};

/// Refused resources of one answer that are logged; `status` has them all.
const MAX_LOGGED: usize = 10;

pub(super) struct Driver<'a> {
    pub(super) hub: &'a Hub,
    pub(super) registration: Registration,
    pub(super) state: StreamState,
    pub(super) sender: &'a Outgoing,
}

impl Driver<'_> {
    pub(super) fn request(&mut self, message: DeltaDiscoveryRequest) -> Result<(), Status> {
        let type_url = message.type_url.clone();
        let Some(request) = wire::request(message) else {
            debug!(%type_url, "a type that is not served was asked for");
            return Ok(());
        };
        if let Some(nack) = &request.nack {
            let named = nack
                .resources
                .iter()
                .take(MAX_LOGGED)
                .map(|(name, reason)| format!("{name}: {reason}"));
            let named = named.collect::<Vec<_>>().join("; ");
            warn!(%type_url, reason = %nack.message, resources = %named, "the proxy refused resources");
        }
        self.state
            .request(request, &mut self.registration)
            .map_err(|violation| Status::resource_exhausted(violation.to_string()))
    }

    /// Sends what can be sent.
    pub(super) fn push(&mut self) -> Result<(), Status> {
        loop {
            // The mail first: the model is then at least as new.
            let mail = self.registration.take_mail();
            let model = self.hub.model();
            self.state.mail(&mail, &model);
            for response in self.state.responses(&model, &mut self.registration) {
                let names: Vec<&str> = response.resources.iter().map(|(name, _)| &**name).collect();
                debug!(kind = ?response.kind, ?names, removed = ?response.removed, nonce = %response.nonce, "push");
                // Full only when the peer acknowledges what it has not read.
                self.sender
                    .try_send(Ok(wire::response(response, model.version)))
                    .map_err(|_| {
                        Status::resource_exhausted(
                            "responses are acknowledged that were never read",
                        )
                    })?;
            }
            self.registration.set_summary(self.state.summary());
            let fresh = self.registration.take_fresh();
            if fresh.is_empty() || self.hub.model().version == model.version {
                return Ok(());
            }
            self.state.mail(&fresh, &model);
        }
    }
}
