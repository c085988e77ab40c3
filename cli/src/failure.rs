//! What a command ends with when it does not end well: what happened, to what, why, and what to do
//! about it. Written once, here, so that every error reads alike.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::node::NodeError;
use crate::terminal::{Style, safe};

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    causes: Vec<String>,
    advice: Option<String>,
    code: u8,
}

/// Exit code of a question that could not be asked, beside 1 for a bad answer.
pub(crate) const NOT_ASKED: u8 = 2;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            causes: Vec::new(),
            advice: None,
            code: 1,
        }
    }

    /// With an error and all that caused it.
    pub(crate) fn because(mut self, cause: &dyn Error) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    pub(crate) fn why(mut self, reason: impl Into<String>) -> Self {
        self.causes.push(reason.into());
        self
    }

    /// What to do about it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Nothing more to say: it has been said already.
    pub(crate) fn silent(code: u8) -> Self {
        Self {
            code,
            ..Self::new("")
        }
    }

    /// The question has no answer, good or bad: who would have given it could not be asked, or it was none.
    pub(crate) fn not_asked(mut self) -> Self {
        self.code = NOT_ASKED;
        self
    }

    /// The message in lines.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut out = String::new();
        if self.what.is_empty() {
            return out;
        }
        // Writing to a String does not fail.
        let _ = writeln!(out, "{} {}", style.red("error:"), self.what);
        for cause in &self.causes {
            let _ = writeln!(out, "  {} {cause}", style.dim("because:"));
        }
        if let Some(advice) = &self.advice {
            let _ = writeln!(out, "  {} {advice}", style.cyan("try:"));
        }
        safe(&out)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match &error {
            NodeError::Privilege { missing, command } => {
                Self::new("this process may not make network namespaces, which pods are")
                    .why(format!("it lacks {missing}"))
                    .advise(command.clone())
            }
            error => Self::error(error),
        }
    }
}

impl Failure {
    /// An error that says what happened, with its causes below.
    pub(crate) fn error(error: &dyn Error) -> Self {
        let failure = Self::new(error.to_string());
        match error.source() {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let cause = std::io::Error::other("disk full");
        let failure = Failure::new("cannot write status.json")
            .because(&cause)
            .advise("free some space");
        let expected =
            "error: cannot write status.json\n  because: disk full\n  try: free some space\n";
        assert_eq!(failure.render(Style::PLAIN), expected);
        assert_eq!(Failure::silent(3).render(Style::PLAIN), "");
    }
}
