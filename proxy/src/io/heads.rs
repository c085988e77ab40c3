//! Follows what an HTTP/1.1 client sends, from one message to the next, and names the heads that two
//! readers could take for different ones: the parser behind it repairs them without a word. It reads
//! framing only, refuses nothing itself, and holds at most the line that has begun.
//!
//! Where it cannot follow (a length that is none, a chunk without a size) it looks no further: the
//! parser refuses those.

use memchr::memchr;

/// Bytes of a begun line that are kept: a head may be no longer.
const LINE: usize = crate::limits::HEAD_BYTES;

/// Why a head must not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a line of its head ends without a carriage return")]
    BareLineFeed,
    #[error("it has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("it has more than one Content-Length")]
    TwoLengths,
    #[error("its target has a fragment")]
    Fragment,
}

/// The place in a client's stream.
#[derive(Default)]
pub(crate) struct Heads {
    state: State,
    /// The line that has begun, without what is still to come.
    line: Vec<u8>,
    /// Bytes that were seen already and will come again.
    again: usize,
    /// Heads that were whole.
    count: u32,
}

#[derive(Default)]
enum State {
    /// Before a request line.
    #[default]
    Start,
    Field(Head),
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk, and the end of its line.
    Chunk(u64),
    Trailer,
    /// Nothing more is looked at.
    Over,
}

/// What is known of a head so far.
#[derive(Clone, Copy, Default)]
struct Head {
    fault: Option<Fault>,
    /// What follows it is no message.
    tunnel: bool,
    length: Option<u64>,
    /// Its length says nothing.
    bad_length: bool,
    chunked: bool,
}

impl Heads {
    /// Follows more bytes; the first head among them that must not be forwarded, by its place in the
    /// stream. Nothing behind it is looked at.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Option<(u32, Fault)> {
        let seen = self.again.min(bytes.len());
        self.again -= seen;
        let mut rest = &bytes[seen..];
        while !rest.is_empty() {
            match &mut self.state {
                State::Over => return None,
                State::Body(left) => {
                    rest = skip(rest, left);
                    if *left == 0 {
                        self.state = State::Start;
                    }
                    continue;
                }
                State::Chunk(left) => {
                    rest = skip(rest, left);
                    if *left == 0 {
                        self.state = State::ChunkSize;
                    }
                    continue;
                }
                State::Field(_) if self.line.is_empty() => rest = plain_fields(rest),
                _ => {}
            }
            let Some(end) = memchr(b'\n', rest) else {
                let room = LINE.saturating_sub(self.line.len());
                self.line.extend_from_slice(&rest[..rest.len().min(room)]);
                return None;
            };
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            let fault = if self.line.is_empty() {
                self.state.line(line)
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.state.line(&whole)
            };
            match fault {
                Line::Inside => {}
                Line::EndOfHead => self.count = self.count.wrapping_add(1),
                Line::Fault(fault) => return Some((self.count, fault)),
            }
        }
        None
    }

    /// These were followed, and will be read once more.
    pub(crate) fn unread(&mut self, bytes: usize) {
        self.again += bytes;
    }

    /// A message has begun and has not ended.
    pub(crate) fn is_amid_a_body(&self) -> bool {
        matches!(
            self.state,
            State::Body(_) | State::ChunkSize | State::Chunk(_) | State::Trailer
        )
    }
}

/// What is behind the whole lines that are fields which say nothing of framing.
fn plain_fields(mut bytes: &[u8]) -> &[u8] {
    while let Some(first) = bytes.first()
        && !matches!(first, b'c' | b'C' | b't' | b'T')
        && let Some(end @ 2..) = memchr(b'\n', bytes)
        && bytes[end - 1] == b'\r'
    {
        bytes = &bytes[end + 1..];
    }
    bytes
}

fn skip<'a>(bytes: &'a [u8], left: &mut u64) -> &'a [u8] {
    let n = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= n as u64;
    &bytes[n..]
}

/// What a line was.
enum Line {
    Inside,
    EndOfHead,
    Fault(Fault),
}

impl State {
    /// Takes a line without its line feed.
    fn line(&mut self, line: &[u8]) -> Line {
        let (text, whole) = match line.split_last() {
            Some((b'\r', text)) => (text, true),
            _ => (line, false),
        };
        match self {
            // Empty lines before a request line are skipped, as every parser does.
            State::Start if text.is_empty() => {}
            State::Start => {
                let mut head = Head {
                    tunnel: text.starts_with(b"CONNECT "),
                    ..Head::default()
                };
                head.note((!whole).then_some(Fault::BareLineFeed));
                head.note(memchr(b'#', text).map(|_| Fault::Fragment));
                *self = State::Field(head);
            }
            State::Field(head) => {
                head.note((!whole).then_some(Fault::BareLineFeed));
                if !text.is_empty() {
                    head.field(text);
                    return Line::Inside;
                }
                if let Some(fault) = head.fault {
                    *self = State::Over;
                    return Line::Fault(fault);
                }
                *self = head.next();
                return Line::EndOfHead;
            }
            State::ChunkSize => *self = chunk(text),
            State::Trailer if text.is_empty() => *self = State::Start,
            State::Trailer | State::Body(_) | State::Chunk(_) | State::Over => {}
        }
        Line::Inside
    }
}

/// What follows the size of a chunk.
fn chunk(line: &[u8]) -> State {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let size = std::str::from_utf8(&line[..digits]).map(|digits| u64::from_str_radix(digits, 16));
    match size {
        Ok(Ok(0)) => State::Trailer,
        Ok(Ok(size)) => State::Chunk(size.saturating_add(2)),
        _ => State::Over,
    }
}

impl Head {
    /// The first fault is the one that is told.
    fn note(&mut self, fault: Option<Fault>) {
        self.fault = self.fault.or(fault);
    }

    fn field(&mut self, line: &[u8]) {
        match line[0] {
            b'c' | b'C' => {
                let Some(value) = value(line, b"content-length") else {
                    return;
                };
                let digits = std::str::from_utf8(value.trim_ascii()).unwrap_or("");
                let twice = self.length.is_some() || self.bad_length;
                self.note(twice.then_some(Fault::TwoLengths));
                self.note(self.chunked.then_some(Fault::LengthAndCoding));
                match digits.parse() {
                    Ok(length) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                        self.length = Some(length);
                    }
                    _ => self.bad_length = true,
                }
            }
            b't' | b'T' if value(line, b"transfer-encoding").is_some() => {
                self.chunked = true;
                let both = self.length.is_some() || self.bad_length;
                self.note(both.then_some(Fault::LengthAndCoding));
            }
            _ => {}
        }
    }

    /// What follows the head.
    fn next(self) -> State {
        match self.length {
            _ if self.tunnel || self.bad_length => State::Over,
            _ if self.chunked => State::ChunkSize,
            None | Some(0) => State::Start,
            Some(length) => State::Body(length),
        }
    }
}

/// The value of a field, if it has this name.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn followed(stream: &[u8], pieces: usize) -> Option<(u32, Fault)> {
        let mut heads = Heads::default();
        stream
            .chunks(pieces.max(1))
            .find_map(|piece| heads.follow(piece))
    }

    const GOOD: &[u8] = b"\r\nPOST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n#\n\n\n5\
        GET /b HTTP/1.1\r\nhost: a\r\n\r\n\
        POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\n\n\n#\r\nA\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n";

    const BAD: &[(&str, Fault)] = &[
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", Fault::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\n\r\n", Fault::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", Fault::BareLineFeed),
        ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Fragment),
        (
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\nContent-Length:\t1\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            Fault::TwoLengths,
        ),
    ];

    #[test]
    fn each_bad_head_is_named_wherever_it_comes() {
        for (bad, fault) in BAD {
            assert_eq!(
                followed(bad.as_bytes(), usize::MAX),
                Some((0, *fault)),
                "{bad:?}"
            );
            let behind = [GOOD, bad.as_bytes()].concat();
            for pieces in [1, 2, 3, 7, 16, usize::MAX] {
                assert_eq!(followed(&behind, pieces), Some((3, *fault)), "{bad:?}");
            }
        }
    }

    #[test]
    fn bodies_and_tunnels_are_not_looked_at() {
        assert_eq!(followed(GOOD, usize::MAX), None);
        let tunnel = b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\nGET /#\nfree text\n\n";
        assert_eq!(followed(tunnel, usize::MAX), None);
        let strange = b"POST / HTTP/1.1\r\ncontent-length: 5x\r\n\r\nGET /#\n\n\n";
        assert_eq!(followed(strange, usize::MAX), None);
    }

    #[test]
    fn what_is_read_again_is_not_followed_again() {
        let mut heads = Heads::default();
        assert_eq!(heads.follow(b"POST / HTTP/1.1\r\ncontent-le"), None);
        heads.unread(11);
        assert_eq!(
            heads.follow(b"\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n"),
            None
        );
        assert_eq!(heads.follow(b"\r\n"), Some((0, Fault::LengthAndCoding)));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(1_usize..40, 1..60), tail in any::<Vec<u8>>()) {
            let stream = [GOOD, BAD[3].0.as_bytes(), &tail].concat();
            let mut heads = Heads::default();
            let mut rest = &stream[..];
            let mut found = None;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || found.is_some() {
                    break;
                }
                let (piece, more) = rest.split_at(rest.len().min(*cut));
                found = heads.follow(piece);
                rest = more;
            }
            prop_assert_eq!(found, Some((3, Fault::Fragment)));
        }

        #[test]
        fn anything_can_be_followed(bytes in any::<Vec<u8>>(), pieces in 1_usize..20) {
            followed(&bytes, pieces);
        }
    }
}
