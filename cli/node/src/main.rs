//! `heddle container-init` by itself: what this crate's own tests start containers with.

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_node::intercept().unwrap_or_else(|| {
        eprintln!("heddle-container-init start|enter: see `heddle exec`");
        ExitCode::from(2)
    })
}
