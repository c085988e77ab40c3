//! What an account may not follow of what the cluster serves: asked of the API server for somebody else
//! (SubjectAccessReview), so that a control plane that could not start anew is found before it has to.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use super::kinds::{VERBS, WANTED, Wanted, discover};

/// A kind that may not be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// As people name it.
    pub resource: String,
    /// The rule of a ClusterRole that would allow it.
    pub rule: String,
}

/// What a service account may not follow of all that we read and the cluster serves.
///
/// # Errors
/// When the server does not say, or whoever asks may not ask.
pub async fn forbidden(
    client: &Client,
    namespace: &str,
    account: &str,
) -> Result<Vec<Forbidden>, kube::Error> {
    let served = discover(client).await?;
    let mut found = Vec::new();
    for wanted in WANTED {
        if served.contains_key(&wanted.kind) && !may(client, wanted, namespace, account).await? {
            found.push(Forbidden {
                resource: wanted.full_name(),
                rule: wanted.rule(),
            });
        }
    }
    Ok(found)
}

async fn may(
    client: &Client,
    wanted: &Wanted,
    namespace: &str,
    account: &str,
) -> Result<bool, kube::Error> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    for verb in VERBS {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:{account}")),
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ]),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(wanted.group.to_owned()),
                    resource: Some(wanted.plural.to_owned()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            return Ok(false);
        }
    }
    Ok(true)
}
