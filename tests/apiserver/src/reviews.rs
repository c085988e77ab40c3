//! Kinds that only answer: TokenReview, SubjectAccessReview, SelfSubjectAccessReview, and the
//! TokenRequest of a service account.

use serde_json::{Value, json};

use crate::{
    answer::Refused,
    metadata::now,
    request::Asked,
    server::Server,
    users::{API_AUDIENCE, User, may},
};

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The review with its status.
pub(crate) fn review(
    server: &Server,
    asked: &Asked,
    user: &User,
    mut body: Value,
) -> Result<Value, Refused> {
    body["status"] = match asked.resource.as_str() {
        "tokenreviews" => token_review(server, &body["spec"]),
        "selfsubjectaccessreviews" => access(server, user, &body["spec"]),
        _ => {
            let spec = &body["spec"];
            let user = User {
                groups: strings(&spec["groups"])
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                ..User::new(spec["user"].as_str().unwrap_or_default(), &[])
            };
            access(server, &user, spec)
        }
    };
    body["metadata"] = json!({"creationTimestamp": null});
    Ok(body)
}

fn token_review(server: &Server, spec: &Value) -> Value {
    let Some(user) = spec["token"]
        .as_str()
        .and_then(|token| server.tokens.user(token))
    else {
        return json!({"authenticated": false, "user": {}, "error": "[invalid bearer token]"});
    };
    let mut wanted = strings(&spec["audiences"]);
    if wanted.is_empty() {
        wanted.push(API_AUDIENCE);
    }
    let both: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|audience| user.audiences.iter().any(|a| a == audience))
        .collect();
    if both.is_empty() {
        let error = format!(
            "[token audiences {:?} is invalid for the target audiences {wanted:?}]",
            user.audiences
        );
        return json!({"authenticated": false, "user": {}, "error": error});
    }
    json!({"authenticated": true, "user": user.info(), "audiences": both})
}

fn access(server: &Server, user: &User, spec: &Value) -> Value {
    let of = |field: &str| {
        spec["resourceAttributes"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let asked = Asked {
        verb: of("verb"),
        group: of("group"),
        resource: of("resource"),
        subresource: of("subresource"),
        namespace: of("namespace"),
        name: of("name"),
        path: spec["nonResourceAttributes"]["path"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        ..Asked::default()
    };
    let allowed = !server.options.rbac || may(&server.store, user, &asked);
    json!({"allowed": allowed, "reason": if allowed { "" } else { "no role allows it" }})
}

/// `serviceaccounts/token`.
pub(crate) fn token_request(
    server: &Server,
    asked: &Asked,
    mut body: Value,
) -> Result<Value, Refused> {
    if server.store.get("serviceaccounts", &asked.key()).is_none() {
        return Err(Refused::not_found("serviceaccounts", &asked.name));
    }
    let mut audiences = strings(&body["spec"]["audiences"]);
    if audiences.is_empty() {
        audiences.push(API_AUDIENCE);
    }
    let name = format!("system:serviceaccount:{}:{}", asked.namespace, asked.name);
    let token = server.tokens.issue(User::new(&name, &audiences));
    body["status"] = json!({"token": token, "expirationTimestamp": now()});
    Ok(body)
}
