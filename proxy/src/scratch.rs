//! Two buffers that a worker's connections share, one for clear text and one for the wire: what is
//! read is passed on, or copied, before another connection has its turn. So a connection that waits
//! for bytes holds no buffer for them.

use std::cell::RefCell;

/// Largest TLS records that are read and written at a time. A fast stream costs a tenth less than
/// with 4; a peer that does not read makes us hold as much.
const RECORDS: usize = 16;

/// Most bytes of a TLS record, and what its header, type and tag add to them (RFC 8446 §5).
pub(crate) const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 22;

/// What is read and written at a time.
pub(crate) const PLAIN: usize = RECORDS * RECORD;

/// The same as TLS records.
pub(crate) const WIRE: usize = RECORDS * (RECORD + OVERHEAD);

/// For what TLS says to itself between records: new keys.
const SPARE: usize = 1024;

/// The buffers.
pub(crate) struct Scratch {
    /// As long as what [`WIRE`] bytes can at most open to.
    pub(crate) plain: Box<[u8]>,
    /// Longer than [`PLAIN`] bytes sealed.
    pub(crate) wire: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        plain: vec![0; WIRE].into(),
        wire: vec![0; WIRE + SPARE].into(),
    });
}

/// Lends the buffers. `f` must not ask for them again.
pub(crate) fn with<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(f)
}
