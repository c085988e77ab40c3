//! Who a container runs as: its securityContext, the pod's, then our own defaults.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{
    spec::User,
    user::{DEFAULT_CAPABILITIES, capability},
};
use crate::NodeError;

/// Who an app is when its manifest does not say.
pub(crate) const DEFAULT_UID: u32 = 1000;

/// The container's own security context, then the pod's, then ours.
pub(crate) fn credentials(container: &Container, pod: Option<&PodSpec>) -> Result<User, NodeError> {
    let refuse = |reason: String| {
        Err(NodeError::spec(
            format!("securityContext of container {}", container.name),
            reason,
        ))
    };
    let own = container.security_context.as_ref();
    let pod = pod.and_then(|spec| spec.security_context.as_ref());
    let asked = own
        .and_then(|s| s.run_as_user)
        .or(pod.and_then(|s| s.run_as_user));
    let group = own
        .and_then(|s| s.run_as_group)
        .or(pod.and_then(|s| s.run_as_group));
    let (Ok(uid), Ok(gid)) = (
        asked.map_or(Ok(DEFAULT_UID), u32::try_from),
        group.map(u32::try_from).transpose(),
    ) else {
        return refuse("runAsUser and runAsGroup must be 0 to 4294967295".into());
    };
    let non_root = own
        .and_then(|s| s.run_as_non_root)
        .or(pod.and_then(|s| s.run_as_non_root));
    if uid == 0 && non_root == Some(true) {
        return refuse("runAsNonRoot is true but runAsUser is 0".into());
    }
    let extra = pod.into_iter().flat_map(|s| {
        s.supplemental_groups
            .iter()
            .flatten()
            .copied()
            .chain(s.fs_group)
    });
    let privileged = own.and_then(|s| s.privileged) == Some(true);
    let mut capabilities = if privileged {
        u64::MAX
    } else {
        default_capabilities()
    };
    let changes = own.and_then(|s| s.capabilities.as_ref());
    for (names, add) in [
        (changes.and_then(|c| c.drop.as_ref()), false),
        (changes.and_then(|c| c.add.as_ref()), true),
    ] {
        for name in names.into_iter().flatten() {
            match capability(name) {
                Some(bits) if add => capabilities |= bits,
                Some(bits) => capabilities &= !bits,
                None => return refuse(format!("there is no capability `{name}`")),
            }
        }
    }
    let escalation = own
        .and_then(|s| s.allow_privilege_escalation)
        .unwrap_or(privileged);
    Ok(User {
        uid,
        gid: gid.unwrap_or(uid),
        groups: extra
            .filter_map(|group| u32::try_from(group).ok())
            .collect(),
        capabilities,
        no_new_privileges: !escalation,
    })
}

fn default_capabilities() -> u64 {
    DEFAULT_CAPABILITIES
        .iter()
        .filter_map(|name| capability(name))
        .fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn container(security: serde_json::Value) -> Container {
        serde_json::from_value(json!({"name": "c", "securityContext": security})).unwrap()
    }

    #[test]
    fn nobody_is_root_unless_asked() {
        let pod: PodSpec = serde_json::from_value(
            json!({"containers": [], "securityContext": {"runAsUser": 7, "fsGroup": 9}}),
        )
        .unwrap();
        let app = credentials(&container(json!({})), None).unwrap();
        assert_eq!(
            (app.uid, app.gid, app.no_new_privileges),
            (1000, 1000, true)
        );
        let app = credentials(&container(json!({})), Some(&pod)).unwrap();
        assert_eq!((app.uid, app.gid, app.groups), (7, 7, vec![9]));
        let init = json!({"runAsUser": 0, "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}});
        let init = credentials(&container(init), Some(&pod)).unwrap();
        assert_eq!((init.uid, init.capabilities), (0, 1 << 12 | 1 << 13));
        let contradiction = json!({"runAsUser": 0, "runAsNonRoot": true});
        assert!(credentials(&container(contradiction), None).is_err());
        let unknown = json!({"capabilities": {"add": ["FLY"]}});
        let error = credentials(&container(unknown), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`FLY`"), "{error}");
    }
}
