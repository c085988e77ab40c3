//! How many values a JSON text has, counted before it is read. An object of a few bytes takes some hundred
//! once it is read: whoever can reach a webhook could have a body of the allowed size take all memory.

/// One for each that begins or follows another; nothing inside of texts counts.
#[must_use]
pub fn values(json: &[u8]) -> u32 {
    let mut count = 1_u32;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' | b',' => count = count.saturating_add(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => _ = bytes.next(),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_texts_are_not_looked_into() {
        for (json, expected) in [
            ("", 1),
            ("1", 1),
            ("[]", 2),
            ("[1, 2, {\"a\": 3}]", 5),
            (r#""[1,2,\",{""#, 1),
            (r#"["\\", {}]"#, 4),
            ("\"never ends [[[", 1),
        ] {
            assert_eq!(values(json.as_bytes()), expected, "{json}");
        }
    }
}
