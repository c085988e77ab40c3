//! Durations as Istio writes them: "1.5s", "100ms", "1m30s". At least a millisecond, and no sign.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A duration of whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// In milliseconds.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Reads; None when it is not a duration.
    pub fn parse(text: &str) -> Option<Self> {
        // In nanoseconds; the longest unit first among those that share a beginning.
        const UNITS: [(&str, f64); 6] = [
            ("ns", 1.0),
            ("us", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 60e9),
            ("h", 3600e9),
        ];
        // Ten years, in nanoseconds: beyond this a duration is a mistake.
        const LONGEST: f64 = 315_360_000e9;
        let mut rest = text;
        let mut total = 0.0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..end].parse().ok()?;
            rest = &rest[end..];
            let (unit, scale) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
            total += number * scale;
            rest = &rest[unit.len()..];
        }
        let fits = !text.is_empty() && total <= LONGEST;
        fits.then(|| Self(Duration::from_millis((total / 1e6).round() as u64)))
    }

    /// What is to be written for a number whose unit is missing, or is a word, with spaces or not: whole
    /// numbers, which every API takes. None: no such number.
    pub(crate) fn meant(text: &str) -> Option<String> {
        let text = text.trim().to_lowercase();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let (unit, millis) = match unit.trim() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => ("s", 1e3),
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => ("ms", 1.0),
            "m" | "min" | "mins" | "minute" | "minutes" => ("m", 60e3),
            "h" | "hr" | "hrs" | "hour" | "hours" => ("h", 3600e3),
            _ => return None,
        };
        if let Ok(whole) = number.parse::<u32>() {
            return Some(format!("{whole}{unit}"));
        }
        let number: f64 = number.parse().ok()?;
        Some(format!("{:.0}ms", number * millis))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;

        impl de::Visitor<'_> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `2s`, `1.5s` or `100ms`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text)
                    .ok_or_else(|| de::Error::invalid_type(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(SpanVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_its_unit_gets_one() {
        for (text, meant) in [
            ("5", Some("5s")),
            ("1.5", Some("1500ms")),
            ("5 seconds", Some("5s")),
            ("500 ms", Some("500ms")),
            ("2Min", Some("2m")),
            ("1.5h", Some("5400000ms")),
            ("soon", None),
            ("", None),
            (".", None),
            ("-5", None),
            ("5d", None),
        ] {
            let found = Span::meant(text);
            assert_eq!(found.as_deref(), meant, "{text}");
            assert!(found.is_none_or(|text| Span::parse(&text).is_some()));
        }
    }

    #[test]
    fn units_add_up_and_nonsense_is_refused() {
        for (text, millis) in [
            ("2s", Some(2000)),
            ("1.5s", Some(1500)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("500us", Some(1)),
            ("", None),
            ("5", None),
            ("-1s", None),
            ("s", None),
            ("1x", None),
            ("..s", None),
            ("99999999999999999h", None),
        ] {
            assert_eq!(Span::parse(text).map(Span::millis), millis, "{text}");
        }
    }
}
