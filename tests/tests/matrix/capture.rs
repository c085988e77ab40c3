//! What can be read on the pod network: words that begin with a mark of their own.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use heddle_tests::mesh::Mesh;
use heddle_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What every word begins with.
pub(crate) const MARK: &str = "heddle-cell-";
/// Digits behind it.
const DIGITS: usize = 4;

/// Everything that goes from pod to pod, seen where the node's bridge carries it.
pub(crate) struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    pub(crate) fn start(mesh: &Mesh) -> Self {
        let file = mesh.dir().join("pods.pcap");
        let netns = format!("heddle-{}", mesh.name());
        // What is written at a time is small, and what waits for it may be large.
        let process = Command::new("ip")
            .args([
                "netns", "exec", &netns, "dumpcap", "-q", "-i", "any", "-f", "tcp", "-B", "64",
                "-w",
            ])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("dumpcap captures", Duration::from_secs(20), || {
            file.exists()
        });
        Self { process, file }
    }

    /// Ends it, and gives the words that could be read. `last` says a word where it can be read: when it
    /// has been, everything before it has been, too.
    pub(crate) fn words(mut self, mut last: impl FnMut(&str)) -> HashSet<String> {
        let word = format!("{MARK}{:01$}", 9999, DIGITS);
        wait::until("the last word is captured", Duration::from_secs(20), || {
            last(&word);
            self.read().contains(&word)
        });
        kill(
            Pid::from_raw(self.process.id().try_into().unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        self.process.wait().unwrap();
        self.read()
    }

    fn read(&self) -> HashSet<String> {
        let bytes = std::fs::read(&self.file).unwrap();
        let mark = MARK.as_bytes();
        let found = bytes
            .windows(mark.len() + DIGITS)
            .filter(|window| window.starts_with(mark));
        found
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
