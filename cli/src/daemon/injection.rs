//! Passes every pod of a workload through the injector's one function, the same that the webhook
//! serves. On one machine pods are injected unless they or their namespace say no.

use heddle_injector::{
    Decision, DefaultInject, InjectConfig, NamespaceMeta, Owner, PodContext, inject,
};
use serde_json::Value;

use crate::cluster::PodTemplate;

/// A pod as it will run.
#[derive(Debug)]
pub(crate) struct Injected {
    pub(crate) pod: Value,
    /// Why it has no sidecar; `None` when it has one.
    pub(crate) skipped: Option<&'static str>,
    pub(crate) warnings: Vec<String>,
}

/// How this mesh injects.
pub(crate) fn config(
    control: &str,
    identity: &str,
    trust_domain: heddle_identity::TrustDomain,
    cert_ttl_seconds: u32,
) -> Result<InjectConfig, String> {
    Ok(InjectConfig {
        control_address: Some(
            control
                .parse()
                .map_err(|error| format!("{control}: {error}"))?,
        ),
        identity_address: Some(
            identity
                .parse()
                .map_err(|error| format!("{identity}: {error}"))?,
        ),
        trust_domain,
        cert_ttl_seconds,
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    })
}

/// Injects one pod; the error is the reason for people.
pub(crate) fn run(
    template: PodTemplate,
    namespace: Option<&Value>,
    config: &InjectConfig,
) -> Result<Injected, String> {
    let (kind, name) = template.owner;
    let context = PodContext {
        namespace: template.pod["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        namespace_meta: NamespaceMeta {
            labels: map(namespace, "labels"),
            annotations: map(namespace, "annotations"),
        },
        owner: Some(Owner { kind, name }),
    };
    match inject(&template.pod, &context, config).map_err(|error| error.to_string())? {
        Decision::Inject(injection) => Ok(Injected {
            pod: injection.pod,
            skipped: None,
            warnings: injection.warnings,
        }),
        Decision::Skip { reason } => Ok(Injected {
            pod: template.pod,
            skipped: Some(reason.as_str()),
            warnings: Vec::new(),
        }),
    }
}

fn map(object: Option<&Value>, name: &str) -> std::collections::BTreeMap<String, String> {
    let entries = object.and_then(|object| object["metadata"][name].as_object());
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
