//! Gives up root: groups, ids, capabilities, and the way back.
//!
//! The order is the kernel's: the bounding set while CAP_SETPCAP is there, groups while CAP_SETGID
//! is, the uid last. After this nothing in the container can have more than the mask allows.

use nix::{
    errno::Errno,
    sys::prctl,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::spec::User;
use crate::NodeError;

/// Capability numbers go up to 40 today; the kernel answers EINVAL for those it does not know.
const CAPABILITIES: u32 = 64;

/// What container runtimes leave to root in a container when nothing is said.
pub(crate) const DEFAULT_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Takes the credentials; irrevocable.
pub(crate) fn assume(user: &User) -> Result<(), NodeError> {
    for bit in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if user.capabilities & (1 << bit) == 0 {
            match remove_capability_from_bounding_set(one) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(NodeError::system("cannot drop a capability")(error)),
            }
        }
    }
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&groups).map_err(cannot("set the groups", user))?;
    setresgid(gid, gid, gid).map_err(cannot("become the group", user))?;
    clear_ambient_capability_set()
        .map_err(NodeError::system("cannot clear the ambient capabilities"))?;
    if uid.is_root() {
        let mask = CapabilitySet::from_bits_retain(user.capabilities);
        let known = rustix::thread::capabilities(None)
            .map_err(NodeError::system("cannot read the capabilities"))?;
        let left = mask & known.permitted;
        let sets = CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).map_err(NodeError::system("cannot set the capabilities"))?;
    } else {
        setresuid(uid, uid, uid).map_err(cannot("become the user", user))?;
    }
    if user.no_new_privileges {
        prctl::set_no_new_privs().map_err(NodeError::system("cannot set no_new_privs"))?;
    }
    Ok(())
}

fn cannot(what: &str, user: &User) -> impl FnOnce(Errno) -> NodeError {
    NodeError::system(format!(
        "cannot {what} (uid {}, gid {})",
        user.uid, user.gid
    ))
}

/// The bit of a capability by its name in a pod's securityContext (`NET_ADMIN`, `CAP_NET_ADMIN`).
pub(crate) fn capability(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Some(u64::MAX);
    }
    CapabilitySet::from_name(name).map(|set| set.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_known_by_both_spellings() {
        assert_eq!(capability("NET_ADMIN"), Some(1 << 12));
        assert_eq!(capability("CAP_NET_RAW"), Some(1 << 13));
        assert_eq!(capability("NET_SOMETHING"), None);
        assert!(
            DEFAULT_CAPABILITIES
                .iter()
                .all(|name| capability(name).is_some())
        );
    }
}
