//! Requests and limits of the sidecar. Each of the four values is overridden alone: setting one
//! annotation never drops the other defaults; but a limit that nobody named for the pod follows a request
//! above it. Of what the pod has as a whole (its own `resources`) the
//! sidecar takes part without a default of its own, which Kubernetes would count against it and refuse.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Annotations, Quantity, keys};
use crate::error::InjectError;

/// What a sidecar asks for and may use. A value that is `null` is not set on the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ProxyResources {
    /// CPU request. Default: `10m`.
    pub cpu: Option<Quantity>,
    /// Memory request. Default: `32Mi`.
    pub memory: Option<Quantity>,
    /// CPU limit. Default: `2`.
    pub cpu_limit: Option<Quantity>,
    /// Memory limit. Default: `256Mi`.
    pub memory_limit: Option<Quantity>,
}

impl Default for ProxyResources {
    fn default() -> Self {
        let quantity = |text: &str| text.parse().ok();
        Self {
            cpu: quantity("10m"),
            memory: quantity("32Mi"),
            cpu_limit: quantity("2"),
            memory_limit: quantity("256Mi"),
        }
    }
}

impl ProxyResources {
    pub(super) fn read(
        annotations: &mut Annotations<'_>,
        defaults: &Self,
    ) -> Result<Self, InjectError> {
        let mut amounts = |request_key,
                           limit_key,
                           resource,
                           request: &Option<Quantity>,
                           limit: &Option<Quantity>| {
            let shared = annotations.pod.has_resource(resource);
            let unless_shared = |default: &Option<Quantity>| default.clone().filter(|_| !shared);
            let named: Option<Quantity> = annotations.parsed(request_key)?;
            let limit = annotations.parsed(limit_key)?.or_else(|| {
                let default = unless_shared(limit)?;
                let above = named.clone().filter(|request| !request.fits_in(&default));
                Some(above.unwrap_or(default))
            });
            Ok::<_, InjectError>((named.or_else(|| unless_shared(request)), limit))
        };
        let (cpu, cpu_limit) = amounts(
            &keys::PROXY_CPU,
            &keys::PROXY_CPU_LIMIT,
            "cpu",
            &defaults.cpu,
            &defaults.cpu_limit,
        )?;
        let (memory, memory_limit) = amounts(
            &keys::PROXY_MEMORY,
            &keys::PROXY_MEMORY_LIMIT,
            "memory",
            &defaults.memory,
            &defaults.memory_limit,
        )?;
        let read = Self {
            cpu,
            memory,
            cpu_limit,
            memory_limit,
        };
        let pairs = [
            (
                &keys::PROXY_CPU,
                &read.cpu,
                &keys::PROXY_CPU_LIMIT,
                &read.cpu_limit,
            ),
            (
                &keys::PROXY_MEMORY,
                &read.memory,
                &keys::PROXY_MEMORY_LIMIT,
                &read.memory_limit,
            ),
        ];
        for (request_key, request, limit_key, limit) in pairs {
            let (Some(request), Some(limit)) = (request, limit) else {
                continue;
            };
            if request.fits_in(limit) {
                continue;
            }
            // Kubernetes would refuse the pod with the container's name and no word of the annotation.
            let ours = |key: &keys::Key| key.spellings().next().unwrap_or_default();
            return Err(
                match (annotations.find(request_key), annotations.find(limit_key)) {
                    (Some(found), _) => found.refused(format!(
                        "at most the limit {limit}, which annotation {} can raise",
                        ours(limit_key)
                    )),
                    (None, Some(found)) => found.refused(format!(
                        "at least the request {request}, which annotation {} can lower",
                        ours(request_key)
                    )),
                    (None, None) => InjectError::Shape {
                        path: "resources".into(),
                        reason: format!(
                            "the injector's own request {request} is above its limit {limit}"
                        ),
                    },
                },
            );
        }
        Ok(read)
    }

    /// A request above its limit, if there is one.
    pub(crate) fn contradiction(&self) -> Option<(&Quantity, &Quantity)> {
        [
            (&self.cpu, &self.cpu_limit),
            (&self.memory, &self.memory_limit),
        ]
        .into_iter()
        .filter_map(|(request, limit)| Some((request.as_ref()?, limit.as_ref()?)))
        .find(|(request, limit)| !request.fits_in(limit))
    }

    /// The container's `resources`, or nothing when none is set.
    pub(crate) fn to_value(&self) -> Option<Value> {
        let amounts = |cpu: &Option<Quantity>, memory: &Option<Quantity>| {
            let mut amounts = Map::new();
            for (name, amount) in [("cpu", cpu), ("memory", memory)] {
                if let Some(amount) = amount {
                    amounts.insert(name.into(), json!(amount.to_string()));
                }
            }
            (!amounts.is_empty()).then_some(Value::Object(amounts))
        };
        let mut resources = Map::new();
        if let Some(requests) = amounts(&self.cpu, &self.memory) {
            resources.insert("requests".into(), requests);
        }
        if let Some(limits) = amounts(&self.cpu_limit, &self.memory_limit) {
            resources.insert("limits".into(), limits);
        }
        (!resources.is_empty()).then_some(Value::Object(resources))
    }
}
