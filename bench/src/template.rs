//! Puts values into the files of envoy/, mesh/ and app/. A name without a value is an error in
//! this program, found by its tests.

/// Replaces every `${NAME}`.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_where_their_names_are() {
        let filled = fill("a ${X} b ${Y} ${X}", &[("X", "1"), ("Y", "2")]);
        assert_eq!(filled, "a 1 b 2 1");
    }
}
