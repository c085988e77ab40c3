//! RE2's syntax in the engine's words, where the two read the same text differently.

/// Rewrites RE2 syntax into the engine's. It must also see that parentheses balance, because the
/// result is put between a pair of them.
pub(super) fn translate(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut depth = 0_usize;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' if after.starts_with('Q') => {
                let (literal, after) = after[1..].split_once(r"\E").unwrap_or((&after[1..], ""));
                out.push_str(&regex::escape(literal));
                after
            }
            '\\' => escape(after, &mut out)?,
            '[' => class(after, &mut out)?,
            _ => {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.checked_sub(1).ok_or("unopened group")?,
                    _ => {}
                }
                out.push(c);
                after
            }
        };
    }
    if depth == 0 {
        Ok(out)
    } else {
        Err("unclosed group")
    }
}

/// Copies an escape, the backslash of which has been read; gives what follows it.
fn escape<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    let escaped = rest.chars().next().ok_or("a backslash ends it")?;
    out.push('\\');
    out.push(escaped);
    Ok(&rest[escaped.len_utf8()..])
}

/// Copies a bracketed class, the `[` of which has been read; gives what follows it.
fn class<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str(r"\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ']' => {
                out.push(']');
                return Ok(after);
            }
            '\\' => escape(after, out)?,
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").map_or(after.len(), |at| at + 2);
                out.push('[');
                out.push_str(&after[..end]);
                &after[end..]
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                after
            }
            '-' if after.starts_with('-') => {
                return Err(r"`--` in a class is ambiguous: write `\-`");
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    Err("unclosed character class")
}
