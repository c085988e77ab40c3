//! Entry point.

mod node;

fn main() {}
