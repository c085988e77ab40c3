//! A log file as the node keeps it: what was moved aside first, then what is there, then what comes, over
//! the file's being moved aside again. Whole lines only, so that lines of several files do not mix.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// In one piece.
const CHUNK: usize = 64 * 1024;
/// A line that is longer is shown in parts.
const LONGEST: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// What is read now.
    file: Option<File>,
    /// It has been there.
    was_there: bool,
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl Tail {
    pub(super) fn of(path: PathBuf) -> Self {
        let mut aside = path.clone().into_os_string();
        aside.push(".1");
        Self {
            file: File::open(aside).ok(),
            was_there: false,
            path,
            begun: Vec::new(),
        }
    }

    /// Everything up to now, in whole lines. Whether more may come: the file is there, or has never been.
    pub(super) fn read(
        &mut self,
        mut show: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        loop {
            // Looked at before it is read to its end: what was written before it was moved aside is not lost.
            let now = match fs::metadata(&self.path) {
                Ok(now) => Some((now.dev(), now.ino())),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            self.was_there |= now.is_some();
            let mut is_current = false;
            if let Some(file) = &mut self.file {
                let of = file.metadata()?;
                is_current = now == Some((of.dev(), of.ino()));
                read(file, &mut self.begun, &mut show)?;
            }
            if is_current || now.is_none() {
                return Ok(now.is_some() || !self.was_there);
            }
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                // Moved aside just now: it comes again, or the next look finds that it does not.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            };
        }
    }

    /// A line that has no end.
    pub(super) fn rest(&mut self, show: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match std::mem::take(&mut self.begun) {
            none if none.is_empty() => Ok(()),
            rest => show(&rest),
        }
    }
}

fn read(
    file: &mut File,
    begun: &mut Vec<u8>,
    show: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        begun.extend_from_slice(&chunk[..count]);
        let end = begun.iter().rposition(|byte| *byte == b'\n');
        let whole = match end {
            Some(end) => end + 1,
            None if begun.len() >= LONGEST => begun.len(),
            None => continue,
        };
        show(&begun[..whole])?;
        begun.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn seen(tail: &mut Tail) -> (String, bool) {
        let mut text = String::new();
        let is_there = tail.read(|lines| {
            text += std::str::from_utf8(lines).unwrap();
            Ok(())
        });
        (text, is_there.unwrap())
    }

    #[test]
    fn nothing_is_lost_or_repeated_while_a_log_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let aside = directory.path().join("a.log.1");
        fs::write(&aside, "1\n2\n").unwrap();
        fs::write(&path, "3\nbeg").unwrap();
        let mut tail = Tail::of(path.clone());
        assert_eq!(seen(&mut tail), ("1\n2\n3\n".to_owned(), true));
        let append = |text: &str| {
            let mut options = fs::OpenOptions::new();
            let mut file = options.append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append("un\n4\n");
        assert_eq!(seen(&mut tail), ("begun\n4\n".to_owned(), true));
        assert_eq!(seen(&mut tail), (String::new(), true));
        append("5\n");
        fs::rename(&path, &aside).unwrap();
        append("6\nlast");
        assert_eq!(seen(&mut tail), ("5\n6\n".to_owned(), true));
        fs::remove_file(&path).unwrap();
        assert_eq!(seen(&mut tail), (String::new(), false));
        let mut rest = Vec::new();
        tail.rest(|line| {
            rest.extend_from_slice(line);
            Ok(())
        })
        .unwrap();
        assert_eq!(rest, b"last");
    }

    #[test]
    fn a_log_that_is_not_there_yet_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut tail = Tail::of(path.clone());
        assert_eq!(seen(&mut tail), (String::new(), true));
        fs::write(&path, "1\n").unwrap();
        assert_eq!(seen(&mut tail), ("1\n".to_owned(), true));
    }
}
