//! Which implementations of iptables there are here, and in which order to use them.

use std::env;
use std::path::PathBuf;

use super::{Backend, Error, Held, Programs};

/// Where the programs are when PATH does not say.
const SBIN: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

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
}
