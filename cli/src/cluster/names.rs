//! Names as Kubernetes makes them: no vowels and no look-alikes, so that no name says anything.

use rand::RngExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random characters, the end of a pod's name.
pub(crate) fn suffix() -> String {
    let mut random = rand::rng();
    (0..5)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

/// A revision: the same for the same content, ten characters.
pub(crate) fn revision(content: &Value) -> String {
    let digest = Sha256::digest(content.to_string().as_bytes());
    digest
        .iter()
        .take(10)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// A random UUID (version 4).
pub(crate) fn uid() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_like_those_of_kubernetes() {
        assert_eq!(suffix().len(), 5);
        let uid = uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
        let template = serde_json::json!({"spec": {"containers": []}});
        assert_eq!(revision(&template), revision(&template.clone()));
        assert_ne!(revision(&template), revision(&serde_json::json!({})));
        assert_eq!(revision(&template).len(), 10);
    }
}
