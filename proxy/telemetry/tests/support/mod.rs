//! A collector on loopback that keeps what it is sent, and may be told to refuse.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use heddle_identity::MeshTls;
use heddle_identity::incoming::{Limits, mutual};
use heddle_identity::tls::ALPN_H2;
use heddle_proxy_telemetry::{CollectorSpec, ExportLimits};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

/// Long enough for a slow machine; a test that passes never waits it out.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Store {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    refusing: Arc<Mutex<bool>>,
}

#[tonic::async_trait]
impl TraceService for Store {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if *self.refusing.lock().unwrap() {
            return Err(Status::unavailable("told to refuse"));
        }
        self.requests.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub struct Collector {
    store: Store,
    pub address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collector {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let listener = tokio_listener(listener);
        let address = listener.local_addr().unwrap();
        Self::accepting(address, TcpListenerStream::new(listener))
    }

    /// Behind the mesh's mutual TLS.
    pub fn mesh(tls: MeshTls) -> Self {
        let listener = tokio_listener(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        Self::accepting(address, mutual(listener, tls, ALPN_H2, Limits::default()))
    }

    fn accepting<S, I>(address: SocketAddr, incoming: S) -> Self
    where
        S: Stream<Item = Result<I, std::io::Error>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let store = Store::default();
        let service = TraceServiceServer::new(store.clone());
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            store,
            address,
            server,
        }
    }

    pub fn refuse(&self, refusing: bool) {
        *self.store.refusing.lock().unwrap() = refusing;
    }

    pub fn spec(&self) -> Option<CollectorSpec> {
        spec(self.address)
    }

    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.store.requests.lock().unwrap().clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        let resources = self
            .requests()
            .into_iter()
            .flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Value of a resource attribute of the last request.
    pub fn resource(&self, key: &str) -> Option<String> {
        let request = self.requests().pop()?;
        text(
            &request.resource_spans[0].resource.as_ref()?.attributes,
            key,
        )
    }

    pub async fn wait_for(&self, spans: usize) -> Vec<Span> {
        eventually(|| self.spans().len() >= spans).await;
        self.spans()
    }
}

fn tokio_listener(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).unwrap();
    tokio::net::TcpListener::from_std(listener).unwrap()
}

pub fn spec(address: SocketAddr) -> Option<CollectorSpec> {
    CollectorSpec::parse(&format!("http://{address}"), "").unwrap()
}

pub async fn eventually(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "did not come about in {PATIENCE:?}"
    );
}

pub fn quick() -> ExportLimits {
    ExportLimits {
        delay: Duration::from_millis(10),
        backoff: Duration::from_millis(50),
        ..ExportLimits::default()
    }
}

pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes
        .iter()
        .find(|kv| kv.key == key)?
        .value
        .as_ref()?
        .value
        .as_ref()?;
    match value {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}
