//! The two iptables implementations, which do not see each other's rules: which are installed, what each holds, which
//! one to use. The one that holds our rules goes first, then the one that holds anybody's, then nft, then legacy.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::process;
use crate::rules::Family;
use crate::ruleset::{Ruleset, transition};
use crate::saved::Saved;

/// How long to wait for the xtables lock, seconds: another pod's init step on the node holds it for milliseconds.
const LOCK_WAIT: &str = "5";
/// For each run of a program; above the lock's.
const LIMIT: Duration = Duration::from_secs(10);
/// Where the programs are when PATH does not say.
const SBIN: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

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

/// The implementations that are installed, nft first; never empty.
pub(crate) fn installed() -> Result<Vec<Backend>, Error> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(SBIN.map(PathBuf::from));
    installed_in(&folders)
}

fn installed_in(folders: &[PathBuf]) -> Result<Vec<Backend>, Error> {
    let find = |name: String| {
        folders
            .iter()
            .map(|folder| folder.join(&name))
            .find(|path| path.is_file())
    };
    let programs = |prefix: &str| {
        Some(Programs {
            save: find(format!("{prefix}-save"))?,
            restore: find(format!("{prefix}-restore"))?,
        })
    };
    let backend = |name, infix: &str| {
        let v6 = programs(&format!("ip6tables{infix}"));
        Some(Backend {
            name,
            v4: programs(&format!("iptables{infix}"))?,
            v6,
        })
    };
    let mut found: Vec<Backend> = [backend("nft", "-nft"), backend("legacy", "-legacy")]
        .into_iter()
        .flatten()
        .collect();
    if found.is_empty() {
        found.extend(backend("iptables", ""));
    }
    if found.is_empty() {
        Err(Error::NotInstalled)
    } else {
        Ok(found)
    }
}

/// Those that can be read here with what they hold, best first; never empty.
pub(crate) fn by_preference(installed: Vec<Backend>) -> Result<Vec<(Backend, Held)>, Error> {
    let mut usable = Vec::new();
    let mut first_error = None;
    for backend in installed {
        match backend.held() {
            Ok(held) => usable.push((backend, held)),
            // Every backend needs the same capability; the others would only say it less well.
            Err(error @ Error::NotPermitted { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(backend = backend.name, %error, "not usable here");
                first_error.get_or_insert(error);
            }
        }
    }
    // A stable sort: nft stays before legacy.
    usable.sort_by_key(|(_, held)| {
        if held.ours() {
            0
        } else if held.has_rules() {
            1
        } else {
            2
        }
    });
    match first_error {
        Some(error) if usable.is_empty() => Err(error),
        _ => Ok(usable),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    fn found(names: &[&str]) -> Vec<&'static str> {
        let folder = folder_with(names);
        let found = installed_in(&[folder.path().to_owned()]).unwrap();
        found.iter().map(|backend| backend.name).collect()
    }

    #[test]
    fn the_plain_name_is_for_where_there_is_nothing_else() {
        let plain = ["iptables-save", "iptables-restore"];
        let nft = ["iptables-nft-save", "iptables-nft-restore"];
        let legacy = ["iptables-legacy-save", "iptables-legacy-restore"];
        assert_eq!(found(&[legacy, plain, nft].concat()), ["nft", "legacy"]);
        assert_eq!(found(&[legacy, plain].concat()), ["legacy"]);
        assert_eq!(found(&plain), ["iptables"]);
    }

    #[test]
    fn without_iptables_it_says_what_to_install() {
        let folder = folder_with(&["iptables-save"]);
        let refused = installed_in(&[folder.path().to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("install the iptables package"),
            "{refused}"
        );
    }

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
