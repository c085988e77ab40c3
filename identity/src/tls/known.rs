//! Chains that were found good under one set of roots, by every byte of them: who comes again with the
//! same certificates costs no signature of an authority a second time.
//!
//! Only what those bytes and roots decide is remembered. Dates are looked at each time, as are who
//! is expected and, by rustls, the proof that the peer has the key. Other roots begin with nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Validity, leaf, verify::Purpose};
use crate::SpiffeId;

/// Chains that are remembered; beyond it, the memory starts anew.
const MOST: usize = 256;
/// Bytes of one that is: with [`MOST`], 1 MiB. Ours have less than 1 KiB.
const MOST_BYTES: usize = 4096;

/// All that somebody presents, and what for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Presented(Vec<u8>);

impl Presented {
    /// `None`: it is too long to be remembered.
    pub(super) fn new(
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        purpose: Purpose,
    ) -> Option<Self> {
        let chain = || std::iter::once(first).chain(others);
        let length: usize = chain().map(|certificate| 4 + certificate.len()).sum();
        if length > MOST_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(1 + length);
        bytes.push(purpose as u8);
        for certificate in chain() {
            let length = u32::try_from(certificate.len()).ok()?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(certificate);
        }
        Some(Self(bytes))
    }
}

/// Who it is, and when all of the chain is valid.
struct Good {
    id: SpiffeId,
    validity: Validity,
}

/// What one set of roots has vouched for.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Presented, Good>>);

impl Known {
    /// Who presents this, if it was found good and is still valid.
    pub(super) fn who(&self, presented: &Presented, now: UnixTime) -> Option<SpiffeId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let good = known.get(presented)?;
        good.validity.holds_at(now).then(|| good.id.clone())
    }

    /// Remembers a chain that was found good just now.
    pub(super) fn remember(
        &self,
        presented: Presented,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        id: &SpiffeId,
    ) {
        let Ok(mut validity) = leaf::validity_of(first) else {
            return;
        };
        for other in others {
            // What cannot be read is no part of what was found good, and has no dates to keep to.
            let Ok(also) = leaf::validity_of(other) else {
                return;
            };
            validity = validity.and(also);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        let id = id.clone();
        known.insert(presented, Good { id, validity });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
pub(super) const BOUND: usize = MOST;
