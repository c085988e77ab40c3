//! What a peer may try, and what becomes of it: each test is a vector, against the real sidecars.

mod heads;
mod http2;
mod memory;
mod odd;
mod paths;
mod slow;
mod standing;
