//! Programs that run while we measure: started in a namespace as a user, with their output in a
//! file, killed when dropped. And programs that run to their end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, SigSet, Signal};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::netns;
use crate::stop;
use crate::world::{Place, World};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Lines of a log that are shown.
const LOG_LINES: usize = 12;

/// A server, killed when dropped.
pub(crate) struct Process {
    name: String,
    place: Place,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in a pod as a user. `name` is for its log and for messages.
    pub(crate) fn start(
        world: &World,
        place: Place,
        user: u32,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self> {
        let name = format!("{name} in pod {}", place.name());
        let log = world.path(&format!("{}.log", name.replace([' ', '/'], "-")));
        let file = File::create(&log).map_err(Error::file("make", &log))?;
        let also = file.try_clone().map_err(Error::file("share", &log))?;
        let mut command = Command::new(program);
        command
            .args(args.into_iter().map(Into::into))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(also)
            .current_dir("/")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(profile())
            .uid(user)
            .gid(user)
            // The terminal's Ctrl-C is for us, who then end it.
            .process_group(0);
        let child = netns::within(&place.netns(), || {
            if profile().is_some() {
                // On this thread alone, which the program inherits it from: it is asked to end.
                SigSet::from(Signal::SIGTERM)
                    .thread_unblock()
                    .map_err(|errno| Error::io("unblock SIGTERM")(errno.into()))?;
            }
            command
                .spawn()
                .map_err(Error::io(format!("start {}", program.display())))
        })?;
        Ok(Self {
            name,
            place,
            child,
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Waits for a condition of this server; it must stay alive meanwhile.
    pub(crate) fn wait(&mut self, what: &str, until: impl FnMut() -> bool) -> Result<()> {
        /// A sidecar waits for its certificate and its first configuration.
        const PATIENCE: Duration = Duration::from_secs(20);
        self.wait_for(what, PATIENCE, until)
    }

    /// The same, for so long.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut until: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !until() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(format!("ended ({status})")));
            }
            if Instant::now() > deadline {
                let seconds = patience.as_secs();
                return Err(self.failed(format!("is not {what} after {seconds} s")));
            }
            stop::sleep(POLL)?;
        }
        Ok(())
    }

    /// What it prints.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for its end, which must be a success; what it printed.
    pub(crate) fn ended(&mut self, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => {
                    return fs::read_to_string(&self.log).map_err(Error::file("read", &self.log));
                }
                Ok(Some(status)) => return Err(self.failed(format!("ended ({status})"))),
                Err(error) => return Err(self.failed(format!("is lost ({error})"))),
                Ok(None) if Instant::now() > deadline => {
                    let seconds = patience.as_secs();
                    return Err(self.failed(format!("has not ended after {seconds} s")));
                }
                Ok(None) => stop::sleep(POLL)?,
            }
        }
    }

    /// An error about this server, with the end of its log.
    pub(crate) fn failed(&self, what: String) -> Error {
        Error::Server {
            name: self.name.clone(),
            what,
            log: tail(&self.log),
        }
    }

    /// An error when it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(format!("ended ({status})"))),
            Err(error) => Err(self.failed(format!("is lost ({error})"))),
        }
    }
}

impl Process {
    /// Only a program that ends by itself writes its profile.
    fn end_by_itself(&mut self) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        let asked = signal::kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while asked.is_ok() && Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(POLL),
                _ => return,
            }
        }
    }
}

/// Where a program that was built to be profiled writes its profile, as its environment says it.
fn profile() -> Option<(&'static str, OsString)> {
    const FILE: &str = "LLVM_PROFILE_FILE";
    std::env::var_os(FILE).map(|file| (FILE, file))
}

impl Drop for Process {
    fn drop(&mut self) {
        if profile().is_some() {
            self.end_by_itself();
        }
        // Gone already: as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    match &lines[from..] {
        [] => "  (nothing)".to_owned(),
        lines => lines
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// What a program prints that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io(format!("start `{line}`")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let said = if said.is_empty() {
            output.status.to_string()
        } else {
            said
        };
        return Err(Error::Command { line, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// A program that a user of a pod runs to its end, interrupted when somebody asks to stop.
pub(crate) fn run_in(place: Place, user: u32, command: &mut Command) -> Result<String> {
    let line = line(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/")
        .uid(user)
        .gid(user)
        .process_group(0);
    let mut child = netns::within(&place.netns(), || {
        command
            .spawn()
            .map_err(Error::io(format!("start `{line}`")))
    })?;
    // What these print fits into a pipe, so that waiting first blocks nobody.
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) => {}
            Err(error) => return Err(Error::io(format!("wait for `{line}`"))(error)),
        }
        if let Err(stopped) = stop::sleep(POLL) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(stopped);
        }
    }
    let output = child
        .wait_with_output()
        .map_err(Error::io(format!("wait for `{line}`")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Error::Command {
            line,
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
