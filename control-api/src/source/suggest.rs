//! "Did you mean": the nearest of the allowed names by edit distance (a swap of neighbours counts
//! once), offered only when it is near enough to be a slip of the fingers.

/// Longest name that is compared; what is longer is no typing mistake.
const MAX_LEN: usize = 64;

/// What to do with a template.
pub const RENDER: &str =
    "render it first; a chart of Helm with `helm template CHART | heddle check -f -`";

/// The first `{{ … }}` of a line, where it begins, with its braces: what a template's engine would replace.
/// YAML's own `{{` would be a mapping for a key.
pub fn placeholder(line: &str) -> Option<(usize, &str)> {
    let start = line.find("{{")?;
    let end = start + line[start..].find("}}")? + 2;
    Some((start, &line[start..end]))
}

/// The nearest of `allowed`, if near.
pub fn nearest<'a>(given: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > MAX_LEN {
        return None;
    }
    let lower = given.to_lowercase();
    let limit = (given.chars().count() / 3).clamp(1, 3);
    allowed
        .into_iter()
        .filter(|name| name.len() <= MAX_LEN)
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `x`?", or the list of what is allowed when nothing is near.
pub fn sentence(given: &str, allowed: &[&str]) -> String {
    match nearest(given, allowed.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if allowed.is_empty() => String::new(),
        None => {
            let mut names = allowed.to_vec();
            names.sort_unstable();
            format!("allowed here: {}", names.join(", "))
        }
    }
}

/// Optimal string alignment distance.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let allowed = ["weight", "destination", "headers", "match"];
        for (given, near) in [
            ("wieght", Some("weight")),
            ("Weight", Some("weight")),
            ("destinaton", Some("destination")),
            ("header", Some("headers")),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, allowed), near, "{given}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
