//! Where everything of one mesh is: its name, its state directory, its namespaces, its addresses.
//!
//! Made once under a lock (`/run/heddle/.lock`) that serialises the choice of addresses, written
//! to the state directory, and read back by every later command. Names are functions of the mesh's
//! name, so that what a killed mesh left behind can be found with the name alone.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{AddressPlan, NodeError};

/// Below it every mesh has its state directory.
pub const STATE_ROOT: &str = "/run/heddle";
/// File names may have 255 bytes; this leaves room for suffixes.
const LONGEST_NETNS: usize = 200;

/// The name of a mesh: a DNS label of at most 40 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MeshName(String);

impl MeshName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MeshName {
    type Err = NodeError;

    fn from_str(name: &str) -> Result<Self, NodeError> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let well_formed = !name.is_empty()
            && name.len() <= 40
            && name.chars().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !well_formed {
            return Err(NodeError::Name {
                kind: "mesh",
                name: name.to_owned(),
                reason: "a mesh name has 1 to 40 lower-case letters, digits and inner `-`".into(),
            });
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for MeshName {
    type Error = NodeError;

    fn try_from(name: String) -> Result<Self, NodeError> {
        name.parse()
    }
}

impl From<MeshName> for String {
    fn from(name: MeshName) -> Self {
        name.0
    }
}

impl fmt::Display for MeshName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One mesh on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Its name.
    pub mesh: MeshName,
    /// Its addresses.
    pub plan: AddressPlan,
}

impl Layout {
    /// Reads the layout of a mesh that is there.
    pub fn load(mesh: &MeshName) -> Result<Self, NodeError> {
        let path = state_dir(mesh).join("layout.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(NodeError::NoMesh {
                    mesh: mesh.to_string(),
                    path,
                });
            }
            Err(error) => return Err(NodeError::file("read", path)(error)),
        };
        serde_json::from_str(&text).map_err(|e| NodeError::file("parse", path)(e.into()))
    }

    /// `/run/heddle/MESH`: everything the mesh keeps, gone when it is destroyed.
    pub fn state_dir(&self) -> PathBuf {
        state_dir(&self.mesh)
    }

    /// Where the containers' and components' output is kept.
    pub fn log_dir(&self) -> PathBuf {
        self.state_dir().join("logs")
    }

    /// The file one container writes to.
    pub fn container_log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.log_dir()
            .join(format!("{namespace}_{pod}_{container}.log"))
    }

    /// The file a system component writes to.
    pub fn component_log(&self, component: &str) -> PathBuf {
        self.log_dir().join(format!("{component}.log"))
    }

    /// Volumes and files of one pod; only root may look inside.
    pub fn pod_dir(&self, namespace: &str, pod: &str) -> PathBuf {
        self.state_dir()
            .join("pods")
            .join(format!("{namespace}_{pod}"))
    }

    /// The token key's directory.
    pub fn keys_dir(&self) -> PathBuf {
        self.state_dir().join("keys")
    }

    /// The public half of the token key, for heddle-identity.
    pub fn jwks(&self) -> PathBuf {
        self.state_dir().join("jwks.json")
    }

    /// The network namespace with the bridge, where the system components run.
    pub fn node_netns(&self) -> String {
        format!("heddle-{}", self.mesh)
    }

    /// The network namespace of one pod; a name too long for a file is shortened with a hash.
    pub fn pod_netns(&self, namespace: &str, pod: &str) -> String {
        let full = format!("heddle-{}-{namespace}-{pod}", self.mesh);
        if full.len() <= LONGEST_NETNS {
            return full;
        }
        let cut = full.chars().take(LONGEST_NETNS - 17).collect::<String>();
        format!("{cut}-{}", hex(&Sha256::digest(full.as_bytes()), 16))
    }

    /// The root namespace's veth end; its name follows from the mesh's name alone.
    pub fn root_veth(&self) -> String {
        root_veth(&self.mesh)
    }
}

/// The state directory of a mesh.
pub fn state_dir(mesh: &MeshName) -> PathBuf {
    Path::new(STATE_ROOT).join(mesh.as_str())
}

/// The name of a mesh's veth end in the root namespace (at most 15 bytes).
pub fn root_veth(mesh: &MeshName) -> String {
    format!("hd-{}", hex(&Sha256::digest(mesh.as_str().as_bytes()), 12))
}

fn hex(bytes: &[u8], digits: usize) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .take(digits)
        .map(|n| char::from_digit(u32::from(n), 16).unwrap_or('0'))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_long_pod_name_is_shortened_and_stays_its_own() {
        let layout = Layout {
            mesh: "m".parse().unwrap(),
            plan: AddressPlan::new(0, true),
        };
        assert_eq!(layout.pod_netns("shop", "web-1"), "heddle-m-shop-web-1");
        let one = layout.pod_netns("shop", &"a".repeat(250));
        let other = layout.pod_netns("shop", &format!("{}b", "a".repeat(249)));
        assert_eq!(one.len(), LONGEST_NETNS);
        assert_ne!(one, other);
        assert!(layout.root_veth().len() <= 15);
    }

    #[test]
    fn a_mesh_name_that_is_no_label_is_refused_by_name() {
        for bad in ["", "A", "a/b", "-a", "a-", "..", &"x".repeat(41)] {
            let error = bad.parse::<MeshName>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }
}
