//! One spelling for one path, before anything is decided by it: dot segments are resolved, letters
//! that need no escape lose it, and a backslash is a slash (Envoy's `normalize_path`, Istio's BASE).
//! Routes, the application and the next hop see the same. `//`, `%2F` and `;` are left as they came:
//! to some applications they mean something.

use http::uri::PathAndQuery;

/// Why a path has no spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its path has a NUL byte")]
pub struct NotAPath;

/// The path as it should be spelled; `None`: as it is.
///
/// # Errors
/// When it hides a NUL.
pub fn normal(path: &PathAndQuery) -> Result<Option<PathAndQuery>, NotAPath> {
    let spelled = path.path();
    if memchr::memchr3(b'%', b'\\', b'.', spelled.as_bytes()).is_none() || spelled == "*" {
        return Ok(None);
    }
    let plain = unescaped(spelled.as_bytes())?;
    let resolved = without_dots(&plain);
    if resolved == spelled.as_bytes() {
        return Ok(None);
    }
    let mut whole = resolved;
    if let Some(query) = path.query() {
        whole.push(b'?');
        whole.extend_from_slice(query.as_bytes());
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(whole))
        .map(Some)
        .map_err(|_| NotAPath)
}

/// Without escapes of what needs none, and with slashes only.
fn unescaped(path: &[u8]) -> Result<Vec<u8>, NotAPath> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, more @ ..] = rest {
        rest = more;
        match (first, more) {
            (b'\\', _) => plain.push(b'/'),
            (b'%', [high, low, behind @ ..]) => match hex(*high, *low) {
                Some(0) => return Err(NotAPath),
                Some(byte) if is_unreserved(byte) => {
                    plain.push(byte);
                    rest = behind;
                }
                _ => plain.push(b'%'),
            },
            (other, _) => plain.push(*other),
        }
    }
    Ok(plain)
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            other => kept.push(other),
        }
    }
    let mut resolved = Vec::with_capacity(path.len());
    for segment in kept {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    if resolved.is_empty() {
        resolved.push(b'/');
    }
    resolved
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn normalised(path: &str) -> String {
        let path: PathAndQuery = path.parse().unwrap();
        normal(&path).unwrap().unwrap_or(path).to_string()
    }

    #[test]
    fn one_path_has_one_spelling() {
        for (came, goes) in [
            ("/", "/"),
            ("/a/b.html?x=../y", "/a/b.html?x=../y"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/%2e%2E/admin", "/admin"),
            ("/public/%2e%2e/admin?q=%2e", "/admin?q=%2e"),
            ("/%61dmin", "/admin"),
            ("/a\\..\\b", "/b"),
            ("/a%5c..%5cb", "/a%5c..%5cb"),
            ("/a%2Fb", "/a%2Fb"),
            ("//a//b", "//a//b"),
            ("/a;x=1/../b", "/b"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/100%", "/100%"),
            ("/%zz", "/%zz"),
            ("/%252e%252e/a", "/%252e%252e/a"),
        ] {
            assert_eq!(normalised(came), goes, "{came}");
        }
        assert_eq!(normal(&"/a%00".parse().unwrap()), Err(NotAPath));
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_and_has_no_dot_segments(path in "(/(\\.|%2[eE]|%41|a|\\\\|;|%2f){0,4}){1,6}") {
            let once = normalised(&path);
            prop_assert_eq!(normalised(&once), once.clone());
            prop_assert!(once.starts_with('/'));
            prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{}", once);
        }
    }
}
