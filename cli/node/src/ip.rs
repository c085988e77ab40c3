//! Runs `ip -batch`: one process for many changes, its complaint quoted when one fails.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::NodeError;

/// Runs the lines in this thread's network namespace, stopping at the first that fails.
pub(crate) fn batch(lines: &[String]) -> Result<(), NodeError> {
    run(&["-batch", "-"], lines)
}

/// Runs the lines in a named network namespace.
pub(crate) fn batch_in(netns: &str, lines: &[String]) -> Result<(), NodeError> {
    run(&["-n", netns, "-batch", "-"], lines)
}

/// Runs one command and returns what it wrote.
pub(crate) fn output(arguments: &[&str]) -> Result<String, NodeError> {
    let output = command(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(NodeError::system(
            "cannot run `ip` (Debian package iproute2)",
        ))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failure(arguments.join(" "), &output))
}

fn run(arguments: &[&str], lines: &[String]) -> Result<(), NodeError> {
    let unable = || NodeError::system("cannot run `ip` (Debian package iproute2)");
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unable())?;
    if let Some(mut stdin) = child.stdin.take() {
        // An early exit of `ip` closes the pipe; its exit status then says why.
        let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
    }
    let output = child.wait_with_output().map_err(unable())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let failed = failed_line(&stderr)
        .and_then(|n| lines.get(n))
        .map_or("-batch -", |l| l);
    Err(failure(failed.to_owned(), &output))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments).env("LC_ALL", "C");
    command
}

fn failure(arguments: String, output: &std::process::Output) -> NodeError {
    NodeError::Program {
        command: format!("ip {arguments}"),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; "),
    }
}

/// `ip` ends its complaint with `Command failed -:LINE`.
fn failed_line(stderr: &str) -> Option<usize> {
    let line = stderr
        .split("Command failed -:")
        .nth(1)?
        .split_whitespace()
        .next()?;
    line.parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_failing_line_is_quoted_with_the_complaint() {
        let lines = [
            "link show dev lo".to_owned(),
            "link show dev none-such0".to_owned(),
        ];
        let error = batch(&lines).unwrap_err().to_string();
        assert!(
            error.starts_with("`ip link show dev none-such0` failed"),
            "{error}"
        );
        assert!(error.contains("does not exist"), "{error}");
    }
}
