//! Compiled HTTP routes: which rule a request takes, and which of its destinations.
//!
//! First match wins, exactly as the rules are listed; the `index` only skips rules that cannot
//! match, so that the work does not grow with their number. Names and patterns are parsed when a table is made, never on a request, and
//! finding a rule allocates nothing (a regex warms a cache on the first request of a thread).

mod condition;
mod explain;
mod host;
mod index;
mod matcher;
mod partial;
mod pattern;
mod re2;
mod rewrite;
mod spelling;
mod split;
mod stick;
mod table;
mod trie;

pub use explain::{Explained, Verdict};
pub use host::HostMatch;
pub(crate) use host::host_of;
pub use index::Work;
pub use matcher::{Field, FieldMatch, HttpMatch, QueryMatch};
pub use partial::{Known, Partly, Proven};
pub use pattern::StringMatch;
pub use re2::{MAX_REGEX_BYTES, Regex, RegexError};
pub use rewrite::{PathRewrite, RewriteError};
pub use spelling::{NotAPath, normal};
pub use split::Split;
pub use stick::{hash, stick};
pub use table::{HttpTable, MAX_MATCHES, MAX_REGEXES, TableError};
