//! The mesh's own parts beside the pods, started by hand as docs/servers.md says: identity and
//! control plane on the node; and the tokens that a kubelet would project.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heddle_tests::mesh::binary;
use heddle_tests::wait::until;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::machine::{MESH, Machine};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const BOUND: Duration = Duration::from_secs(60);

/// Identity and control plane; they end with this.
pub(crate) struct Parts {
    running: Vec<Child>,
    key: rcgen::KeyPair,
}

impl Parts {
    pub(crate) fn start(machine: &Machine, world: &[Value]) -> Self {
        let mut parts = Self {
            running: Vec::new(),
            key: rcgen::KeyPair::generate().unwrap(),
        };
        for (index, object) in world.iter().enumerate() {
            machine.write(&format!("manifests/{index}.yaml"), &object.to_string());
        }
        let half = |range| URL_SAFE_NO_PAD.encode(&parts.key.public_key_raw()[range]);
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "test",
            "x": half(1..33), "y": half(33..65),
        }]});
        let jwks = machine.write("jwks.json", &jwks.to_string());
        let root = machine.path(&format!("{MESH}/trust/root-cert.pem"));
        std::fs::create_dir_all(root.parent().unwrap()).unwrap();
        let mut identity = machine.command(binary("heddle-identity"));
        identity.arg("--data-dir").arg(machine.path("identity"));
        identity.arg("--token-jwks").arg(jwks);
        identity.arg("--trust-bundle-out").arg(&root);
        parts.run(identity);
        until("the identity service listens", BOUND, || root.exists());

        let token = parts.token("heddle-system", "heddle-control");
        let mut control = machine.command(binary("heddle-control"));
        control.arg("--config-dir").arg(machine.path("manifests"));
        control.args(["--identity-address", "127.0.0.1:15013"]);
        control
            .arg("--token-file")
            .arg(machine.write("control-token", &token));
        control.arg("--trust-bundle-file").arg(&root);
        let state = machine.path("control");
        std::fs::create_dir(&state).unwrap();
        control.arg("--state-dir").arg(state);
        parts.run(control);
        parts
    }

    fn run(&mut self, mut command: Command) {
        // Their words are the test's, should it fail.
        self.running
            .push(command.stdout(Stdio::null()).spawn().unwrap());
    }

    fn token(&self, namespace: &str, account: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": ["heddle"], "iat": now, "nbf": now, "exp": now + 3600,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": "1"}},
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("test".into());
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    /// Puts the token of a service account where `heddle inject --podman` says that it is.
    pub(crate) fn project_token(&self, machine: &Machine, account: &str) {
        let token = self.token("default", account);
        machine.write(&format!("{MESH}/tokens/default/{account}/token"), &token);
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
