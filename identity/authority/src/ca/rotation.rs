//! The roots of a trust domain on disk, and how one follows another without anybody being cut off.
//!
//! A root is announced (`next-root.pem`): it is in every bundle and signs nothing. When the bundle
//! has had time to reach everybody it signs, and the one before is retired (`retired-UNTIL-….pem`):
//! trusted until what it signed has expired. Only then is it gone. Each step is one rename, so a
//! crash in the middle of it is finished at the next look; the bundle's first root is always the one
//! that signs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, UnixTime};
use tracing::info;

use super::{
    brought::Brought,
    root::{self, Root, RootError},
};
use heddle_identity::{
    TrustDomain,
    private_file::{self, PUBLIC},
    tls::{parse_pem_bundle, to_pem_bundle},
};

const LOCK_FILE: &str = "lock";
/// Key and certificate of the root that is announced.
const NEXT: &str = "next-root.pem";
/// The same, from the moment when it is to sign until it does.
const PROMOTED: &str = "promoted-root.pem";
const RETIRED: &str = "retired-";
/// A certificate takes less than 1 KiB.
const MAX_BYTES: u64 = 64 * 1024;
/// Bundles are bounded by [`heddle_identity::tls::MAX_ROOTS`]; nobody rotates this often.
const MAX_RETIRED: usize = 16;

/// The roots at one moment.
pub(super) struct Roots {
    pub(super) signing: Root,
    next: Option<Root>,
    retired: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Every root that is trusted, the one that signs first.
    pub(super) fn bundle(&self) -> Vec<CertificateDer<'static>> {
        let mut bundle = vec![self.signing.anchor().clone()];
        let others = self.next.iter().map(Root::anchor).chain(&self.retired);
        for other in others {
            if !bundle.contains(other) {
                bundle.push(other.clone());
            }
        }
        bundle
    }
}

/// What the times of a rotation are.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// From announcing a root to signing with it.
    pub(super) spread: Duration,
    /// From the last signature of a root to its end.
    pub(super) overlap: Duration,
}

/// The directory, as it was looked at last.
pub(super) struct Disk {
    directory: PathBuf,
    domain: TrustDomain,
    times: Times,
    seen: Listing,
    /// Which root is announced, and when the bundle with it was first given out, by this process.
    announced: Option<(CertificateDer<'static>, SystemTime)>,
    /// An authority that is brought along.
    brought: Option<Brought>,
}

/// Names, sizes and times of the files that matter.
type Listing = BTreeMap<String, (u64, Option<SystemTime>)>;

impl Disk {
    /// Loads the roots; makes one when there is none.
    pub(super) fn open(
        directory: &Path,
        domain: &TrustDomain,
        times: Times,
        brought: Option<Brought>,
    ) -> Result<(Self, Roots), RootError> {
        fs::create_dir_all(directory).map_err(unusable(directory))?;
        let _lock = lock(directory)?;
        let mut disk = Self {
            directory: directory.to_owned(),
            domain: domain.clone(),
            times,
            seen: Listing::new(),
            announced: None,
            brought,
        };
        disk.finish_promotion()?;
        disk.first_root()?;
        disk.remove_expired()?;
        let roots = disk.load()?;
        Ok((disk, roots))
    }

    /// Looks again and takes the steps that are due; `None` when nothing has changed.
    pub(super) fn refresh(&mut self) -> Result<Option<Roots>, RootError> {
        self.follow_brought()?;
        let due = self
            .announced
            .as_ref()
            .is_some_and(|(_, since)| passed(*since, self.times.spread));
        if !due && self.list()? == self.seen && !self.any_expired() {
            return Ok(None);
        }
        let _lock = lock(&self.directory)?;
        self.finish_promotion()?;
        if due {
            self.promote()?;
        }
        self.remove_expired()?;
        self.load().map(Some)
    }

    fn load(&mut self) -> Result<Roots, RootError> {
        let seen = self.list()?;
        let next = self.directory.join(NEXT);
        let next = match seen.contains_key(NEXT) {
            true => Some(Root::load_pair(&next, &self.domain)?),
            false => None,
        };
        let mut retired = Vec::new();
        for name in seen.keys().filter(|name| retired_until(name).is_some()) {
            let file = self.directory.join(name);
            let pem = private_file::read(&file, MAX_BYTES)?;
            let certificates = parse_pem_bundle(&pem)
                .map_err(|error| RootError::Certificate(file.clone(), error.to_string()))?;
            retired.extend(certificates);
        }
        let signing = Root::load(&self.directory, &self.domain)?;
        let announced = next.as_ref().map(Root::anchor);
        if announced != self.announced.as_ref().map(|(anchor, _)| anchor) {
            if announced.is_some() {
                info!(spread = ?self.times.spread, "a new root is announced");
            }
            self.announced = announced.map(|anchor| (anchor.clone(), SystemTime::now()));
        }
        self.seen = seen;
        Ok(Roots {
            signing,
            next,
            retired,
        })
    }

    /// The root to begin with: what is there, what is brought along, or a new one.
    fn first_root(&mut self) -> Result<(), RootError> {
        if let Some(brought) = &mut self.brought
            && !root::is_there(&self.directory)?
            && let Some(root) = brought.look(&self.domain)?
        {
            root.write_as_signing(&self.directory)?;
            info!("signing with the authority that was brought along");
            return Ok(());
        }
        Root::load_or_create(&self.directory, &self.domain).map(drop)
    }

    /// Takes up what was brought along anew: at once when everybody trusts its root already,
    /// otherwise as any root, by announcing it.
    fn follow_brought(&mut self) -> Result<(), RootError> {
        let Some(brought) = &mut self.brought else {
            return Ok(());
        };
        let Some(root) = brought.look(&self.domain)? else {
            return Ok(());
        };
        let _lock = lock(&self.directory)?;
        let signing = Root::load(&self.directory, &self.domain)?;
        if root.is_same(&signing) {
            return Ok(());
        }
        if root.anchor() == signing.anchor() {
            info!("the authority that was brought along has a new certificate of the same root");
            return root.write_as_signing(&self.directory);
        }
        root.write_pair(&self.directory.join(NEXT))
    }

    /// The announced root begins to sign.
    fn promote(&mut self) -> Result<(), RootError> {
        let next = self.directory.join(NEXT);
        if !next.try_exists().map_err(unusable(&next))? {
            return Ok(());
        }
        Root::load_pair(&next, &self.domain)?;
        let signing = Root::load(&self.directory, &self.domain)?;
        let now = UnixTime::now().as_secs();
        let until = now.saturating_add(self.times.overlap.as_secs());
        let until = until.min(signing.not_after().as_secs());
        let retired = format!("{RETIRED}{until}-{}.pem", signing.serial());
        let pem = to_pem_bundle([signing.anchor()]);
        private_file::write(&self.directory.join(retired), pem.as_bytes(), PUBLIC)?;
        // From here on it is done: what is left is finished whenever this is called again.
        fs::rename(&next, self.directory.join(PROMOTED)).map_err(unusable(&next))?;
        self.announced = None;
        self.finish_promotion()
    }

    fn finish_promotion(&self) -> Result<(), RootError> {
        let promoted = self.directory.join(PROMOTED);
        if !promoted.try_exists().map_err(unusable(&promoted))? {
            return Ok(());
        }
        Root::load_pair(&promoted, &self.domain)?.write_as_signing(&self.directory)?;
        fs::remove_file(&promoted).map_err(unusable(&promoted))?;
        info!("the new root signs; the one before is trusted until what it signed has expired");
        Ok(())
    }

    fn any_expired(&self) -> bool {
        self.seen.keys().any(|name| is_expired(name))
    }

    fn remove_expired(&self) -> Result<(), RootError> {
        for name in self.list()?.into_keys().filter(|name| is_expired(name)) {
            let file = self.directory.join(&name);
            fs::remove_file(&file).map_err(unusable(&file))?;
            info!(file = name, "a retired root is not trusted any more");
        }
        Ok(())
    }

    fn list(&self) -> Result<Listing, RootError> {
        list(&self.directory)
    }
}

/// Announces a new root to the service that runs on `directory`.
///
/// # Errors
/// When there is no root yet, one is announced already, or the directory cannot be written.
pub fn announce(directory: &Path, domain: &TrustDomain) -> Result<(), RootError> {
    if !root::is_there(directory)? {
        return Err(RootError::None(directory.to_owned()));
    }
    let _lock = lock(directory)?;
    let files = list(directory)?;
    if let Some(name) = [NEXT, PROMOTED]
        .into_iter()
        .find(|n| files.contains_key(*n))
    {
        return Err(RootError::UnderWay(directory.join(name)));
    }
    let retired = files
        .keys()
        .filter(|name| retired_until(name).is_some())
        .count();
    if retired >= MAX_RETIRED {
        return Err(RootError::Retired(retired));
    }
    Root::make_pair(&directory.join(NEXT), domain)
}

/// Drops every retired root now: certificates that they signed are worth nothing any more. Tells how
/// many there were.
///
/// # Errors
/// When the directory cannot be read or written.
pub fn drop_retired(directory: &Path) -> Result<usize, RootError> {
    let _lock = lock(directory)?;
    let files = list(directory)?;
    let retired: Vec<_> = files
        .into_keys()
        .filter(|name| retired_until(name).is_some())
        .collect();
    for name in &retired {
        let file = directory.join(name);
        fs::remove_file(&file).map_err(unusable(&file))?;
    }
    Ok(retired.len())
}

/// Services and commands on one directory take turns.
pub(super) fn lock(directory: &Path) -> Result<File, RootError> {
    let file = File::create(directory.join(LOCK_FILE)).map_err(unusable(directory))?;
    file.lock().map_err(unusable(directory))?;
    Ok(file)
}

pub(super) fn list(directory: &Path) -> Result<Listing, RootError> {
    let mut files = Listing::new();
    for entry in fs::read_dir(directory).map_err(unusable(directory))? {
        let entry = entry.map_err(unusable(directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".pem") || name.starts_with('.') {
            continue;
        }
        // What goes away meanwhile is gone.
        if let Ok(metadata) = entry.metadata() {
            files.insert(name, (metadata.len(), metadata.modified().ok()));
        }
    }
    Ok(files)
}

/// Until when a root of this file's name is trusted.
fn retired_until(name: &str) -> Option<u64> {
    name.strip_prefix(RETIRED)?.split('-').next()?.parse().ok()
}

fn is_expired(name: &str) -> bool {
    retired_until(name).is_some_and(|until| until < UnixTime::now().as_secs())
}

/// A clock that was set back makes it later, never earlier.
fn passed(since: SystemTime, time: Duration) -> bool {
    since.elapsed().is_ok_and(|elapsed| elapsed >= time)
}

pub(super) fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> RootError + use<> {
    let path = path.to_owned();
    move |error| RootError::Directory(path, error)
}
