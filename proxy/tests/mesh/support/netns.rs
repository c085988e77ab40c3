//! A network namespace without a name: descriptors keep it, so that it is gone with the test
//! however the test ends. Each has a runtime whose threads are inside it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

pub(crate) struct Netns {
    file: Arc<File>,
    runtime: Option<Runtime>,
}

impl Netns {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("these tests make network namespaces and need root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let file = Arc::new(made.join().unwrap());
        let enter = Arc::clone(&file);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || setns(&*enter, CloneFlags::CLONE_NEWNET).unwrap())
            .build()
            .unwrap();
        let netns = Self {
            file,
            runtime: Some(runtime),
        };
        netns.ip("link set lo up");
        netns
    }

    /// Runs to the end inside the namespace.
    pub(crate) fn run<F>(&self, work: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let done = self.runtime().block_on(self.spawn(work));
        done.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    /// Goes on inside the namespace until the test ends.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime().spawn(work)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// For `ip`, which takes a file for a namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs lines of `ip` in one process.
    pub(crate) fn ip(&self, lines: &str) {
        let lines = lines.to_owned();
        self.run(async move {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &lines).unwrap();
            let mut command = Command::new("ip");
            command.arg("-batch").arg(file.path());
            checked(command, &lines);
        });
    }

    /// Runs a program inside the namespace; what it printed.
    pub(crate) fn exec(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args);
        let what = format!("{program} {args:?}");
        self.run(async move { checked(command, &what) })
    }
}

fn checked(mut command: Command, what: &str) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
