//! How many values reviews may have ([`heddle_https::values`]).

/// Of one review. A large pod has some thousand; one of 1.5 MiB, the most that is stored, seldom more.
pub(super) const MAX: u32 = 20_000;
/// Of all reviews at once: usual ones by the hundred.
pub(super) const MAX_AT_ONCE: u32 = 3 * MAX;
