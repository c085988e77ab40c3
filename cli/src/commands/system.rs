//! `heddle system`: stop, start or restart a part of the mesh itself, or rotate its root.

use super::output;
use crate::api::Client;
use crate::args::{Component, SystemAction};
use crate::failure::Outcome;

pub(crate) async fn run(
    client: &Client,
    action: SystemAction,
    component: Option<Component>,
) -> Outcome {
    let action = match action {
        SystemAction::Stop => "stop",
        SystemAction::Start => "start",
        SystemAction::Restart => "restart",
        SystemAction::RotateRoot => "rotate-root",
        SystemAction::DropRoot => "drop-root",
    };
    // Roots are the identity service's; the other actions cannot be parsed without a component.
    let component = component.unwrap_or(Component::Identity).as_str();
    let change = client.system(action, component).await?;
    output::write(&format!("{component} {}\n", change.outcome))
}
