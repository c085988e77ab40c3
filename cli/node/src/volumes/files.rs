//! What the files of a volume hold: keys of objects, tokens, facts about the pod.
//!
//! First the whole content is made, then the directory is brought to it; so a volume that cannot be
//! made leaves the files as they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume,
};

use crate::{
    NodeError,
    atomic::write_atomically,
    environment::{Facts, present},
    objects::Data,
    token::{Subject, Token, TokenMinter},
};

/// Kubernetes' default life of a projected token.
const TOKEN_LIFE: i64 = 3600;
const MODE: i32 = 0o644;

/// Where contents come from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) facts: Facts<'a>,
    pub(crate) tokens: &'a TokenMinter,
}

/// Content and mode of each file, by path below the volume.
pub(super) type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// Makes the content of one volume.
pub(super) struct Render<'a> {
    source: &'a Source<'a>,
    tokens: &'a mut BTreeMap<(String, String), Token>,
    volume: &'a str,
    files: Files,
}

impl<'a> Render<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        tokens: &'a mut BTreeMap<(String, String), Token>,
        volume: &'a str,
    ) -> Self {
        Self {
            source,
            tokens,
            volume,
            files: Files::new(),
        }
    }

    pub(super) fn volume(&mut self, volume: &Volume) -> Result<Files, NodeError> {
        if let Some(map) = &volume.config_map {
            let mode = map.default_mode.unwrap_or(MODE);
            self.config_map(&map.name, map.items.as_deref(), map.optional, mode)?;
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let mode = secret.default_mode.unwrap_or(MODE);
            self.secret(name, secret.items.as_deref(), secret.optional, mode)?;
        } else if let Some(downward) = &volume.downward_api {
            let mode = downward.default_mode.unwrap_or(MODE);
            self.downward(downward.items.as_deref(), mode)?;
        } else if let Some(projected) = &volume.projected {
            let mode = projected.default_mode.unwrap_or(MODE);
            for source in projected.sources.iter().flatten() {
                if let Some(map) = &source.config_map {
                    self.config_map(&map.name, map.items.as_deref(), map.optional, mode)?;
                } else if let Some(secret) = &source.secret {
                    self.secret(&secret.name, secret.items.as_deref(), secret.optional, mode)?;
                } else if let Some(downward) = &source.downward_api {
                    self.downward(downward.items.as_deref(), mode)?;
                } else if let Some(token) = &source.service_account_token {
                    self.token(token, mode)?;
                } else {
                    let reason = "only configMap, secret, downwardAPI and serviceAccountToken are \
                                  known here";
                    return Err(NodeError::spec("a projected source", reason));
                }
            }
        }
        Ok(std::mem::take(&mut self.files))
    }

    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), NodeError> {
        let facts = &self.source.facts;
        let data = facts.objects.config_map(facts.namespace, name);
        self.keys(
            present(data, "ConfigMap", name, optional)?,
            items,
            name,
            optional,
            mode,
        )
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), NodeError> {
        let facts = &self.source.facts;
        let data = facts.objects.secret(facts.namespace, name);
        self.keys(
            present(data, "Secret", name, optional)?,
            items,
            name,
            optional,
            mode,
        )
    }

    fn keys(
        &mut self,
        data: Option<&Data>,
        items: Option<&[KeyToPath]>,
        name: &str,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), NodeError> {
        let Some(data) = data else { return Ok(()) };
        let Some(items) = items else {
            for (key, value) in data {
                self.put(key, value.clone(), mode)?;
            }
            return Ok(());
        };
        for item in items {
            match data.get(&item.key) {
                Some(value) => {
                    self.put(&item.path, value.clone(), item.mode.unwrap_or(mode))?;
                }
                None if optional == Some(true) => {}
                None => return Err(NodeError::spec(name, format!("has no key `{}`", item.key))),
            }
        }
        Ok(())
    }

    fn downward(
        &mut self,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: i32,
    ) -> Result<(), NodeError> {
        for item in items.into_iter().flatten() {
            let Some(field) = &item.field_ref else {
                return Err(NodeError::spec(&item.path, "only fieldRef is known here"));
            };
            let value = self.source.facts.field(&field.field_path)?;
            self.put(&item.path, value.into_bytes(), item.mode.unwrap_or(mode))?;
        }
        Ok(())
    }

    fn token(
        &mut self,
        projection: &ServiceAccountTokenProjection,
        mode: i32,
    ) -> Result<(), NodeError> {
        let facts = &self.source.facts;
        let key = (self.volume.to_owned(), projection.path.clone());
        let fresh = self
            .tokens
            .get(&key)
            .filter(|token| token.refresh_at > SystemTime::now());
        let text = match fresh {
            Some(token) => token.text.clone(),
            None => {
                let subject = Subject {
                    namespace: facts.namespace.to_owned(),
                    service_account: facts.service_account().to_owned(),
                    pod: Some((facts.name.to_owned(), facts.uid.to_owned())),
                };
                let audience = projection
                    .audience
                    .as_deref()
                    .unwrap_or(self.source.tokens.issuer());
                let seconds = projection.expiration_seconds.unwrap_or(TOKEN_LIFE);
                let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                let token = self.source.tokens.mint(&subject, audience, life)?;
                let text = token.text.clone();
                self.tokens.insert(key, token);
                text
            }
        };
        self.put(&projection.path, text.into_bytes(), mode)
    }

    /// A path that leaves the volume is refused.
    fn put(&mut self, path: &str, content: Vec<u8>, mode: i32) -> Result<(), NodeError> {
        let path = PathBuf::from(path);
        let inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || path.as_os_str().is_empty() {
            let reason = "must be a relative path without `..`";
            return Err(NodeError::spec(format!("path {}", path.display()), reason));
        }
        let mode = u32::try_from(mode).unwrap_or(0o644) & 0o777;
        self.files.insert(path, (content, mode));
        Ok(())
    }
}

/// Writes what differs and removes what is not there any more.
pub(super) fn synchronise(dir: &Path, files: &Files, group: Option<u32>) -> Result<(), NodeError> {
    for (path, (content, mode)) in files {
        let path = dir.join(path);
        if fs::read(&path).is_ok_and(|there| there == *content) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(NodeError::file("make", parent))?;
        }
        // A group that owns the volume may read all of it, as in Kubernetes.
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        write_atomically(&path, content, mode, group).map_err(NodeError::file("write", &path))?;
    }
    let kept: BTreeSet<PathBuf> = files.keys().map(|path| dir.join(path)).collect();
    remove_others(dir, &kept)
}

fn remove_others(dir: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), NodeError> {
    for entry in fs::read_dir(dir)
        .map_err(NodeError::file("list", dir))?
        .flatten()
    {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_others(&path, kept)?;
            // Fails, rightly, while it has files.
            let _ = fs::remove_dir(&path);
        } else if !kept.contains(&path) {
            fs::remove_file(&path).map_err(NodeError::file("remove", path))?;
        }
    }
    Ok(())
}
