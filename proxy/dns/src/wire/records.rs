//! The skeleton of a message: where its records are, of what type, and how long they hold.

use std::ops::Range;

use super::{HEADER, double, flags, flags_of, word};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so.
    Authority,
    /// What may help.
    Additional,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub section: Section,
    /// Its type.
    pub kind: u16,
    /// Its class.
    pub class: u16,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Where in the message that is.
    pub ttl_at: usize,
    /// Where in the message its content is.
    pub data: Range<usize>,
}

/// Walks the records of a message; `None` once it cannot be read, and nothing after that.
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of each section.
    left: [u16; 3],
}

/// The records of a message; `None` when what comes before them cannot be read.
pub fn records(bytes: &[u8]) -> Option<Records<'_>> {
    let mut at = HEADER;
    for _ in 0..word(bytes, 4)? {
        at = skip_name(bytes, at)?.checked_add(4)?;
        bytes.get(..at)?;
    }
    Some(Records {
        bytes,
        at,
        left: [word(bytes, 6)?, word(bytes, 8)?, word(bytes, 10)?],
    })
}

impl Records<'_> {
    /// Where the walk has come to.
    pub(super) fn end(&self) -> usize {
        self.at
    }

    fn record(&mut self, section: Section) -> Option<Record> {
        let head = skip_name(self.bytes, self.at)?;
        let from = head.checked_add(10)?;
        let length = usize::from(word(self.bytes, head + 8)?);
        let data = from..from.checked_add(length)?;
        self.bytes.get(data.clone())?;
        self.at = data.end;
        Some(Record {
            section,
            kind: word(self.bytes, head)?,
            class: word(self.bytes, head + 2)?,
            ttl: double(self.bytes, head + 4)?,
            ttl_at: head + 4,
            data,
        })
    }
}

impl Iterator for Records<'_> {
    type Item = Option<Record>;

    fn next(&mut self) -> Option<Option<Record>> {
        const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
        let (left, section) = self
            .left
            .iter_mut()
            .zip(SECTIONS)
            .find(|(left, _)| **left > 0)?;
        *left -= 1;
        let record = self.record(section);
        if record.is_none() {
            self.left = [0; 3];
        }
        Some(record)
    }
}

/// The end of the name that begins here; whither it points does not matter.
pub(super) fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                bytes.get(at + 1)?;
                return Some(at + 2);
            }
            _ => return None,
        }
    }
}

/// Whether a message is the answer to this query, whose id is its own: a response with the same id
/// and the same question, in whatever case.
pub fn answers_to(query: &[u8], question: &[u8], message: &[u8]) -> bool {
    let echoed = message.get(HEADER..HEADER.saturating_add(question.len()));
    message.get(..2).is_some_and(|id| query.get(..2) == Some(id))
        && flags_of(message) & (flags::RESPONSE | flags::OPCODE) == flags::RESPONSE
        && word(message, 4) == Some(1)
        // Lengths, types and classes are no letters but where they agree.
        && echoed.is_some_and(|echoed| echoed.eq_ignore_ascii_case(question))
}
