//! Spans and metrics of the data path, at no cost to the requests that are not sampled.
//!
//! `propagation` reads and writes trace context; `Tracer` decides what is sampled and turns a
//! sampled request into a span; `metrics` counts every request in integers that only one worker
//! writes. Invariant: a request that is not sampled allocates nothing here and takes no lock.
//! Nothing here blocks a worker: what cannot be handed over at once is dropped and counted.

pub mod collector;
pub mod export;
pub mod flag;
mod join;
pub mod metrics;
pub mod propagation;
pub mod request_span;
mod sampling;
pub mod tracer;

pub use collector::{CollectorError, CollectorSpec, MeshChannel};
pub use export::ExportLimits;
pub use flag::ResponseFlag;
pub use join::Serving;
pub use metrics::{
    Counter, Gauge, HttpSeries, Labels, MetricLimits, Metrics, Peer, Reporter, RequestProtocol,
    Security, Service, Shard, TcpSeries,
};
pub use request_span::{RequestSpan, Text};
pub use tracer::{Kind, Tracer, Workload};
