//! `heddle explain`: what becomes of a request and why, as a numbered story with the user's own line
//! behind each step. It is decided by the tables that sidecars decide with, from the manifests given or
//! from those of the running mesh.

mod asked;
mod decide;
mod shares;
mod story;

use super::output::print;
use crate::api::Client;
use crate::args::Explain;
use crate::failure::{Failure, Outcome};
use crate::picture::{self, Picture};
use crate::terminal::Style;

use self::asked::Asked;

pub(crate) async fn run(client: &Client, explain: &Explain) -> Outcome {
    let asked = Asked::new(explain)?;
    let picture = if explain.files.is_empty() {
        running(client).await?
    } else {
        picture::of(&explain.files)?
    };
    let story = decide::decide(&picture.model, &asked)?;
    print(explain.output.format, &story, || {
        story.render(Style::stdout())
    })
}

/// The running mesh as its control plane reads it.
async fn running(client: &Client) -> Outcome<Picture> {
    let status = client.status().await?;
    let state = std::path::Path::new(&status.state_dir);
    let watched = status.paths.iter().map(std::path::PathBuf::from);
    // In the control plane's order: later ones win.
    let roots: Vec<_> = watched
        .chain(["applied", "cluster"].map(|name| state.join(name)))
        .filter(|root| root.exists())
        .collect();
    let domain = status.trust_domain.parse();
    let domain = domain.map_err(|error| Failure::new("the mesh's trust domain").because(&error))?;
    picture::of_roots(&roots, domain).map_err(|error| {
        Failure::new(format!("cannot read what mesh {} was told", status.mesh)).because(&error)
    })
}
