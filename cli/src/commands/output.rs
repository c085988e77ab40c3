//! The forms of an answer: JSON and YAML of the API's own types, and the pieces that tables share.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::manifests::Problem;
use crate::terminal::{Style, safe};

/// Prints `value`, for people by `table`.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> Outcome {
    let text = match format {
        Format::Table => safe(&table()),
        Format::Json => json(value)? + "\n",
        Format::Yaml => yaml(value)?,
    };
    write(&text)
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no error.
pub(crate) fn write(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new("cannot write to standard output").because(&error)),
        Ok(()) => Ok(()),
    }
}

fn json<T: Serialize>(value: &T) -> Outcome<String> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::error(&error))
}

/// YAML by way of JSON, so that both have the same names.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Outcome<String> {
    let value = serde_json::to_value(value).map_err(|error| Failure::error(&error))?;
    let text = serde_saphyr::to_string(&value).map_err(|error| Failure::error(&error))?;
    Ok(if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    })
}

/// Refused things, each with its place, its reason and what to do.
pub(crate) fn problems(problems: &[Problem], style: Style) -> String {
    let mut out = String::new();
    for problem in problems {
        let place = near(&problem.place());
        out.push_str(&format!(
            "  {}  {}\n",
            style.bold(&problem.subject()),
            style.dim(&place)
        ));
        out.push_str(&format!("    {}\n", problem.reason));
        if !problem.consequence.is_empty() {
            let follows = style.dim(&problem.consequence);
            out.push_str(&format!("    {follows}\n"));
        }
        if !problem.suggestion.is_empty() {
            out.push_str(&format!(
                "    {} {}\n",
                style.cyan("try:"),
                problem.suggestion
            ));
        }
    }
    safe(&out)
}

/// A path as seen from the current directory, where it lies below.
pub(crate) fn near(path: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match Path::new(path).strip_prefix(&here) {
        Ok(below) if !here.as_os_str().is_empty() && here != Path::new("/") => {
            below.display().to_string()
        }
        _ => path.to_owned(),
    }
}

/// `23h59m`, `4m12s`: two units at most.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        i64::MIN..0 => "expired".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Seconds from now until a time in RFC 3339.
pub(crate) fn seconds_until(rfc3339: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(rfc3339, &Rfc3339).ok()?;
    Some((at - OffsetDateTime::from(SystemTime::now())).whole_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!(
            [5, 65, 86_399, 200_000, -1].map(span),
            ["5s", "1m05s", "23h59m", "2d07h", "expired"]
        );
    }
}
