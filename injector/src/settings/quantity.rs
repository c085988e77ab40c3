//! Kubernetes quantities (`100m`, `1.5`, `64Mi`, `1e3`): the text as written, and its value in
//! thousandths for comparing a request with its limit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::ValueError;

/// An amount of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Quantity {
    text: String,
    milli: u128,
}

/// Kubernetes takes `cpu: 2` as well as `cpu: "2"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Text(String),
}

const ALLOWED: &str = "a quantity such as 100m, 0.5, 2, 64Mi, 1Gi";

impl Quantity {
    /// Whether this is less than or the same as `other`.
    #[must_use]
    pub fn fits_in(&self, other: &Self) -> bool {
        self.milli <= other.milli
    }
}

impl FromStr for Quantity {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let milli = milli(text).ok_or_else(|| ValueError::new(text, ALLOWED))?;
        Ok(Self {
            text: text.to_owned(),
            milli,
        })
    }
}

fn milli(text: &str) -> Option<u128> {
    let end = text
        .find(|symbol: char| !symbol.is_ascii_digit() && symbol != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0
        || whole.len() + fraction.len() > 18
        || fraction.contains('.')
    {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = divisor * 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    // Rounded up, as Kubernetes does with what is finer than it stores.
    Some(
        digits
            .checked_mul(multiplier)?
            .checked_mul(1000)?
            .div_ceil(divisor),
    )
}

fn scale(suffix: &str) -> Option<(u128, u128)> {
    const KI: u128 = 1 << 10;
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (10_u128.pow(6), 1),
        "G" => (10_u128.pow(9), 1),
        "T" => (10_u128.pow(12), 1),
        "P" => (10_u128.pow(15), 1),
        "E" => (10_u128.pow(18), 1),
        "Ki" => (KI, 1),
        "Mi" => (KI.pow(2), 1),
        "Gi" => (KI.pow(3), 1),
        "Ti" => (KI.pow(4), 1),
        "Pi" => (KI.pow(5), 1),
        "Ei" => (KI.pow(6), 1),
        _ => {
            let exponent: i32 = suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|e| (-9..=18).contains(e))?;
            let power = 10_u128.pow(exponent.unsigned_abs());
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl TryFrom<Written> for Quantity {
    type Error = ValueError;

    fn try_from(written: Written) -> Result<Self, ValueError> {
        match written {
            Written::Whole(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> Self {
        quantity.text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values() {
        for (text, milli) in [
            ("100m", 100),
            ("0.5", 500),
            ("2", 2000),
            (".5", 500),
            ("1e3", 1_000_000),
            ("1Ki", 1_024_000),
            ("1n", 1),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().milli, milli, "{text}");
        }
        let fits = |a: &str, b: &str| a.parse::<Quantity>().unwrap().fits_in(&b.parse().unwrap());
        assert!(
            fits("1000m", "1") && fits("1", "1000m") && fits("64M", "64Mi") && !fits("1Gi", "1G")
        );
    }

    #[test]
    fn mistakes() {
        for bad in [
            "",
            "m",
            "1x",
            "-1",
            "1.2.3",
            "1 Gi",
            "1e99",
            "100mi",
            "9999999999999999999",
            ".",
        ] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }
}
