#![allow(clippy::unwrap_used)]
use std::{collections::BTreeMap, fs, os::unix::fs::symlink};

use super::*;
use crate::source::{Change, Refusal, Resource};

/// What a live edit may take here, far above what it takes: the machine may be busy.
const WAIT: Duration = Duration::from_secs(20);

fn route(name: &str, weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [reviews]
  http:
  - route:
    - {{destination: {{host: reviews, subset: v1}}, weight: {weight}}}
    - {{destination: {{host: reviews, subset: v2}}, weight: 10}}
"
    )
}

/// A picture kept up to date from batches.
struct Follower {
    source: Option<DirectorySource>,
    batches: mpsc::Receiver<Batch>,
    objects: BTreeMap<String, u32>,
    refusals: Vec<Refusal>,
    kept: Vec<Arc<Object>>,
}

impl Follower {
    fn start(roots: &[&Path]) -> Self {
        Self::resume(roots, Vec::new())
    }

    fn resume(roots: &[&Path], last_good: Vec<Arc<Object>>) -> Self {
        let (sender, batches) = mpsc::channel(4);
        let roots: Vec<PathBuf> = roots.iter().map(|root| (*root).to_owned()).collect();
        let source = DirectorySource::start(&roots, last_good, sender).unwrap();
        let mut follower = Self {
            source: Some(source),
            batches,
            objects: BTreeMap::new(),
            refusals: Vec::new(),
            kept: Vec::new(),
        };
        follower.take();
        follower
    }

    fn take(&mut self) {
        let deadline = Instant::now() + WAIT;
        let batch = loop {
            match self.batches.try_recv() {
                Ok(batch) => break batch,
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("no batch: {error}; {:?} {:?}", self.objects, self.refusals),
            }
        };
        for change in batch.changes {
            match change {
                Change::Upsert(object) => {
                    let weight = match &object.resource {
                        Resource::VirtualService(spec) => {
                            spec.http[0].route[0].weight.unwrap().value
                        }
                        _ => 0,
                    };
                    self.objects
                        .insert(object.key.name.name().to_owned(), weight);
                }
                Change::Remove(key) => {
                    self.objects
                        .remove(key.name.name())
                        .expect("only what is there is removed");
                }
            }
        }
        self.refusals = batch.refusals.to_vec();
        self.kept = batch.kept.to_vec();
    }

    /// Takes batches until the picture is this.
    fn until(&mut self, objects: &[(&str, u32)]) -> Duration {
        let started = Instant::now();
        let wanted: BTreeMap<String, u32> =
            objects.iter().map(|(n, w)| ((*n).to_owned(), *w)).collect();
        while self.objects != wanted {
            self.take();
        }
        started.elapsed()
    }

    fn until_refused(&mut self, reason: &str) -> Refusal {
        loop {
            if let Some(found) = self
                .refusals
                .iter()
                .find(|r| r.to_string().contains(reason))
            {
                return found.clone();
            }
            self.take();
        }
    }

    fn until_clean(&mut self) {
        while !self.refusals.is_empty() {
            self.take();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.source.take();
    }
}

#[test]
fn edits_are_live_however_they_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yaml");
    fs::write(&file, route("r", 1)).unwrap();
    let mut follower = Follower::start(&[dir.path()]);
    assert_eq!(follower.objects, BTreeMap::from([("r".to_owned(), 1)]));
    // In place.
    fs::write(&file, route("r", 2)).unwrap();
    follower.until(&[("r", 2)]);
    // Renamed over.
    let other = dir.path().join(".r.yaml.swp");
    fs::write(&other, route("r", 3)).unwrap();
    fs::rename(&other, &file).unwrap();
    follower.until(&[("r", 3)]);
    // Moved away and written anew, as vim does.
    fs::rename(&file, dir.path().join("r.yaml~")).unwrap();
    fs::write(&file, route("r", 4)).unwrap();
    fs::remove_file(dir.path().join("r.yaml~")).unwrap();
    follower.until(&[("r", 4)]);
    // A new file in a new directory, then gone.
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/b/s.yml"), route("s", 5)).unwrap();
    follower.until(&[("r", 4), ("s", 5)]);
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    follower.until(&[("r", 4)]);
}

#[test]
fn no_half_written_file_is_ever_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yaml");
    fs::write(&file, route("r", 1)).unwrap();
    let mut follower = Follower::start(&[dir.path()]);
    for weight in 2..40 {
        // Truncated, a pause, then written: the object must not vanish in between, which
        // `take` would notice.
        let text = route("r", weight);
        fs::write(&file, "").unwrap();
        thread::sleep(Duration::from_millis(u64::from(weight) % 30));
        fs::write(&file, &text).unwrap();
        follower.until(&[("r", weight)]);
        assert!(follower.refusals.is_empty());
    }
    fs::write(&file, "").unwrap();
    follower.until(&[]);
}

#[test]
fn a_file_written_in_pieces_counts_when_it_is_closed() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.yaml");
    fs::write(&path, format!("{}---\n{}", route("r", 1), route("s", 1))).unwrap();
    let mut follower = Follower::start(&[dir.path()]);
    let mut file = fs::File::create(&path).unwrap();
    for piece in [route("r", 2), "---\n".into(), route("s", 2)] {
        file.write_all(piece.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(40));
    }
    drop(file);
    // `take` fails if `s` is removed in between.
    follower.until(&[("r", 2), ("s", 2)]);
    assert!(follower.refusals.is_empty());
}

#[test]
fn a_bad_document_keeps_its_last_good_version() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yaml");
    let good = format!("{}---\n{}", route("r", 1), route("s", 1));
    fs::write(&file, &good).unwrap();
    let mut follower = Follower::start(&[dir.path()]);
    // An unknown field in one, a change in the other.
    fs::write(
        &file,
        format!(
            "{}---\n{}",
            route("r", 2).replace("weight: 2", "wieght: 2"),
            route("s", 2)
        ),
    )
    .unwrap();
    let refusal = follower.until_refused("unknown field `wieght`");
    assert_eq!(
        (refusal.name.as_str(), refusal.at.line, refusal.at.column),
        ("r", 8, 50)
    );
    follower.until(&[("r", 1), ("s", 2)]);
    // Broken YAML in the first document: the second still changes.
    fs::write(
        &file,
        format!(
            "{}---\n{}",
            route("r", 3).replace("[reviews]", "[reviews"),
            route("s", 3)
        ),
    )
    .unwrap();
    follower.until_refused("not valid YAML");
    follower.until(&[("r", 1), ("s", 3)]);
    // Mended, and one really gone.
    fs::write(&file, route("s", 4)).unwrap();
    follower.until(&[("s", 4)]);
    follower.until_clean();
    // Not even UTF-8.
    fs::write(&file, b"\xff\xfe\x00").unwrap();
    follower.until_refused("not UTF-8");
    assert_eq!(follower.objects.len(), 1);
}

#[test]
fn later_directories_win_and_seconds_are_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(one.path().join("a.yaml"), route("r", 1)).unwrap();
    fs::write(one.path().join("b.yaml"), route("r", 2)).unwrap();
    let mut follower = Follower::start(&[one.path(), two.path()]);
    follower.until(&[("r", 1)]);
    let refusal = follower.until_refused("is there already");
    assert!(
        refusal.file.ends_with("b.yaml") && refusal.reason.contains("a.yaml:1"),
        "{refusal}"
    );
    fs::write(two.path().join("x.json"), serde_free_json()).unwrap();
    follower.until(&[("r", 9)]);
    fs::remove_file(two.path().join("x.json")).unwrap();
    follower.until(&[("r", 1)]);
    fs::remove_file(one.path().join("a.yaml")).unwrap();
    follower.until(&[("r", 2)]);
    follower.until_clean();
}

#[test]
fn a_later_directory_can_say_that_an_object_is_gone() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(one.path().join("a.yaml"), route("r", 1)).unwrap();
    let mut follower = Follower::start(&[one.path(), two.path()]);
    follower.until(&[("r", 1)]);
    let gone = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                metadata: {name: r, annotations: {heddle.io/deleted: 'true'}}\n";
    fs::write(two.path().join("r.yaml"), gone).unwrap();
    follower.until(&[]);
    fs::write(one.path().join("a.yaml"), route("r", 2)).unwrap();
    fs::write(one.path().join("b.yaml"), route("s", 3)).unwrap();
    follower.until(&[("s", 3)]);
    follower.until_clean();
    fs::remove_file(two.path().join("r.yaml")).unwrap();
    follower.until(&[("r", 2), ("s", 3)]);
}

#[test]
fn a_stand_in_displaces_nothing_that_is_written() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                  metadata: {name: p}\nspec: {mtls: {mode: PERMISSIVE}}\n";
    let refused = policy.replace("PERMISSIVE", "STRCT");
    fs::write(two.path().join("p.yaml"), &refused).unwrap();
    let in_force = |changes: Vec<Change>| match &changes[..] {
        [Change::Upsert(object)] => object.stand_in,
        other => panic!("{other:?}"),
    };
    let roots = [one.path().to_owned(), two.path().to_owned()];
    let mut reader = Reader::new(&roots, Vec::new()).unwrap();
    let mut read = || {
        reader.refresh(&Wake::All);
        reader.batch()
    };
    assert!(in_force(read().changes));
    fs::write(one.path().join("p.yaml"), policy).unwrap();
    assert!(!in_force(read().changes));
    fs::write(one.path().join("a.yaml"), &refused).unwrap();
    let batch = read();
    assert!(batch.changes.is_empty() && batch.kept.is_empty());
    assert_eq!(batch.refusals.len(), 2, "{:?}", batch.refusals);
}

fn serde_free_json() -> &'static str {
    "{\n\t\"apiVersion\": \"networking.istio.io/v1\",\n\t\"kind\": \"VirtualService\",\n\t\"metadata\": {\"name\": \"r\"},\n\t\"spec\": {\"hosts\": [\"reviews\"], \"http\": [{\"route\": [{\"destination\": {\"host\": \"a\"}, \"weight\": 9}]}]}\n}\n"
}

#[test]
fn a_mounted_config_map_is_swapped_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let version = |n: u32| {
        let data = dir.path().join(format!("..data_{n}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("r.yaml"), route("r", n)).unwrap();
        symlink(format!("..data_{n}"), dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    version(1);
    symlink("..data/r.yaml", dir.path().join("r.yaml")).unwrap();
    let mut follower = Follower::start(&[dir.path()]);
    follower.until(&[("r", 1)]);
    version(2);
    fs::remove_dir_all(dir.path().join("..data_1")).unwrap();
    follower.until(&[("r", 2)]);
}

#[test]
fn links_to_elsewhere_are_followed() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("target.yaml");
    fs::write(&target, route("r", 1)).unwrap();
    symlink(&target, dir.path().join("r.yaml")).unwrap();
    // A loop of directories must not hang.
    symlink(dir.path(), dir.path().join("loop")).unwrap();
    let mut follower = Follower::start(&[dir.path()]);
    follower.until(&[("r", 1)]);
    fs::write(&target, route("r", 2)).unwrap();
    follower.until(&[("r", 2)]);
}

#[test]
fn a_single_file_can_be_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("only.yaml");
    fs::write(&file, route("r", 1)).unwrap();
    fs::write(dir.path().join("beside.yaml"), route("s", 1)).unwrap();
    let mut follower = Follower::start(&[&file]);
    follower.until(&[("r", 1)]);
    let other = dir.path().join("new");
    fs::write(&other, route("r", 2)).unwrap();
    fs::rename(&other, &file).unwrap();
    follower.until(&[("r", 2)]);
    fs::remove_file(&file).unwrap();
    follower.until(&[]);
}

#[test]
fn a_directory_that_vanishes_takes_nothing_with_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("config");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("r.yaml"), route("r", 1)).unwrap();
    let mut reader = Reader::new(std::slice::from_ref(&dir), Vec::new()).unwrap();
    assert!(reader.refresh(&Wake::All));
    assert_eq!(reader.batch().changes.len(), 1);
    fs::rename(&dir, parent.path().join("away")).unwrap();
    thread::sleep(Duration::from_millis(150));
    for _ in 0..3 {
        assert!(!reader.refresh(&Wake::All));
    }
    assert!(read_once(&[dir]).is_err());
}

#[test]
fn documents_that_did_not_change_are_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yaml");
    fs::write(&file, format!("{}---\n{}", route("a", 1), route("b", 1))).unwrap();
    let mut reader = Reader::new(&[dir.path().to_owned()], Vec::new()).unwrap();
    reader.refresh(&Wake::All);
    assert_eq!(reader.batch().changes.len(), 2);
    fs::write(&file, format!("{}---\n{}", route("a", 1), route("b", 2))).unwrap();
    reader.refresh(&Wake::Paths([file].into()));
    assert_eq!(reader.batch().changes.len(), 1);
}
