//! Bounds of the data path. Each says its unit and where the number comes from; none of them can
//! be raised by a peer.

use std::time::Duration;

/// Bytes of a message head. Envoy's default is 60 KiB; one more power of two would only cost a
/// peer that abuses it.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// How long an idle upstream connection is kept: far less than [`DOWNSTREAM_IDLE`], so that the
/// side that reuses a connection is the side that closes it.
pub(crate) const UPSTREAM_IDLE: Duration = Duration::from_secs(60);

/// How often idle upstream connections are looked over.
pub(crate) const SWEEP: Duration = Duration::from_secs(10);

/// How long a downstream connection may wait for its next request (Envoy's default).
pub(crate) const DOWNSTREAM_IDLE: Duration = Duration::from_secs(3600);

/// The head of a request, from its first byte to its last (Envoy's edge profile).
pub(crate) const HEAD: Duration = Duration::from_secs(10);

/// How long a peer may stand still in the middle of a body that it sends, or of an answer that it
/// reads, in HTTP/1.1 (Envoy's idle timeout of streams). In seconds; a setting may say otherwise.
pub(crate) const STALL_SECONDS: u32 = 300;

/// How long the application may leave `Expect: 100-continue` unanswered until the body is asked for
/// all the same (as curl does, which waits so long and sends).
pub(crate) const EXPECT: Duration = Duration::from_secs(1);

/// Requests on one HTTP/2 connection that their sender gave up before an answer, from which on they
/// must not be half of all (Envoy's bound of premature resets).
pub(crate) const GIVEN_UP: u32 = 500;

/// Bytes of a ClientHello: one TLS record of 16 KiB, its header, and some.
pub(crate) const CLIENT_HELLO: usize = 17 * 1024;

/// Warnings of one kind of refusal in [`REFUSAL_WINDOW`]; more are counted only.
pub(crate) const REFUSAL_WARNINGS: u32 = 10;
/// See [`REFUSAL_WARNINGS`].
pub(crate) const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

/// Idle HTTP/1.1 connections kept for one upstream and worker.
pub(crate) const IDLE_PER_UPSTREAM: usize = 1024;

/// How long a connection whose response is whole may take to be ready for the next request.
pub(crate) const GIVE_BACK: Duration = Duration::from_secs(1);

/// Streams on one upstream HTTP/2 connection before another is opened.
pub(crate) const H2_STREAMS: u32 = 200;

/// Concurrent streams that a sidecar may open on one inbound connection: above [`H2_STREAMS`], so
/// that our own peers never queue.
pub(crate) const H2_STREAMS_INBOUND: u32 = 256;

/// HTTP/2 windows of a connection: bytes that its peer may send before they are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// On each stream.
    pub(crate) stream: u32,
    /// On all of them together.
    pub(crate) connection: u32,
}

/// HTTP/2 window of a stream: what a receiver that stands still makes a sidecar hold.
const H2_STREAM_WINDOW: u32 = 256 * 1024;

/// Of a connection to an upstream. Many clients share it: however many of them stand still, there is room
/// for the others.
pub(crate) const H2_UPSTREAM: Windows = Windows {
    stream: H2_STREAM_WINDOW,
    connection: H2_STREAMS * H2_STREAM_WINDOW,
};

/// Of a connection that is served, which a sidecar may share among its clients as we do.
pub(crate) const H2_PEERS: Windows = Windows {
    stream: H2_STREAM_WINDOW,
    connection: H2_STREAMS_INBOUND * H2_STREAM_WINDOW,
};

/// Of callers without an identity: what each connection of theirs may make a sidecar hold is far less.
/// Sixteen of their requests that nobody takes hold up the others of the same connection.
pub(crate) const H2_STRANGERS: Windows = Windows {
    stream: H2_STREAM_WINDOW / 4,
    connection: 16 * (H2_STREAM_WINDOW / 4),
};

/// What unread DATA frames of less than 256 bytes may cost to keep on one connection, at 256 bytes each
/// (h2's measure), beside what the windows bound: room for a stream's whole window of the smallest
/// messages that gRPC has (6 bytes each). Beyond it h2 ends the connection.
pub(crate) const fn h2_small_frames(stream_window: u32) -> usize {
    48 * stream_window as usize
}

/// Largest HTTP/2 frame: one TLS record.
pub(crate) const H2_FRAME: u32 = 16 * 1024;

/// HTTP/2 pings on connections with streams.
pub(crate) const H2_KEEPALIVE: Duration = Duration::from_secs(30);
/// See [`H2_KEEPALIVE`].
pub(crate) const H2_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection attempt, TLS included (Envoy's default for TCP alone).
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// Requests that wait for a connection of one cluster, where nothing is said (Envoy's default).
pub(crate) const PENDING: u32 = 1024;

/// A TLS handshake that a peer began.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long an undeclared connection may be silent before the server is given the chance to speak
/// first.
pub(crate) const DETECT_SILENCE: Duration = Duration::from_millis(5);

/// How long the rest of a first line may take once it has begun. After it the connection is opaque,
/// which costs a route and no bytes; a client that waits for its server must not wait long.
pub(crate) const DETECT_REST: Duration = Duration::from_millis(200);

/// How long a connection without a request may still begin one while the sidecar drains.
pub(crate) const DRAIN_FIRST: Duration = Duration::from_secs(1);

/// How long a connection that will be refused may take to show that it is HTTP, and so can be told
/// why.
pub(crate) const REFUSED_FIRST: Duration = Duration::from_secs(1);

/// How long endpoints that refuse connections are tried again when none other is ready: a sidecar
/// that restarts is back within this.
pub(crate) const REFUSED_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that a server which speaks first may say before its client's protocol is known.
pub(crate) const SERVER_FIRST: usize = 16 * 1024;

/// Connections that one worker serves at a time; beyond it, it stops accepting and the kernel's
/// backlog holds the rest.
pub(crate) const CONNECTIONS_PER_WORKER: usize = 20_000;

/// Bytes of a request body that are kept while it passes, where its route asks for repeating it or
/// mirrors it (Envoy keeps up to its buffer limit, 1 MiB). A longer body is neither repeated nor
/// mirrored.
pub(crate) const RECORDED_BODY: usize = 64 * 1024;

/// Copies of requests that one worker has under way to mirrors; more are left out.
pub(crate) const MIRRORS_PER_WORKER: u32 = 128;

/// A mirrored request, answer included.
pub(crate) const MIRROR: Duration = Duration::from_secs(15);

/// Bytes of a mirror's answer that are read, so that its connection serves again.
pub(crate) const MIRROR_ANSWER: u64 = 64 * 1024;

/// TCP keepalive of every connection.
pub(crate) const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
