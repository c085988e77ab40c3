//! Writing: create, update, the patches, delete. Each reads, changes, asks the webhooks and commits; who
//! comes second with a version that has passed is told of the conflict.

use serde_json::{Value, json};

use crate::{
    admission::{self, Operation},
    answer::Refused,
    apply::{self, Manager},
    crd, defaults, event,
    kinds::Kind,
    metadata::{self, now},
    read::in_version,
    request::Asked,
    server::Server,
    users::User,
};

/// How often the server tries again by itself, as the real one does, when a patch without a version races.
const ATTEMPTS: usize = 5;

/// What a write answers.
pub(crate) struct Written {
    pub(crate) code: u16,
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

/// One request to write.
pub(crate) struct Writing<'a> {
    pub(crate) server: &'a Server,
    pub(crate) kind: &'a Kind,
    pub(crate) asked: &'a Asked,
    pub(crate) user: &'a User,
    pub(crate) manager: Manager,
}

impl Writing<'_> {
    fn resource(&self) -> String {
        self.kind.resource()
    }

    pub(crate) async fn create(&self, body: Value) -> Result<Written, Refused> {
        let asked = self.asked;
        let namespace = asked.namespace.as_str();
        if self.kind.namespaced {
            let found = self
                .server
                .store
                .get("namespaces", &(String::new(), namespace.to_owned()));
            match found {
                None => return Err(Refused::not_found("namespaces", namespace)),
                Some(found) if !found["metadata"]["deletionTimestamp"].is_null() => {
                    let message = format!(
                        "unable to create new content in namespace {namespace} because it is being terminated"
                    );
                    return Err(Refused::new(403, "Forbidden", message));
                }
                Some(_) => {}
            }
        }
        let (name, mut object) = metadata::prepare(self.kind, &asked.version, namespace, body)?;
        defaults::fill(self.kind, &mut object, &self.server.store.lock());
        apply::take_over(None, &mut object, &self.manager);
        self.make(name, object).await
    }

    async fn make(&self, name: (String, String), object: Value) -> Result<Written, Refused> {
        let exists = || Refused::already_exists(&self.resource(), &name.1);
        if self
            .server
            .store
            .get(&self.asked.of_kind(), &name)
            .is_some()
        {
            return Err(exists());
        }
        let (object, warnings) =
            admission::admit(self, Operation::Create, Some(object), None).await?;
        let object = object.unwrap_or_default();
        crd::check(self.kind, &object)
            .and_then(|()| event::check(self.kind, &object))
            .map_err(|problem| Refused::invalid(&self.resource(), &name.1, &problem))?;
        if self.asked.is_dry_run() {
            return Ok(self.written(201, &object, warnings));
        }
        let made = self
            .server
            .store
            .commit(&self.asked.of_kind(), &name, None, Some(object));
        let made = made.map_err(|_| exists())?;
        crd::refresh(self.server, self.kind);
        Ok(self.written(201, &made, warnings))
    }

    fn written(&self, code: u16, object: &Value, warnings: Vec<String>) -> Written {
        Written {
            code,
            object: in_version(self.kind, &self.asked.version, object),
            warnings,
        }
    }

    /// `change` makes the new object of the one that is there.
    async fn change(
        &self,
        change: impl Fn(&Value) -> Result<Value, Refused>,
    ) -> Result<Written, Refused> {
        let asked = self.asked;
        if !matches!(asked.subresource.as_str(), "" | "status")
            || (asked.subresource == "status" && !self.kind.status)
        {
            return Err(Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        }
        let conflict = || Refused::conflict(&self.resource(), &asked.name);
        for _ in 0..ATTEMPTS {
            let stored = self.server.store.get(&asked.of_kind(), &asked.key());
            let stored = stored.ok_or_else(|| Refused::not_found(&self.resource(), &asked.name))?;
            let before = in_version(self.kind, &asked.version, &stored);
            let mut after = change(&before)?;
            metadata::identify(self.kind, &asked.version, &asked.namespace, &mut after)?;
            if after["metadata"]["name"] != before["metadata"]["name"] {
                return Err(Refused::bad_request(
                    "the name of the object does not match the name on the URL",
                ));
            }
            let version = after["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default();
            if !version.is_empty() && before["metadata"]["resourceVersion"] != version {
                return Err(conflict());
            }
            let uid = after["metadata"]["uid"].as_str().unwrap_or_default();
            if !uid.is_empty() && before["metadata"]["uid"] != uid {
                return Err(conflict());
            }
            let after = metadata::settle(self.kind, &asked.subresource, &before, after);
            let (after, warnings) =
                admission::admit(self, Operation::Update, Some(after), Some(&before)).await?;
            let mut after = metadata::settle(
                self.kind,
                &asked.subresource,
                &before,
                after.unwrap_or_default(),
            );
            crd::check(self.kind, &after)
                .map_err(|problem| Refused::invalid(&self.resource(), &asked.name, &problem))?;
            after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if asked.is_dry_run() || metadata::is_same(&before, &after) {
                return Ok(self.written(200, &after, warnings));
            }
            let released =
                !after["metadata"]["deletionTimestamp"].is_null() && has_no_finalizers(&after);
            let stays = (!released).then_some(after.clone());
            if let Ok(now) =
                self.server
                    .store
                    .commit(&asked.of_kind(), &asked.key(), Some(&stored), stays)
            {
                crd::refresh(self.server, self.kind);
                return Ok(self.written(200, &now, warnings));
            }
            if !version_of(&after).is_empty() && asked.verb == "update" {
                return Err(conflict());
            }
        }
        Err(conflict())
    }

    pub(crate) async fn update(&self, body: Value) -> Result<Written, Refused> {
        if !self.kind.built_in && version_of(&body).is_empty() {
            let problem =
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
            return Err(Refused::invalid(
                &self.resource(),
                &self.asked.name,
                problem,
            ));
        }
        let change = |before: &Value| {
            let mut after = body.clone();
            apply::take_over(Some(before), &mut after, &self.manager);
            Ok(after)
        };
        self.change(change).await
    }

    pub(crate) async fn merge_patch(&self, body: Value) -> Result<Written, Refused> {
        let change = |before: &Value| {
            let mut after = before.clone();
            json_patch::merge(&mut after, &body);
            apply::take_over(Some(before), &mut after, &self.manager);
            Ok(after)
        };
        self.change(change).await
    }

    pub(crate) async fn json_patch(&self, body: Value) -> Result<Written, Refused> {
        let patch: json_patch::Patch = serde_json::from_value(body)
            .map_err(|error| Refused::bad_request(format!("invalid JSON patch: {error}")))?;
        let change = |before: &Value| {
            let mut after = before.clone();
            json_patch::patch(&mut after, &patch).map_err(|error| {
                Refused::new(
                    422,
                    "Invalid",
                    format!("the server rejected our request: {error}"),
                )
            })?;
            apply::take_over(Some(before), &mut after, &self.manager);
            Ok(after)
        };
        self.change(change).await
    }

    pub(crate) async fn apply(&self, body: Value) -> Result<Written, Refused> {
        if self.manager.name.is_empty() {
            return Err(Refused::bad_request(
                "PatchOptions.meta.k8s.io: fieldManager: Required value: is required for apply patch",
            ));
        }
        if !body["metadata"]["managedFields"].is_null() {
            return Err(Refused::bad_request("metadata.managedFields must be nil"));
        }
        let force = self.asked.parameter("force") == "true";
        let mut body = body;
        metadata::identify(
            self.kind,
            &self.asked.version,
            &self.asked.namespace,
            &mut body,
        )?;
        let is_there = self
            .server
            .store
            .get(&self.asked.of_kind(), &self.asked.key())
            .is_some();
        if !is_there && self.asked.subresource.is_empty() {
            // Who may patch but not create may not do so by applying either.
            let create = Asked {
                verb: "create".into(),
                ..self.asked.clone()
            };
            self.server.may_also(self.user, &create)?;
            body["metadata"]["name"] = self.asked.name.clone().into();
            let made = apply::apply(None, &body, &self.manager, force)?;
            let owners = made["metadata"]["managedFields"].clone();
            let (name, mut object) =
                metadata::prepare(self.kind, &self.asked.version, &self.asked.namespace, made)?;
            object["metadata"]["managedFields"] = owners;
            defaults::fill(self.kind, &mut object, &self.server.store.lock());
            return self.make(name, object).await;
        }
        let change = |before: &Value| {
            let mut after = apply::apply(Some(before), &body, &self.manager, force)?;
            if let Some(version) = body["metadata"]["resourceVersion"].as_str() {
                after["metadata"]["resourceVersion"] = version.into();
            }
            Ok(after)
        };
        self.change(change).await
    }

    pub(crate) async fn delete(&self, options: Value) -> Result<Written, Refused> {
        let asked = self.asked;
        loop {
            let stored = self.server.store.get(&asked.of_kind(), &asked.key());
            let stored = stored.ok_or_else(|| Refused::not_found(&self.resource(), &asked.name))?;
            for field in ["uid", "resourceVersion"] {
                let wanted = &options["preconditions"][field];
                if !wanted.is_null() && stored["metadata"][field] != *wanted {
                    return Err(Refused::conflict(&self.resource(), &asked.name));
                }
            }
            let (_, warnings) =
                admission::admit(self, Operation::Delete, None, Some(&stored)).await?;
            let mut stays = None;
            if !has_no_finalizers(&stored) {
                let mut marked = (*stored).clone();
                if marked["metadata"]["deletionTimestamp"].is_null() {
                    marked["metadata"]["deletionTimestamp"] = now().into();
                    marked["metadata"]["deletionGracePeriodSeconds"] = 0.into();
                }
                stays = Some(marked);
            }
            let is_gone = stays.is_none();
            if !asked.is_dry_run() {
                let done =
                    self.server
                        .store
                        .commit(&asked.of_kind(), &asked.key(), Some(&stored), stays);
                let Ok(last) = done else { continue };
                crd::refresh(self.server, self.kind);
                if !is_gone {
                    return Ok(self.written(200, &last, warnings));
                }
            }
            let details = json!({"name": asked.name, "group": asked.group, "kind": asked.resource, "uid": stored["metadata"]["uid"]});
            let object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            return Ok(Written {
                code: 200,
                object,
                warnings,
            });
        }
    }
}

fn version_of(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}

fn has_no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_none_or(Vec::is_empty)
}
