//! Whose a rule is: the text that the control plane sends, taken apart.

use serde::{Deserialize, Serialize};

/// `KIND/NAMESPACE/NAME#RULE (FILE:LINE)`, of which the tail may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// As the control plane sent it, which is what traces and logs show.
    pub text: String,
    /// `VirtualService` or the like.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Number or name of the rule in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// Where it is written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// On which line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
}

impl Origin {
    /// Takes the text apart; `None` when it is empty. What it does not have stays empty.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let (named, place) = match text.split_once(" (") {
            Some((named, place)) => (named, place.strip_suffix(')')),
            None => (text, None),
        };
        let (object, rule) = match named.split_once('#') {
            Some((object, rule)) => (object, Some(rule.to_owned())),
            None => (named, None),
        };
        let mut parts = object.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let (file, line) = match place.map(|place| place.rsplit_once(':')) {
            Some(Some((file, line))) => (Some(file.to_owned()), line.parse().ok()),
            _ => (place.map(str::to_owned), None),
        };
        Some(Self {
            kind: next(),
            namespace: next(),
            name: next(),
            rule,
            file,
            line,
            text: text.to_owned(),
        })
    }

    /// `KIND/NAMESPACE/NAME#RULE`.
    pub fn named(&self) -> &str {
        self.text.split(" (").next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_origin_is_taken_apart() {
        let whole = Origin::parse("VirtualService/default/web#2 (/etc/a b/web.yaml:12)").unwrap();
        assert_eq!(
            (&*whole.kind, &*whole.namespace, &*whole.name),
            ("VirtualService", "default", "web")
        );
        assert_eq!(whole.rule.as_deref(), Some("2"));
        assert_eq!(whole.file.as_deref(), Some("/etc/a b/web.yaml"));
        assert_eq!(whole.line, Some(12));
        assert_eq!(whole.named(), "VirtualService/default/web#2");
        let short = Origin::parse("HTTPRoute/shop/cart#checkout").unwrap();
        assert_eq!(
            (short.rule.as_deref(), short.file),
            (Some("checkout"), None)
        );
        assert_eq!(Origin::parse(""), None);
        assert_eq!(Origin::parse("odd").unwrap().kind, "odd");
    }
}
