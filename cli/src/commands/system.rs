//! `heddle system`: stop, start or restart a part of the mesh itself.

use super::output;
use crate::api::Client;
use crate::args::{Component, SystemAction};
use crate::failure::Outcome;

pub(crate) async fn run(client: &Client, action: SystemAction, component: Component) -> Outcome {
    let action = match action {
        SystemAction::Stop => "stop",
        SystemAction::Start => "start",
        SystemAction::Restart => "restart",
    };
    let change = client.system(action, component.as_str()).await?;
    output::write(&format!("{} {}\n", component.as_str(), change.outcome))
}
