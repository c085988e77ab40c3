//! What this process must be allowed to do before it makes anything.
//!
//! Asked once, first, so that a person without the rights sees one sentence with the command to
//! type instead of a failed system call halfway.

use std::{env, fs, path::Path};

use crate::NodeError;

/// Capability numbers from `linux/capability.h`, with the reason we need each.
const NEEDED: [(u32, &str); 9] = [
    (0, "CAP_CHOWN (volumes belong to the pod's users)"),
    (1, "CAP_DAC_OVERRIDE (/run/netns, /etc/netns)"),
    (3, "CAP_FOWNER (modes of the pods' volumes)"),
    (5, "CAP_KILL (stopping containers)"),
    (6, "CAP_SETGID (containers run as their own group)"),
    (7, "CAP_SETUID (containers run as their own user)"),
    (8, "CAP_SETPCAP (containers drop capabilities)"),
    (12, "CAP_NET_ADMIN (bridge, addresses, routes)"),
    (21, "CAP_SYS_ADMIN (namespaces, mounts)"),
];
/// The sidecar's uid and every app's must exist in the user namespace.
const HIGHEST_UID: u64 = 65_534;

/// Checks that this process can make pods; the error says what is missing and what to type.
pub fn require() -> Result<(), NodeError> {
    let mut missing = missing_capabilities(&read("/proc/self/status"));
    let mapped = mapped_uids(&read("/proc/self/uid_map"));
    if missing.is_empty() && mapped < HIGHEST_UID {
        missing.push("uids 1000 and 1337 (this user namespace maps too few)".to_owned());
    }
    for program in ["ip"] {
        if !on_path(program) {
            missing.push(format!("the program `{program}` (Debian package iproute2)"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(NodeError::Privilege {
        missing: missing.join(", "),
        command: sudo_command(),
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn missing_capabilities(status: &str) -> Vec<String> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let lacks = |bit: u32| effective & (1 << bit) == 0;
    NEEDED
        .iter()
        .filter(|(bit, _)| lacks(*bit))
        .map(|(_, why)| (*why).to_owned())
        .collect()
}

/// The highest uid that exists here (third column: how many, second-first: where they start).
fn mapped_uids(map: &str) -> u64 {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(|n| n.parse::<u64>().ok());
            let inside = fields.next()??;
            let count = fields.nth(1)??;
            Some(inside + count.saturating_sub(1))
        })
        .max()
        .unwrap_or(u64::MAX)
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(|p| Path::new(p).to_owned()))
        .any(|dir| dir.join(program).is_file())
}

fn sudo_command() -> String {
    let mut words = vec!["sudo".to_owned()];
    words.push(env::current_exe().map_or("heddle".into(), |p| p.display().to_string()));
    words.extend(env::args().skip(1));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        let none = missing_capabilities("CapEff:\t0000000000000000\n");
        assert_eq!(none.len(), NEEDED.len());
        let all_but_net_admin = !(1_u64 << 12);
        let one = missing_capabilities(&format!("Name:\tx\nCapEff:\t{all_but_net_admin:016x}\n"));
        assert_eq!(one, ["CAP_NET_ADMIN (bridge, addresses, routes)"]);
    }

    #[test]
    fn a_user_namespace_with_one_uid_is_told_from_a_whole_one() {
        assert_eq!(mapped_uids("         0       1000          1\n"), 0);
        assert_eq!(mapped_uids("0 0 4294967295\n"), 4_294_967_294);
        assert_eq!(mapped_uids("0 1000 1\n1 100000 65536\n"), 65_536);
    }
}
