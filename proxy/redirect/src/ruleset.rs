//! A set of rules as data: the chains that are ours, and the jumps to them from the built-in chains.
//! Turning what is there into what is wanted is one text for `iptables-restore --noflush`, made here and pure: it names
//! no chain that is not ours, and asks for nothing when nothing is to be done.

use std::fmt::Write;

use crate::saved::Saved;

/// The rules of one IP family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// One per iptables table, each with something in it.
    pub tables: Vec<Table>,
}

/// What is ours in one iptables table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `nat` or `raw`.
    pub name: String,
    /// Rules in built-in chains that lead to ours, as `iptables-save` writes them: `OUTPUT -j HEDDLE_OUTBOUND`.
    pub jumps: Vec<String>,
    /// Our chains.
    pub chains: Vec<Chain>,
}

/// One of our chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name, one of ours.
    pub name: String,
    /// Its rules in order, without the leading `-A NAME`.
    pub rules: Vec<String>,
}

impl Ruleset {
    /// Whether there is no rule and no chain.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// The input for `iptables-restore --noflush` that turns what is there into what is wanted; `None` when nothing of ours
/// is there and nothing is wanted.
///
/// A jump that is already as wanted is left where it is, among other people's rules.
pub(crate) fn transition(there: &Saved, wanted: &Ruleset) -> Option<String> {
    let ours = there.ours();
    let names = wanted
        .tables
        .iter()
        .chain(&ours.tables)
        .map(|table| table.name.as_str());
    let mut seen: Vec<&str> = Vec::new();
    let mut text = String::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
            write_table(&mut text, name, ours.table(name), wanted.table(name));
        }
    }
    (!text.is_empty()).then_some(text)
}

fn write_table(text: &mut String, name: &str, there: Option<&Table>, wanted: Option<&Table>) {
    let (old_jumps, old_chains) =
        there.map_or((&[][..], &[][..]), |table| (&table.jumps, &table.chains));
    let (new_jumps, new_chains) =
        wanted.map_or((&[][..], &[][..]), |table| (&table.jumps, &table.chains));
    let stale = || {
        old_chains
            .iter()
            .filter(|old| new_chains.iter().all(|new| new.name != old.name))
    };

    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{args}");
    };
    line(format_args!("*{name}"));
    // Declaring a chain makes it, or empties it when it is there.
    for chain in new_chains.iter().chain(stale()) {
        line(format_args!(":{} - [0:0]", chain.name));
    }
    if old_jumps != new_jumps {
        for jump in old_jumps {
            line(format_args!("-D {jump}"));
        }
        for jump in new_jumps {
            line(format_args!("-A {jump}"));
        }
    }
    for chain in new_chains {
        for rule in &chain.rules {
            line(format_args!("-A {} {rule}", chain.name));
        }
    }
    for chain in stale() {
        line(format_args!("-X {}", chain.name));
    }
    line(format_args!("COMMIT"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Ruleset {
        Ruleset {
            tables: vec![Table {
                name: "nat".into(),
                jumps: vec!["OUTPUT -j HEDDLE_OUTBOUND".into()],
                chains: vec![Chain {
                    name: "HEDDLE_OUTBOUND".into(),
                    rules: vec!["-p tcp -j RETURN".into()],
                }],
            }],
        }
    }

    #[test]
    fn on_an_empty_table_everything_is_added() {
        assert_eq!(
            transition(&Saved::default(), &wanted()).as_deref(),
            Some(
                "*nat\n:HEDDLE_OUTBOUND - [0:0]\n-A OUTPUT -j HEDDLE_OUTBOUND\n-A HEDDLE_OUTBOUND -p tcp -j RETURN\nCOMMIT\n"
            )
        );
    }

    #[test]
    fn a_right_jump_stays_in_its_place_and_the_chain_is_filled_anew() {
        let there = Saved::parse(
            "*nat\n:OUTPUT ACCEPT [0:0]\n:HEDDLE_OUTBOUND - [0:0]\n-A OUTPUT -j HEDDLE_OUTBOUND\n-A OUTPUT -j OTHER\nCOMMIT\n",
        );
        assert_eq!(
            transition(&there, &wanted()).as_deref(),
            Some("*nat\n:HEDDLE_OUTBOUND - [0:0]\n-A HEDDLE_OUTBOUND -p tcp -j RETURN\nCOMMIT\n")
        );
    }

    #[test]
    fn doubled_jumps_become_one() {
        let there = Saved::parse(
            "*nat\n:HEDDLE_OUTBOUND - [0:0]\n-A OUTPUT -j HEDDLE_OUTBOUND\n-A OUTPUT -j HEDDLE_OUTBOUND\nCOMMIT\n",
        );
        let text = transition(&there, &wanted()).unwrap_or_default();
        assert_eq!(text.matches("-D OUTPUT -j HEDDLE_OUTBOUND\n").count(), 2);
        assert_eq!(text.matches("-A OUTPUT -j HEDDLE_OUTBOUND\n").count(), 1);
    }

    #[test]
    fn what_is_no_longer_wanted_is_removed_and_nothing_else_is_named() {
        let there = Saved::parse(
            "*raw\n:HEDDLE_DNS - [0:0]\n:THEIRS - [0:0]\n-A OUTPUT -j THEIRS\n-A OUTPUT -j HEDDLE_DNS\n-A HEDDLE_DNS -j RETURN\nCOMMIT\n",
        );
        assert_eq!(
            transition(&there, &Ruleset::default()).as_deref(),
            Some("*raw\n:HEDDLE_DNS - [0:0]\n-D OUTPUT -j HEDDLE_DNS\n-X HEDDLE_DNS\nCOMMIT\n")
        );
    }

    #[test]
    fn nothing_there_and_nothing_wanted_is_nothing_to_do() {
        let there = Saved::parse(
            "*nat\n:OUTPUT ACCEPT [0:0]\n:THEIRS - [0:0]\n-A OUTPUT -j THEIRS\nCOMMIT\n",
        );
        assert_eq!(transition(&there, &Ruleset::default()), None);
    }
}
