//! A pod's volumes on this machine: one directory each, below the pod's own.
//!
//! Files made from objects are replaced one by one, atomically, when the object changes; tokens when
//! 80 % of their life is over. Memory volumes are mounts, bounded in size, taken away with the pod.

mod files;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Volume};
use nix::mount::{MsFlags, mount};

use self::files::Render;
use crate::{NodeError, destroy::unmount_below, environment::amount, token::Token};

pub(crate) use self::files::Source;

/// Kubernetes bounds a memory volume by the pod's memory limit; we do not measure that.
const MEMORY_VOLUME: u64 = 64 * 1024 * 1024;

/// The volumes of one pod.
#[derive(Debug)]
pub(crate) struct Volumes {
    dir: PathBuf,
    group: Option<u32>,
    sources: BTreeMap<String, PathBuf>,
    rendered: Vec<Volume>,
    tokens: BTreeMap<(String, String), Token>,
}

impl Volumes {
    /// Makes every volume; fails when an object is missing that is not optional.
    pub(crate) fn prepare(dir: &Path, source: &Source<'_>) -> Result<Self, NodeError> {
        let spec = source.facts.pod.spec.as_ref();
        let group = spec.and_then(|spec| spec.security_context.as_ref()?.fs_group);
        let mut volumes = Self {
            dir: dir.join("volumes"),
            group: group.and_then(|group| u32::try_from(group).ok()),
            sources: BTreeMap::new(),
            rendered: Vec::new(),
            tokens: BTreeMap::new(),
        };
        for volume in spec
            .into_iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let path = volumes.make(volume).map_err(|error| {
                NodeError::spec(format!("volume {}", volume.name), error.chain())
            })?;
            volumes.sources.insert(volume.name.clone(), path);
        }
        volumes.refresh(source)?;
        Ok(volumes)
    }

    /// Where a volume is on this machine.
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        self.sources.get(name).map(PathBuf::as_path)
    }

    /// Brings the files up to date; returns when the first token must be replaced.
    pub(crate) fn refresh(&mut self, source: &Source<'_>) -> Result<Option<SystemTime>, NodeError> {
        let group = self.group;
        for volume in &self.rendered {
            let Some(dir) = self.sources.get(&volume.name) else {
                continue;
            };
            let mut render = Render::new(source, &mut self.tokens, &volume.name);
            let files = render.volume(volume).map_err(|error| {
                NodeError::spec(format!("volume {}", volume.name), error.chain())
            })?;
            files::synchronise(dir, &files, group)?;
        }
        Ok(self.tokens.values().map(|token| token.refresh_at).min())
    }

    /// Takes everything away; may be repeated.
    pub(crate) fn remove(dir: &Path) -> Result<(), NodeError> {
        unmount_below(dir)?;
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(NodeError::file("remove", dir)(error))
            }
            _ => Ok(()),
        }
    }

    fn make(&mut self, volume: &Volume) -> Result<PathBuf, NodeError> {
        if let Some(host) = &volume.host_path {
            return host_path(host);
        }
        let path = self.dir.join(&volume.name);
        fs::create_dir_all(&path).map_err(NodeError::file("make", &path))?;
        if let Some(empty) = &volume.empty_dir {
            self.empty_dir(empty, &path)?;
        } else if volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
        {
            self.own(&path, 0o755)?;
            self.rendered.push(volume.clone());
        } else {
            let reason = "only emptyDir, configMap, secret, projected, downwardAPI and hostPath \
                          volumes are known here; use one of them on this machine";
            return Err(NodeError::spec("its kind", reason));
        }
        Ok(path)
    }

    fn empty_dir(&self, empty: &EmptyDirVolumeSource, path: &Path) -> Result<(), NodeError> {
        if empty.medium.as_deref() == Some("Memory") {
            let limit = empty
                .size_limit
                .as_ref()
                .and_then(amount)
                .filter(|size| *size >= 1.0);
            // Truncation of a byte count that fits 2^53.
            let size = limit.map_or(MEMORY_VOLUME, |size| size as u64);
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            let options = format!("mode=777,size={size}");
            mount(
                Some("tmpfs"),
                path,
                Some("tmpfs"),
                flags,
                Some(options.as_str()),
            )
            .map_err(|errno| NodeError::file("mount memory on", path)(errno.into()))?;
        }
        self.own(path, if self.group.is_some() { 0o2777 } else { 0o777 })
    }

    fn own(&self, path: &Path, mode: u32) -> Result<(), NodeError> {
        let owned = || {
            if let Some(group) = self.group {
                std::os::unix::fs::chown(path, None, Some(group))?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        };
        owned().map_err(NodeError::file("set the owner and mode of", path))
    }
}

fn host_path(host: &HostPathVolumeSource) -> Result<PathBuf, NodeError> {
    let path = PathBuf::from(&host.path);
    let kind = host.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" => {
            fs::create_dir_all(&path).map_err(NodeError::file("make", &path))?;
        }
        "FileOrCreate" if !path.exists() => {
            fs::write(&path, "").map_err(NodeError::file("make", &path))?;
        }
        _ => {}
    }
    let meta = fs::metadata(&path).map_err(NodeError::file("find", &path))?;
    let wrong = match kind {
        "Directory" | "DirectoryOrCreate" => !meta.is_dir(),
        "File" | "FileOrCreate" => !meta.is_file(),
        _ => false,
    };
    if wrong {
        return Err(NodeError::spec(
            path.display().to_string(),
            format!("is not a {kind}"),
        ));
    }
    Ok(path)
}
