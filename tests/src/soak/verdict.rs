//! Whether a series grows. The rule:
//!
//! 1. What happened in the warm-up is left out.
//! 2. The slope is Theil and Sen's, the median of the slopes between all pairs of points: single
//!    spikes do not move it. Growth is the slope times the time.
//! 3. Allowed is 5 % of the series' median, or a floor for each gauge where that is more.
//! 4. It grows if its growth is more than allowed, and if it still grows in its second half by more
//!    than half of that: what fills up once and stays is a cache, not a leak.

use super::sample::Series;

/// Share of its median that a series may grow by.
const SHARE: f64 = 0.05;
/// Fewer points say nothing.
const LEAST: usize = 8;

/// What is said of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The median of the first fifth after the warm-up.
    pub first: f64,
    /// The median of the last fifth.
    pub last: f64,
    /// By slope, over the time after the warm-up.
    pub growth: f64,
    /// By slope, over the second half of it.
    pub late_growth: f64,
    /// The same in an hour.
    pub late_growth_per_hour: f64,
    /// How much of it is allowed.
    pub allowed: f64,
}

impl Judgement {
    /// Whether it grows.
    pub fn grows(&self) -> bool {
        // A series that is too short is no proof of anything.
        !(self.growth <= self.allowed || self.late_growth <= self.allowed / 2.0)
    }
}

/// Judges a series. `warm_up`: the share of its time that is left out.
pub fn judge(series: &Series, warm_up: f64) -> Judgement {
    let end = series.points.last().map_or(0.0, |(at, _)| *at);
    let mut points = series.points.iter().copied();
    let points: Vec<(f64, f64)> = points
        .by_ref()
        .filter(|(at, _)| *at >= end * warm_up)
        .collect();
    let values = |points: &[(f64, f64)]| points.iter().map(|(_, value)| *value).collect();
    let fifth = points.len().div_ceil(5);
    let (first, last) = (
        median(values(&points[..fifth])),
        median(values(&points[points.len() - fifth..])),
    );
    let allowed = (SHARE * median(values(&points))).max(series.gauge.floor());
    let late = &points[points.len() / 2..];
    let (slope, late_slope) = match points.len() < LEAST {
        true => (f64::NAN, f64::NAN),
        false => (slope(&points), slope(late)),
    };
    Judgement {
        first,
        last,
        growth: slope * time(&points),
        late_growth: late_slope * time(late),
        late_growth_per_hour: late_slope * 3600.0,
        allowed,
    }
}

fn time(points: &[(f64, f64)]) -> f64 {
    match (points.first(), points.last()) {
        (Some((first, _)), Some((last, _))) => last - first,
        _ => 0.0,
    }
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (index, (at, value)) in points.iter().enumerate() {
        let later = &points[index + 1..];
        slopes.extend(later.iter().map(|(t, v)| (v - value) / (t - at)));
    }
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Gauge;
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Ten minutes, a point each five seconds.
    fn series(gauge: Gauge, value: impl Fn(f64) -> f64) -> Series {
        let points = (1..=120).map(|n| f64::from(n) * 5.0);
        Series {
            process: "p".into(),
            gauge,
            points: points.map(|at| (at, value(at))).collect(),
        }
    }

    fn grows(gauge: Gauge, value: impl Fn(f64) -> f64) -> bool {
        judge(&series(gauge, value), 0.25).grows()
    }

    /// Between 0 and 1, the same at every run.
    fn noise(at: f64) -> f64 {
        (at * 12.9898).sin().abs()
    }

    #[test]
    fn a_leak_is_found_under_noise() {
        assert!(grows(Gauge::Descriptors, |at| 20.0
            + at / 60.0
            + 3.0 * noise(at)));
        assert!(grows(Gauge::Tasks, |at| 50.0 + at / 60.0 + 5.0 * noise(at)));
        let leak = |at: f64| 8.0 * MIB + 2048.0 * at + MIB * noise(at);
        assert!(grows(Gauge::Memory, leak));
    }

    #[test]
    fn noise_spikes_and_steps_are_no_leak() {
        let noisy = |at: f64| 20.0 + 10.0 * noise(at);
        assert!(!grows(Gauge::Descriptors, noisy));
        let spikes = |at: f64| if at % 100.0 < 10.0 { 500.0 } else { 20.0 };
        assert!(!grows(Gauge::Tasks, spikes));
        let cache = |at: f64| if at < 300.0 { 8.0 * MIB } else { 10.0 * MIB };
        assert!(!grows(Gauge::Memory, cache));
        let pool = |at: f64| 20.0 + (at % 60.0) / 4.0;
        assert!(!grows(Gauge::Descriptors, pool));
    }

    #[test]
    fn a_warm_up_is_not_judged_and_shrinking_is_fine() {
        assert!(!grows(Gauge::Memory, |at| MIB * at.min(140.0)));
        assert!(!grows(Gauge::Memory, |at| 1000.0 * MIB - MIB * at));
    }

    #[test]
    fn too_few_points_prove_nothing() {
        let short = Series {
            points: vec![(1.0, 1.0), (2.0, 1.0)],
            ..series(Gauge::Tasks, |_| 1.0)
        };
        assert!(judge(&short, 0.25).grows());
    }
}
