//! A buffer that a worker's connections share: what is read is passed on, or copied, before another
//! connection has its turn. So a connection that waits for bytes holds no buffer for them.

use std::cell::RefCell;

/// Four TLS records: what one wake-up may bring.
const BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into());
}

/// Lends the buffer. `f` must not ask for it again.
pub(crate) fn with<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| f(scratch))
}
