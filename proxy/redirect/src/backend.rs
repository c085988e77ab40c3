//! The two iptables implementations, which do not see each other's rules: which are installed, what each holds, which
//! one to use. The one that holds our rules goes first, then the one that holds anybody's, then nft, then legacy.

mod choose;

use std::path::PathBuf;
use std::time::Duration;

use crate::process;
use crate::rules::Family;
use crate::ruleset::{Ruleset, transition};
use crate::saved::Saved;

pub(crate) use choose::{by_preference, installed};

/// How long to wait for the xtables lock, seconds: another pod's init step on the node holds it for milliseconds.
const LOCK_WAIT: &str = "5";
/// For each run of a program; above the lock's.
const LIMIT: Duration = Duration::from_secs(10);
/// Why iptables did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No iptables.
    #[error(
        "no iptables-restore and iptables-save in PATH or /usr/sbin (looked for the -nft, the -legacy and the plain \
         ones); install the iptables package in the image that runs this step"
    )]
    NotInstalled,
    /// No ip6tables.
    #[error(
        "IPv6 is used here but there is no {0} beside iptables; install it, or set HEDDLE_REDIRECT_IPV6=false if \
         nothing in this pod uses IPv6"
    )]
    NoIpv6(String),
    /// Not allowed.
    #[error(
        "{program} was not permitted to see or change the rules: {said}; run this step as root with the capabilities \
         NET_ADMIN and NET_RAW (securityContext.capabilities.add)"
    )]
    NotPermitted {
        /// The program.
        program: String,
        /// Its words.
        said: String,
    },
    /// It said no.
    #[error("{program} refused the {family} rules: {said}")]
    Refused {
        /// The program.
        program: String,
        /// Of which family.
        family: Family,
        /// Its words.
        said: String,
    },
    /// It did not run to its end.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// One implementation of iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    v4: Programs,
    v6: Option<Programs>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Programs {
    save: PathBuf,
    restore: PathBuf,
}

/// What one backend holds in this namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) v4: Saved,
    pub(crate) v6: Saved,
}

impl Held {
    pub(crate) fn of(&self, family: Family) -> &Saved {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(crate) fn ours(&self) -> bool {
        !self.v4.ours().is_empty() || !self.v6.ours().is_empty()
    }

    pub(crate) fn has_rules(&self) -> bool {
        self.v4.has_rules() || self.v6.has_rules()
    }
}

impl Backend {
    /// Reads what is there, changing nothing.
    pub(crate) fn held(&self) -> Result<Held, Error> {
        let v4 = self.save(Family::V4)?;
        let v6 = match self.save(Family::V6) {
            Ok(saved) => saved,
            // A kernel or an image without IPv6 holds no IPv6 rules; whoever needs them fails when making them.
            Err(error) => {
                tracing::debug!(backend = self.name, %error, "no IPv6 rules can be read");
                Saved::default()
            }
        };
        Ok(Held { v4, v6 })
    }

    fn save(&self, family: Family) -> Result<Saved, Error> {
        let program = &self.programs(family)?.save;
        // Without -t: naming a table would make the legacy kernel side of it.
        let answer = process::run(program, &[], "", LIMIT)?;
        if answer.ok {
            Ok(Saved::parse(&answer.stdout))
        } else {
            Err(refusal(program, family, &answer))
        }
    }

    /// Makes ours of this family what is wanted, at once or not at all.
    pub(crate) fn make(&self, family: Family, wanted: &Ruleset) -> Result<(), Error> {
        let there = match self.save(family) {
            Err(_) if wanted.is_empty() => return Ok(()),
            there => there?,
        };
        let Some(text) = transition(&there, wanted) else {
            return Ok(());
        };
        let program = &self.programs(family)?.restore;
        tracing::debug!(program = %program.display(), rules = text, "changing the rules");
        let answer = process::run(program, &["-w", LOCK_WAIT, "--noflush"], &text, LIMIT)?;
        if answer.ok {
            Ok(())
        } else {
            Err(refusal(program, family, &answer))
        }
    }

    fn programs(&self, family: Family) -> Result<&Programs, Error> {
        match family {
            Family::V4 => Ok(&self.v4),
            Family::V6 => self
                .v6
                .as_ref()
                .ok_or_else(|| Error::NoIpv6("ip6tables-restore".into())),
        }
    }
}

fn refusal(program: &std::path::Path, family: Family, answer: &process::Answer) -> Error {
    let program = program.display().to_string();
    let said: Vec<&str> = answer
        .stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(4)
        .collect();
    let mut said = if said.is_empty() {
        "it gave no reason".to_owned()
    } else {
        said.join("; ")
    };
    if said.contains("unable to initialize table") {
        said.push_str(" (the capability NET_ADMIN is missing, or the node's kernel lacks the module of this table, such as iptable_nat)");
    }
    if [
        "Permission denied",
        "Operation not permitted",
        "must be root",
    ]
    .iter()
    .any(|words| said.contains(words))
    {
        Error::NotPermitted { program, said }
    } else {
        Error::Refused {
            program,
            family,
            said,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn without_permission_it_says_which_capability() {
        let answer = process::Answer {
            ok: false,
            stdout: String::new(),
            stderr: "iptables: Could not fetch rule set generation id: Permission denied (you must be root)\n".into(),
        };
        let refused = refusal(
            std::path::Path::new("iptables-nft-save"),
            Family::V4,
            &answer,
        )
        .to_string();
        assert!(refused.contains("NET_ADMIN"), "{refused}");
    }
}
