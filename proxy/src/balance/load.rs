//! How traffic is spread over levels and groups by their health, as Envoy does: a level takes 140 %
//! of its healthy share, at most all, and leaves the rest to the next. Where so few are healthy that
//! they would be overrun, all of a level are used.

/// A level is worth this many percent of the part of it that is healthy (Envoy's overprovisioning
/// factor): losing a little spills nothing.
const OVERPROVISIONING: u64 = 140;

/// Endpoints of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) ready: u32,
    pub(crate) ejected: u32,
    pub(crate) draining: u32,
    /// Share of its level.
    pub(crate) weight: u32,
}

/// Whom a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Those that are well and stay.
    Ready,
    /// Those that go away: no others are left.
    Draining,
    /// Also those that were ejected: too few are well.
    All,
    Nobody,
}

/// A group, its share of all traffic, and whom to use of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) level: usize,
    pub(crate) group: usize,
    pub(crate) share: f64,
    pub(crate) whom: Use,
}

/// Shares of all groups, in the order of their levels. They add up to 1, or are all 0.
pub(crate) fn spread(levels: &[Vec<Health>], panic_percent: u32) -> Vec<Share> {
    let count = |of: fn(&Health) -> u32| -> u64 {
        levels
            .iter()
            .flatten()
            .map(|health| u64::from(of(health)))
            .sum()
    };
    let (ready, ejected, draining) = (
        count(|h| h.ready),
        count(|h| h.ejected),
        count(|h| h.draining),
    );
    let whom = match (ready, draining, ejected) {
        (1.., _, _) => Use::Ready,
        (0, 1.., _) => Use::Draining,
        (0, 0, 1..) if panic_percent > 0 => Use::All,
        (0, 0, _) => Use::Nobody,
    };
    let usable = |health: &Health| match whom {
        Use::Ready => health.ready,
        Use::Draining => health.draining,
        Use::All => health.ejected,
        Use::Nobody => 0,
    };
    let worth: Vec<u64> = levels
        .iter()
        .map(|level| available(level, usable, whom))
        .collect();
    let whole: u64 = worth.iter().sum::<u64>().min(100);
    let mut left = 100.0;
    let mut shares = Vec::new();
    for (at, level) in levels.iter().enumerate() {
        let part = match whole {
            0 => 0.0,
            _ => (worth[at] as f64 * 100.0 / whole as f64).min(left),
        };
        left -= part;
        let panics = whom == Use::Ready && whole < 100 && in_panic(level, panic_percent);
        let whom = if panics { Use::All } else { whom };
        let of_group = |health: &Health| match whom {
            Use::All => health.ready + health.ejected,
            _ => usable(health),
        };
        let weights: Vec<f64> = level.iter().map(|h| weight(h, of_group(h))).collect();
        let all: f64 = weights.iter().sum();
        for (group, weight) in weights.into_iter().enumerate() {
            shares.push(Share {
                level: at,
                group,
                share: if all > 0.0 {
                    part / 100.0 * weight / all
                } else {
                    0.0
                },
                whom,
            });
        }
    }
    shares
}

/// What a level can take, in percent.
fn available(level: &[Health], usable: impl Fn(&Health) -> u32, whom: Use) -> u64 {
    let usable: u64 = level.iter().map(|health| u64::from(usable(health))).sum();
    let staying = |health: &Health| u64::from(health.ready) + u64::from(health.ejected);
    let of: u64 = match whom {
        // Those that go away are not missed.
        Use::Ready | Use::All => level.iter().map(staying).sum(),
        Use::Draining | Use::Nobody => usable,
    };
    match of {
        0 => 0,
        // One that is well is worth something among however many.
        of => (OVERPROVISIONING * usable / of).clamp(usable.min(1), 100),
    }
}

fn in_panic(level: &[Health], percent: u32) -> bool {
    let ready: u64 = level.iter().map(|health| u64::from(health.ready)).sum();
    let ejected: u64 = level.iter().map(|health| u64::from(health.ejected)).sum();
    ready * 100 < u64::from(percent) * (ready + ejected)
}

/// A group's weight within its level, less as it falls short.
fn weight(health: &Health, usable: u32) -> f64 {
    if usable == 0 {
        return 0.0;
    }
    let staying = (health.ready + health.ejected).max(usable);
    let part = OVERPROVISIONING as f64 / 100.0 * f64::from(usable) / f64::from(staying);
    f64::from(health.weight) * part.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(ready: u32, ejected: u32) -> Health {
        Health {
            ready,
            ejected,
            draining: 0,
            weight: 1,
        }
    }

    fn levels(levels: &[(u32, u32)], panic_percent: u32) -> Vec<(u32, Use)> {
        let levels: Vec<_> = levels.iter().map(|(r, e)| vec![health(*r, *e)]).collect();
        let percent = |share: Share| ((share.share * 100.0).round() as u32, share.whom);
        spread(&levels, panic_percent)
            .into_iter()
            .map(percent)
            .collect()
    }

    #[test]
    fn the_next_level_gets_only_what_the_first_cannot_take() {
        use Use::Ready;
        assert_eq!(levels(&[(10, 0), (10, 0)], 0), [(100, Ready), (0, Ready)]);
        // 72 % are worth 100.
        assert_eq!(levels(&[(8, 3), (10, 0)], 0), [(100, Ready), (0, Ready)]);
        // Envoy's table: 50 % healthy takes 70 %.
        assert_eq!(levels(&[(5, 5), (10, 0)], 0), [(70, Ready), (30, Ready)]);
        assert_eq!(levels(&[(0, 5), (10, 0)], 0), [(0, Ready), (100, Ready)]);
        assert_eq!(
            levels(&[(1, 3), (1, 3), (1, 0)], 0),
            [(35, Ready), (35, Ready), (30, Ready)]
        );
        assert_eq!(levels(&[(1, 999)], 0), [(100, Ready)]);
        // Too little altogether: in proportion.
        assert_eq!(levels(&[(1, 9), (1, 9)], 0), [(50, Ready), (50, Ready)]);
    }

    #[test]
    fn below_the_threshold_all_of_a_level_are_used() {
        assert_eq!(levels(&[(1, 9)], 0), [(100, Use::Ready)]);
        assert_eq!(levels(&[(1, 9)], 20), [(100, Use::All)]);
        assert_eq!(levels(&[(1, 999)], 20), [(100, Use::All)]);
        assert_eq!(levels(&[(2, 8)], 20), [(100, Use::Ready)]);
        // Not while other levels make up for it.
        assert_eq!(
            levels(&[(1, 9), (10, 0)], 50),
            [(14, Use::Ready), (86, Use::Ready)]
        );
    }

    #[test]
    fn when_nobody_is_well() {
        assert_eq!(levels(&[(0, 4)], 0), [(0, Use::Nobody)]);
        assert_eq!(levels(&[(0, 4)], 1), [(100, Use::All)]);
        assert_eq!(levels(&[(0, 0)], 50), [(0, Use::Nobody)]);
        assert_eq!(spread(&[], 50), []);
        let draining = Health {
            draining: 2,
            ..health(0, 3)
        };
        let spread = spread(&[vec![draining]], 50);
        assert_eq!((spread[0].share, spread[0].whom), (1.0, Use::Draining));
    }

    #[test]
    fn one_that_drains_is_not_missed() {
        let draining = Health {
            draining: 8,
            ..health(2, 0)
        };
        let shares = spread(&[vec![draining], vec![health(5, 0)]], 50);
        assert_eq!((shares[0].share, shares[0].whom), (1.0, Use::Ready));
    }

    #[test]
    fn groups_share_a_level_by_weight_and_health() {
        let group = |ready, ejected, weight| Health {
            weight,
            ..health(ready, ejected)
        };
        let shares = |level| -> Vec<u32> {
            let spread = spread(&[level], 0);
            spread
                .iter()
                .map(|s| (s.share * 100.0).round() as u32)
                .collect()
        };
        assert_eq!(shares(vec![group(3, 0, 80), group(9, 0, 20)]), [80, 20]);
        // One of four falls short, and is made up for; one of two is worth 70 %.
        assert_eq!(shares(vec![group(3, 1, 80), group(9, 0, 20)]), [80, 20]);
        assert_eq!(shares(vec![group(1, 1, 50), group(9, 0, 50)]), [41, 59]);
        assert_eq!(shares(vec![group(0, 1, 99), group(9, 0, 1)]), [0, 100]);
    }
}
