//! Follows the frames that a client sends over HTTP/2, for as much as tells whether a head has begun and
//! does not end: its preface, or a frame that is no DATA, or a block of fields that goes on in others.
//! Nothing else of a connection moves meanwhile, and neither pings nor windows would show it. It reads the
//! heads of frames only, keeps nine bytes, and refuses nothing.

use std::sync::Arc;

use crate::serve::clock::Clock;

/// Bytes that a client's connection begins with (RFC 9113 §3.4).
const PREFACE: u8 = 24;

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The place in a client's stream.
pub(super) struct Blocks {
    clock: Arc<Clock>,
    /// Bytes of the preface that have not come.
    preface: u8,
    /// What has come of the next frame's head.
    head: [u8; HEAD],
    got: usize,
    /// Bytes of the frame that have not come.
    left: usize,
    data: bool,
    /// The block goes on in another frame.
    open: bool,
    /// The clock knows that something has begun.
    told: bool,
}

impl Blocks {
    pub(super) fn new(clock: &Arc<Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            preface: PREFACE,
            head: [0; HEAD],
            got: 0,
            left: 0,
            data: false,
            open: false,
            told: false,
        }
    }

    /// Follows more bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        let mut whole = false;
        while !bytes.is_empty() {
            bytes = self.step(bytes);
            whole |= !self.is_amid();
        }
        if self.told && whole {
            self.told = false;
            self.clock.block();
        }
        if !self.told && self.is_amid() {
            self.told = true;
            self.clock.block();
        }
    }

    /// What is behind the next part.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.left > 0 {
            let n = self.left.min(bytes.len());
            self.left -= n;
            return &bytes[n..];
        }
        if self.preface > 0 {
            let n = usize::from(self.preface).min(bytes.len());
            // No more than there was.
            self.preface -= n as u8;
            return &bytes[n..];
        }
        let n = (HEAD - self.got).min(bytes.len());
        self.head[self.got..self.got + n].copy_from_slice(&bytes[..n]);
        self.got += n;
        if self.got == HEAD {
            self.got = 0;
            self.begin();
        }
        &bytes[n..]
    }

    /// A frame's head is whole.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        self.data = kind == DATA;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.open = flags & END_HEADERS == 0;
        }
    }

    /// Something has begun that is not whole.
    fn is_amid(&self) -> bool {
        let greeting = (1..PREFACE).contains(&self.preface);
        greeting || self.got > 0 || self.open || self.left > 0 && !self.data
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: u8, kind: u8, flags: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + usize::from(length), 0);
        frame
    }

    fn stream() -> Vec<u8> {
        let mut stream = vec![b'p'; PREFACE.into()];
        stream.extend(frame(6, 4, 0));
        stream.extend(frame(20, HEADERS, 0));
        stream.extend(frame(0, CONTINUATION, 0));
        stream.extend(frame(3, CONTINUATION, END_HEADERS));
        stream.extend(frame(200, DATA, 0));
        stream.extend(frame(7, HEADERS, END_HEADERS));
        stream
    }

    /// Whether something has begun after each byte, said by a reader that has all of it.
    fn expected() -> Vec<bool> {
        let whole = |n: usize| vec![true; n - 1].into_iter().chain([false]);
        let mut expected = Vec::new();
        expected.extend(whole(24));
        expected.extend(whole(9 + 6));
        expected.extend(whole(9 + 20 + 9 + 9 + 3));
        expected.extend(whole(9));
        expected.extend(vec![false; 200]);
        expected.extend(whole(9 + 7));
        expected
    }

    proptest! {
        #[test]
        fn a_head_that_has_begun_is_told_however_it_comes(cuts in proptest::collection::vec(1_usize..60, 1..40)) {
            let (stream, expected) = (stream(), expected());
            prop_assert_eq!(stream.len(), expected.len());
            let clock = Clock::start();
            let mut blocks = Blocks::new(&clock);
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                let before = clock.blocks();
                let next = (at + cut).min(stream.len());
                blocks.follow(&stream[at..next]);
                prop_assert_eq!(clock.blocks() % 2 == 1, expected[next - 1], "at {}", next);
                let ended = expected[at..next].iter().any(|amid| !amid);
                if ended && expected[next - 1] {
                    prop_assert_ne!(clock.blocks(), before, "another at {}", next);
                }
                if next == stream.len() {
                    break;
                }
                at = next;
            }
        }

        #[test]
        fn anything_can_be_followed(bytes in any::<Vec<u8>>(), pieces in 1_usize..20) {
            let mut blocks = Blocks::new(&Clock::start());
            bytes.chunks(pieces).for_each(|piece| blocks.follow(piece));
        }
    }
}
