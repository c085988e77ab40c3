//! The volumes of an injected pod and where its containers see them.

use heddle_identity::workload::trust_config_map;
use serde_json::{Value, json};

use crate::config::InjectConfig;
use crate::containers::Who;

const TOKEN: &str = "heddle-token";
const TRUST: &str = "heddle-trust";
const STATE: &str = "heddle-state";
const POD: &str = "heddle-pod";

const TOKEN_DIR: &str = "/var/run/secrets/heddle/token";
const TRUST_DIR: &str = "/var/run/secrets/heddle/trust";
const POD_DIR: &str = "/var/run/heddle/pod";
pub(crate) const STATE_DIR: &str = "/var/run/heddle/state";
pub(crate) const TOKEN_FILE: &str = "/var/run/secrets/heddle/token/token";
pub(crate) const TRUST_BUNDLE_FILE: &str = "/var/run/secrets/heddle/trust/root-cert.pem";

/// 12 h; the kubelet renews at 80 % of it.
const TOKEN_SECONDS: u32 = 43_200;
/// Key, certificate and the last accepted configuration. Memory of the pod, so it is bounded.
const STATE_SIZE: &str = "32Mi";

pub(crate) const NAMES: [&str; 4] = [TOKEN, TRUST, STATE, POD];

/// Podman gives all pods with an emptyDir of one name the same directory: a key must not be in it.
pub(crate) fn volumes(config: &InjectConfig, who: &Who) -> Vec<Value> {
    if let Some(podman) = &config.podman {
        let Who {
            namespace, account, ..
        } = who;
        let directory = podman.directory.trim_end_matches('/');
        let of_machine = |name, path: String| json!({"name": name, "hostPath": {"path": path, "type": "Directory"}});
        return vec![
            of_machine(TOKEN, format!("{directory}/tokens/{namespace}/{account}")),
            of_machine(TRUST, format!("{directory}/trust")),
        ];
    }
    vec![
        json!({
            "name": TOKEN,
            "projected": {"sources": [{"serviceAccountToken": {
                "audience": config.token_audience,
                "expirationSeconds": TOKEN_SECONDS,
                "path": "token",
            }}]},
        }),
        json!({"name": TRUST, "configMap": {"name": trust_config_map(&config.system_namespace)}}),
        json!({"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": STATE_SIZE}}),
        json!({
            "name": POD,
            "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
            ]},
        }),
    ]
}

pub(crate) fn mounts(config: &InjectConfig) -> Value {
    let mut mounts = vec![
        json!({"name": TOKEN, "mountPath": TOKEN_DIR, "readOnly": true}),
        json!({"name": TRUST, "mountPath": TRUST_DIR, "readOnly": true}),
    ];
    if config.podman.is_none() {
        mounts.push(json!({"name": STATE, "mountPath": STATE_DIR}));
        mounts.push(json!({"name": POD, "mountPath": POD_DIR, "readOnly": true}));
    }
    json!(mounts)
}
