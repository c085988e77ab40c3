//! Trace context in request headers (skeleton).
