//! Traces of the mesh on this machine: spans arrive by OTLP, are kept in memory within bounds,
//! passed on to another collector where one is named, and drawn in the terminal.
//! Nothing here decides what is sampled.

mod forward;
mod model;
mod receiver;
mod store;
mod waterfall;

pub(crate) use forward::{Forwarder, InvalidEndpoint};
pub(crate) use model::{Span, SpanKind, Trace, TraceSummary};
pub(crate) use receiver::Receiver;
pub(crate) use store::{Filter, Store, Usage};
pub(crate) use waterfall::{Canvas, draw};
