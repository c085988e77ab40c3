//! The OTLP receiver that the mesh's proxies export to: gRPC `TraceService`, into the store and,
//! where there is one, on to the forwarder.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

use super::{Forwarder, Store};

/// Largest export that is taken, bytes: OTLP's customary bound.
const MAX_MESSAGE: usize = 4 << 20;

/// The service.
#[derive(Debug)]
pub(crate) struct Receiver {
    store: Arc<Store>,
    forwarder: Option<Forwarder>,
}

impl Receiver {
    pub(crate) fn new(store: Arc<Store>, forwarder: Option<Forwarder>) -> Self {
        Self { store, forwarder }
    }

    /// As something a tonic server serves.
    pub(crate) fn into_service(self) -> TraceServiceServer<Self> {
        TraceServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.store.insert(&request);
        if let Some(forwarder) = &self.forwarder {
            forwarder.send(request);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
