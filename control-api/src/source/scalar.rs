//! What a scalar without quotes is: as Kubernetes' own reader (sigs.k8s.io/yaml) has it, since that decides
//! what an object in a cluster is. It is YAML 1.1's for words and numbers (`yes` is a boolean, `0123` is
//! 83, `1_000` a thousand), without its numbers to the base of 60. Dates are text.

/// A scalar's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(&'a str),
}

/// Whole numbers below this are the same as floating-point numbers: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'a> Scalar<'a> {
    /// Of a text without quotes.
    pub fn plain(text: &'a str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                return Self::Bool(true);
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => return Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                return Self::Float(f64::INFINITY);
            }
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            _ => {}
        }
        let found = match text.as_bytes().first() {
            Some(b'0'..=b'9' | b'+' | b'-') => {
                let digits = text.replace('_', "");
                whole(&digits).or_else(|| float(&digits))
            }
            Some(b'.') => float(text),
            _ => None,
        };
        found.unwrap_or(Self::Text(text))
    }

    /// What a mapping's key of this value is called, if it is not called as it is written.
    pub fn key(text: &'a str) -> Option<String> {
        let name = match Self::plain(text) {
            Self::Null | Self::Text(_) => return None,
            Self::Bool(value) => value.to_string(),
            Self::Unsigned(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
        };
        (name != text).then_some(name)
    }
}

/// With the base that it begins with, as Go reads it: `0x`, `0o`, `0b`, and `0` for octal.
fn whole(text: &str) -> Option<Scalar<'static>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &*lower),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let number = u64::from_str_radix(digits, base).ok()?;
    match negative {
        false => Some(Scalar::Unsigned(number)),
        true => {
            let number = 0_i64.checked_sub_unsigned(number)?;
            Some(match u64::try_from(number) {
                Ok(zero) => Scalar::Unsigned(zero),
                Err(_) => Scalar::Signed(number),
            })
        }
    }
}

/// `1.5`, `.5`, `1.`, `1e3`. One that is whole is that whole number, as in JSON.
fn float(text: &str) -> Option<Scalar<'static>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (left, right) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = all(left)
        && all(right)
        && !(left.is_empty() && right.is_empty())
        && exponent.is_none_or(|exponent| {
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !digits.is_empty() && all(digits)
        });
    if !fits {
        return None;
    }
    let number: f64 = text
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())?;
    if number.fract() != 0.0 || number.abs() >= EXACT {
        return Some(Scalar::Float(number));
    }
    Some(match number < 0.0 {
        true => Scalar::Signed(number as i64),
        false => Scalar::Unsigned(number as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scalars, and what `kubectl` makes of them: JSON.
    #[test]
    fn scalars_are_what_kubernetes_reads() {
        for (text, json) in SCALARS {
            let read = match Scalar::plain(text) {
                Scalar::Null => "null".to_owned(),
                Scalar::Bool(value) => value.to_string(),
                Scalar::Unsigned(number) => number.to_string(),
                Scalar::Signed(number) => number.to_string(),
                Scalar::Float(number) => number.to_string(),
                Scalar::Text(text) => format!("{text:?}"),
            };
            assert_eq!(read, *json, "{text:?}");
        }
    }

    #[test]
    fn keys_are_called_as_their_values() {
        for (text, name) in [
            ("a", None),
            ("true", None),
            ("80", None),
            ("<<", None),
            ("~", None),
            ("on", Some("true")),
            ("N", Some("false")),
            ("0123", Some("83")),
            ("1_000", Some("1000")),
            ("1.50", Some("1.5")),
        ] {
            assert_eq!(Scalar::key(text).as_deref(), name, "{text}");
        }
    }

    const SCALARS: &[(&str, &str)] = &[
        ("", "null"),
        ("~", "null"),
        ("null", "null"),
        ("NULL", "null"),
        ("nULL", "\"nULL\""),
        ("true", "true"),
        ("TRUE", "true"),
        ("tRUE", "\"tRUE\""),
        ("yes", "true"),
        ("Yes", "true"),
        ("yEs", "\"yEs\""),
        ("y", "true"),
        ("on", "true"),
        ("On", "true"),
        ("no", "false"),
        ("N", "false"),
        ("off", "false"),
        ("OFF", "false"),
        ("None", "\"None\""),
        ("yes please", "\"yes please\""),
        ("0", "0"),
        ("-0", "0"),
        ("12", "12"),
        ("+12", "12"),
        ("-12", "-12"),
        ("0123", "83"),
        ("-0123", "-83"),
        ("0o14", "12"),
        ("089", "89"),
        ("0x1F", "31"),
        ("0X1f", "31"),
        ("-0x10", "-16"),
        ("0b11", "3"),
        ("0b12", "\"0b12\""),
        ("1_000", "1000"),
        ("1_", "1"),
        ("_1", "\"_1\""),
        ("1_0.5", "10.5"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("99999999999999999999", "100000000000000000000"),
        ("1.5", "1.5"),
        ("1.0", "1"),
        ("1.", "1"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1e999", "\"1e999\""),
        ("1.10", "1.1"),
        ("1.2.3", "\"1.2.3\""),
        (".", "\".\""),
        ("..", "\"..\""),
        ("-", "\"-\""),
        ("+", "\"+\""),
        (".inf", "inf"),
        ("-.INF", "-inf"),
        (".nan", "NaN"),
        ("inf", "\"inf\""),
        ("1:30", "\"1:30\""),
        ("2026-01-01", "\"2026-01-01\""),
        ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""),
        ("1s", "\"1s\""),
        ("10.0.0.1", "\"10.0.0.1\""),
        ("0x", "\"0x\""),
        ("0xg", "\"0xg\""),
        ("1-2", "\"1-2\""),
        ("=", "\"=\""),
        ("<<", "\"<<\""),
    ];
}
