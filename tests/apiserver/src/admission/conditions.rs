//! `matchConditions` of webhooks: CEL over the object and the one before. One that is false lets the object
//! pass unasked, whatever the others say; one that cannot be evaluated is what `failurePolicy` is for.

use cel::{Context, Program, Value as Cel};
use serde_json::Value;

pub(super) fn are_met(
    webhook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<bool, String> {
    let conditions = webhook["matchConditions"].as_array();
    let mut failed = None;
    for condition in conditions.into_iter().flatten() {
        match is_met(condition, object, old) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(true), Err)
}

fn is_met(condition: &Value, object: Option<&Value>, old: Option<&Value>) -> Result<bool, String> {
    let name = condition["name"].as_str().unwrap_or_default();
    let failed = |error: String| format!("matchConditions {name:?}: {error}");
    let expression = condition["expression"].as_str().unwrap_or_default();
    let program = Program::compile(expression).map_err(|error| failed(error.to_string()))?;
    let mut context = Context::default();
    for (name, value) in [("object", object), ("oldObject", old)] {
        let value = value.unwrap_or(&Value::Null);
        let added = context.add_variable(name, value);
        added.map_err(|error| failed(error.to_string()))?;
    }
    match program.execute(&context) {
        Ok(Cel::Bool(met)) => Ok(met),
        Ok(other) => Err(failed(format!("{other:?} is not a bool"))),
        Err(error) => Err(failed(error.to_string())),
    }
}
