#![allow(clippy::unwrap_used)]
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::super::{Filter, Receiver, Store};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn batch(id: u8) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: "GET /".to_owned(),
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }],
    }
}

async fn until(wanted: impl Fn() -> bool) {
    let waiting = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// A receiver on loopback that ends with the sender.
async fn serve(
    address: &str,
    store: &Arc<Store>,
    forwarder: Option<Forwarder>,
) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = Receiver::new(Arc::clone(store), forwarder).into_service();
    let (stop, stopped) = oneshot::channel();
    let ended = async {
        let _ = stopped.await;
    };
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended));
    (address, stop)
}

#[tokio::test]
async fn what_is_received_is_kept_and_passed_on() {
    let (near, far) = (Arc::new(Store::default()), Arc::new(Store::default()));
    let (far_address, _far) = serve("127.0.0.1:0", &far, None).await;
    let forwarder = Forwarder::start(&format!("http://{far_address}")).unwrap();
    let (near_address, _near) = serve("127.0.0.1:0", &near, Some(forwarder)).await;
    let mut client = TraceServiceClient::connect(format!("http://{near_address}"))
        .await
        .unwrap();
    client.export(batch(1)).await.unwrap();
    client.export(batch(1)).await.unwrap();
    assert_eq!(
        (near.usage().spans, near.usage().dropped_spans),
        (1, 1),
        "a repeated span counts once"
    );
    until(|| far.usage().spans == 1).await;
    assert_eq!(
        far.list(&Filter {
            limit: 9,
            ..Filter::default()
        })[0]
            .root,
        "GET /"
    );
}

#[tokio::test]
async fn a_collector_that_comes_late_still_gets_them() {
    // An address that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let forwarder = Forwarder::start(&format!("http://{address}")).unwrap();
    forwarder.send(batch(2));
    let far = Arc::new(Store::default());
    let (_, _far) = serve(&address, &far, None).await;
    until(|| far.usage().spans == 1).await;
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    // Nothing runs between the sends: the test's runtime has one thread.
    let forwarder = Forwarder::start("http://127.0.0.1:9").unwrap();
    for _ in 0..QUEUE + 3 {
        forwarder.send(batch(3));
    }
    assert_eq!(forwarder.dropped.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn endpoints_that_cannot_work_are_refused() {
    for bad in [
        "localhost:4317",
        "https://collector:4317",
        "http://",
        "grpc://x:1",
    ] {
        let error = Forwarder::start(bad).unwrap_err().to_string();
        assert!(error.contains(bad), "{error}");
    }
}
