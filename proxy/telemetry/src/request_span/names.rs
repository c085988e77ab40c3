//! The `heddle.*` attributes of a request's span. Times are integers in microseconds.

/// Where the route was written, e.g. `VirtualService/default/reviews-route#0`.
pub const ROUTE: &str = "heddle.route";
/// Index of the rule that matched, in the table of the destination.
pub const ROUTE_RULE: &str = "heddle.route.rule";
/// Subset chosen by the route.
pub const SUBSET: &str = "heddle.subset";
/// Service and port that were called, `NAMESPACE/NAME:PORT`, whatever its routes say.
pub const CALLED: &str = "heddle.called";
/// Destination service, `NAME.NAMESPACE`.
pub const SERVICE: &str = "heddle.destination.service";
/// Workload (`NAMESPACE/POD`) of the endpoint.
pub const ENDPOINT_WORKLOAD: &str = "heddle.endpoint.workload";
/// Number of attempts made, the first included.
pub const ATTEMPTS: &str = "heddle.attempts";
/// Why it failed: a word of `ResponseFlag`.
pub const FLAGS: &str = "heddle.flags";
/// From the request's arrival until an upstream was asked for.
pub const QUEUE_TIME: &str = "heddle.time.queue_us";
/// Spent on getting a connection (0: pooled).
pub const CONNECT_TIME: &str = "heddle.time.connect_us";
/// From the start to the head of the response.
pub const FIRST_BYTE_TIME: &str = "heddle.time.first_byte_us";
/// From the start to the last byte of the response.
pub const TOTAL_TIME: &str = "heddle.time.total_us";
/// SPIFFE id of this side.
pub const LOCAL_IDENTITY: &str = "heddle.identity.local";
/// SPIFFE id of the other side, as verified.
pub const PEER_IDENTITY: &str = "heddle.identity.peer";
/// `true`: the app did not pass the context on, and the parent is the only inbound request
/// that was in progress.
pub const INFERRED: &str = "heddle.inferred";
