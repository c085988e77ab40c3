//! One hash for keys, endpoints and tables: the same in every sidecar and version, so that callers
//! in different pods find the same endpoint. Not for anything that a peer must not foresee.

/// FNV-1a, with murmur3's finish: FNV alone hardly moves the high bits for what ends differently.
pub fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(folded)
}

/// Another number, as if drawn anew.
pub fn mix(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_changes() {
        // Other versions in the mesh, and their tables, rely on it.
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"user-1"), 0x41a2_fca5_c684_01c5);
    }

    #[test]
    fn likely_keys_are_spread_evenly() {
        let mut buckets = [0_u32; 16];
        for n in 0..16_000 {
            let key = hash(format!("user-{n}").as_bytes());
            buckets[(key >> 60) as usize] += 1;
        }
        // 1,000 each, give or take; the keys are fixed, so this cannot vary.
        assert!(
            buckets.iter().all(|n| (850..1150).contains(n)),
            "{buckets:?}"
        );
    }
}
