//! The file's format: a magic, a version, a SHA-256 of the rest, the node's id, then one
//! length-delimited discovery response for each type, as the control plane could have sent it.

use heddle_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::kind::Kind;
use crate::store::{Push, Raw};

const MAGIC: &[u8; 8] = b"heddlecf";

/// Raised when a reader of the version before would misread the file.
const VERSION: u32 = 1;

pub(super) type Digest = [u8; 32];

/// Why a file is ignored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is not a kept configuration")]
    Foreign,
    #[error("its format is {0}; this proxy reads {VERSION}")]
    Version(u32),
    #[error("its checksum does not fit: it was cut short or damaged")]
    Checksum,
    #[error("it belongs to {0:?}")]
    OtherNode(String),
    #[error("it does not decode: {0}")]
    Undecodable(String),
}

pub(super) fn encode(pushes: Vec<Push>, node: &str) -> (Vec<u8>, Digest) {
    let mut body = Vec::new();
    // A node id is a namespace and a pod name, at most 63 + 1 + 253 bytes; longer ones are cut on
    // both sides alike.
    let node = &node.as_bytes()[..node.len().min(usize::from(u16::MAX))];
    body.extend_from_slice(&(node.len() as u16).to_be_bytes());
    body.extend_from_slice(node);
    for push in pushes {
        let type_url = push.kind.type_url();
        let resources = push.resources.into_iter().map(|raw| Resource {
            version: raw.version,
            resource: Some(prost_types::Any {
                type_url: type_url.to_owned(),
                value: raw.value,
            }),
            name: raw.name,
            aliases: Vec::new(),
        });
        let response = DeltaDiscoveryResponse {
            system_version_info: push.version,
            resources: resources.collect(),
            type_url: type_url.to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        body.extend_from_slice(&response.encode_length_delimited_to_vec());
    }
    let digest: Digest = Sha256::digest(&body).into();
    let mut file = Vec::with_capacity(body.len() + 44);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_be_bytes());
    file.extend_from_slice(&digest);
    file.extend_from_slice(&body);
    (file, digest)
}

pub(super) fn decode(file: &[u8], node: &str) -> Result<Vec<Push>, Damage> {
    let rest = file.strip_prefix(MAGIC).ok_or(Damage::Foreign)?;
    let (version, rest) = rest.split_first_chunk().ok_or(Damage::Checksum)?;
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let (digest, body) = rest.split_first_chunk::<32>().ok_or(Damage::Checksum)?;
    if Digest::from(Sha256::digest(body)) != *digest {
        return Err(Damage::Checksum);
    }
    let (length, rest) = body.split_first_chunk().ok_or(Damage::Checksum)?;
    let (owner, mut rest) = rest
        .split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(Damage::Checksum)?;
    if owner != node.as_bytes() {
        return Err(Damage::OtherNode(
            String::from_utf8_lossy(owner).into_owned(),
        ));
    }
    let mut pushes = Vec::new();
    while !rest.is_empty() {
        let response = DeltaDiscoveryResponse::decode_length_delimited(&mut rest)
            .map_err(|error| Damage::Undecodable(error.to_string()))?;
        pushes.extend(push(response));
    }
    Ok(pushes)
}

/// A type that this proxy does not know is skipped: it was written by a newer one.
fn push(response: DeltaDiscoveryResponse) -> Option<Push> {
    let raw = |resource: Resource| Raw {
        name: resource.name,
        version: resource.version,
        value: resource.resource.unwrap_or_default().value,
    };
    Some(Push {
        kind: Kind::of(&response.type_url)?,
        version: response.system_version_info,
        resources: response.resources.into_iter().map(raw).collect(),
        removed: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn file() -> Vec<u8> {
        let raw = Raw {
            name: "10.0.0.1".into(),
            version: "v".into(),
            value: vec![1, 2, 3],
        };
        let push = Push {
            kind: Kind::Address,
            version: "s".into(),
            resources: vec![raw],
            removed: Vec::new(),
        };
        encode(vec![push], "default/a").0
    }

    #[test]
    fn what_was_written_reads_back() {
        let pushes = decode(&file(), "default/a").unwrap();
        assert_eq!(pushes.len(), 1);
        assert_eq!(
            (pushes[0].kind, pushes[0].version.as_str()),
            (Kind::Address, "s")
        );
        let raw = &pushes[0].resources[0];
        assert_eq!(
            (raw.name.as_str(), raw.version.as_str(), &raw.value[..]),
            ("10.0.0.1", "v", &[1, 2, 3][..])
        );
    }

    /// Kind and version; name, version and value of each resource.
    type Plain = (Kind, String, Vec<(String, String, Vec<u8>)>);

    fn any_push() -> impl Strategy<Value = Plain> {
        let kind = proptest::sample::select(Kind::ALL.to_vec());
        let text = || "[ -~]{0,12}";
        let raw = (
            text(),
            text(),
            proptest::collection::vec(any::<u8>(), 0..40),
        );
        (kind, text(), proptest::collection::vec(raw, 0..4))
    }

    proptest! {
        #[test]
        fn whatever_was_written_reads_back(
            pushes in proptest::collection::vec(any_push(), 0..5),
            node in "[ -~]{0,40}",
        ) {
            let made = || pushes.iter().cloned().map(|(kind, version, raws)| Push {
                kind,
                version,
                resources: raws.into_iter().map(|(name, version, value)| Raw { name, version, value }).collect(),
                removed: Vec::new(),
            });
            let (file, digest) = encode(made().collect(), &node);
            let back = decode(&file, &node).unwrap();
            let plain = |push: &Push| -> Plain {
                let raws = push.resources.iter();
                let raws = raws.map(|raw| (raw.name.clone(), raw.version.clone(), raw.value.clone()));
                (push.kind, push.version.clone(), raws.collect())
            };
            prop_assert_eq!(back.iter().map(plain).collect::<Vec<_>>(), pushes);
            prop_assert_eq!(encode(back, &node), (file, digest));
        }
    }

    #[test]
    fn every_damage_is_noticed() {
        let file = file();
        assert_eq!(
            decode(&file, "default/b").unwrap_err(),
            Damage::OtherNode("default/a".into())
        );
        for cut in 0..file.len() {
            assert!(decode(&file[..cut], "default/a").is_err(), "cut at {cut}");
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged, "default/a").is_err(), "flipped at {at}");
        }
        let mut newer = file;
        newer[11] = 2;
        assert_eq!(decode(&newer, "default/a").unwrap_err(), Damage::Version(2));
    }
}
