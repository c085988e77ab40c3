//! Two buffers that a worker's connections share, one for clear text and one for the wire: what is
//! read is passed on, or copied, before another connection has its turn. So a connection that waits
//! for bytes holds no buffer for them.

use std::cell::RefCell;

use crate::io::tls::record;

/// Largest TLS records that are read and written at a time.
const RECORDS: usize = 4;

/// What is read and written at a time.
pub(crate) const PLAIN: usize = RECORDS * record::PLAIN;

/// The same as TLS records.
pub(crate) const WIRE: usize = RECORDS * (record::PLAIN + record::OVERHEAD);

/// The buffers.
pub(crate) struct Scratch {
    /// At least as long as what any [`WIRE`] bytes open to.
    pub(crate) plain: Box<[u8]>,
    /// Also has room for a change of keys before each record.
    pub(crate) wire: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        plain: vec![0; WIRE].into(),
        wire: vec![0; WIRE + RECORDS * record::KEY_UPDATE].into(),
    });
}

/// Lends the buffers. `f` must not ask for them again.
pub(crate) fn with<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(f)
}
