//! Istio's standard metrics (skeleton).

mod labels;

pub use labels::{Labels, Peer, Reporter, RequestProtocol, Security, Service};

use crate::flag::ResponseFlag;
use std::time::Duration;

/// All metrics of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {}

/// One worker's part of the metrics. Not `Sync`: its series are written by that worker only.
#[derive(Debug)]
pub struct Shard {
    _local: std::marker::PhantomData<*const ()>,
}

/// A series of requests with the labels known per destination. Clone is a reference count.
#[derive(Clone, Debug)]
pub struct HttpSeries {
    _local: std::marker::PhantomData<*const ()>,
}

/// A series of connections.
#[derive(Clone, Debug)]
pub struct TcpSeries {
    _local: std::marker::PhantomData<*const ()>,
}

/// A counter of the process.
#[derive(Clone, Debug)]
pub struct Counter {}

/// A gauge of the process.
#[derive(Clone, Debug)]
pub struct Gauge {}

impl Metrics {
    /// At most `max_series` combinations of labels; more are counted in one named `other`.
    pub fn new(max_series: usize) -> Self {
        let _ = max_series;
        Self {}
    }

    /// A worker's shard. Call it on the worker's thread.
    pub fn shard(&self) -> Shard {
        Shard {
            _local: std::marker::PhantomData,
        }
    }

    /// The counter of this name (`heddle_…_total`) and labels, made if need be.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        let _ = (name, help, labels);
        Counter {}
    }

    /// The gauge of this name and labels, made if need be.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        let _ = (name, help, labels);
        Gauge {}
    }

    /// Appends everything in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        let _ = out;
    }
}

impl Shard {
    /// The series of HTTP requests with these labels. Slow path: when configuration changes.
    pub fn http(&self, labels: Labels) -> HttpSeries {
        let _ = labels;
        HttpSeries {
            _local: std::marker::PhantomData,
        }
    }

    /// The series of TCP connections with these labels. Slow path: when configuration changes.
    pub fn tcp(&self, labels: Labels) -> TcpSeries {
        let _ = labels;
        TcpSeries {
            _local: std::marker::PhantomData,
        }
    }
}

impl HttpSeries {
    /// One finished request. `status` 0: there was no response (the client went away).
    pub fn record(
        &self,
        status: u16,
        grpc_status: Option<u8>,
        flag: ResponseFlag,
        duration: Duration,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let _ = (
            status,
            grpc_status,
            flag,
            duration,
            request_bytes,
            response_bytes,
        );
    }
}

impl TcpSeries {
    /// A connection was opened.
    pub fn opened(&self) {}
    /// A connection was closed.
    pub fn closed(&self, flag: ResponseFlag) {
        let _ = flag;
    }
    /// Bytes sent to the client (Istio's direction: the response).
    pub fn sent(&self, bytes: u64) {
        let _ = bytes;
    }
    /// Bytes received from the client (the request).
    pub fn received(&self, bytes: u64) {
        let _ = bytes;
    }
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {}
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        let _ = n;
    }
    /// What it stands at.
    pub fn value(&self) -> u64 {
        0
    }
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        let _ = value;
    }
}
