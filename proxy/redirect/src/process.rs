//! Runs one of the iptables programs: input on stdin, a deadline after which it is killed, a bounded answer.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running program is looked at; iptables takes 2 to 20 ms.
const POLL: Duration = Duration::from_millis(2);
/// The most that is read of an answer; a node's whole `iptables-save` can have some megabytes, a pod's has kilobytes.
const ANSWER_LIMIT: u64 = 16 << 20;

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started, fed or read.
    #[error("cannot run {}", program.display())]
    Io {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was killed at its deadline.
    #[error("{} had not ended after {} s and was killed; is another program holding the xtables lock?", program.display(), limit.as_secs())]
    Timeout {
        /// The program.
        program: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program in the network namespace of the calling thread.
pub(crate) fn run(
    program: &Path,
    args: &[&str],
    input: &str,
    limit: Duration,
) -> Result<Answer, Error> {
    let failed = |source| Error::Io {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(move || read(stdout));
        let stderr = scope.spawn(move || read(stderr));
        // A rule set is smaller than a pipe's buffer, or else is written while the program reads it; when the program
        // has ended early its own words say more than a broken pipe.
        let writer = scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
        let ended = wait(&mut child, limit);
        let _ = writer.join();
        // The readers do not panic; should they, there is nothing to show of what they read.
        let (stdout, stderr) = (
            stdout.join().unwrap_or_default(),
            stderr.join().unwrap_or_default(),
        );
        match ended.map_err(failed)? {
            Some(ok) => Ok(Answer { ok, stdout, stderr }),
            None => Err(Error::Timeout {
                program: program.to_owned(),
                limit,
            }),
        }
    })
}

/// Whether it ended well, `None` when it was killed at its deadline.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<bool>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is what there is to show.
        let _ = pipe.take(ANSWER_LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn input_reaches_the_program_and_its_words_come_back() {
        let answer = run(
            Path::new("/bin/sh"),
            &["-c", "cat; echo no >&2; exit 3"],
            "rules",
            Duration::from_secs(10),
        );
        let answer = answer.unwrap();
        assert_eq!(
            (answer.ok, answer.stdout.as_str(), answer.stderr.as_str()),
            (false, "rules", "no\n")
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let refused = run(
            Path::new("/bin/sleep"),
            &["60"],
            "",
            Duration::from_millis(50),
        )
        .unwrap_err();
        assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let refused = run(
            Path::new("/no/iptables-save"),
            &[],
            "",
            Duration::from_secs(1),
        )
        .unwrap_err();
        assert_eq!(refused.to_string(), "cannot run /no/iptables-save");
    }
}
