//! A folder registry in which somebody put files that are to do harm beside a version that answers.
#![cfg(test)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay_artefact::{Fault, Store, VersionFiles};
use forebay_registry::{Registry, RegistryOptions};

const MODEL: &str = "m";

struct Folder(tempfile::TempDir);

impl Folder {
    /// Version 1 is Production: a description, and a model file of `size` bytes.
    fn new(size: usize) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("1/MLmodel", b"flavors: {sklearn: {pickled_model: model.pkl}}");
        folder.write("1/model.pkl", &vec![0; size]);
        folder.write("registered_model.yaml", b"stages: {1: Production}");
        folder
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(MODEL).join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn open(&self, load_limit: Option<u64>) -> Registry {
        let location = format!("file:{}", self.0.path().display());
        Registry::open_with(&RegistryOptions { load_limit, ..RegistryOptions::new(location) }).unwrap()
    }
}

/// The length of the model file.
fn length(files: &VersionFiles) -> Result<usize, Fault> {
    Ok(files.get("model.pkl")?.len())
}

fn versions(registry: &Registry) -> Vec<u32> {
    registry.model(MODEL).map_or_else(Vec::new, |model| model.versions.iter().map(|version| version.version).collect())
}

#[test]
fn a_version_is_described_without_its_model_and_loaded_within_a_budget() {
    let folder = Folder::new(3 << 20);
    let registry = folder.open(Some(1 << 20));
    let described = registry.describe(MODEL, 1).unwrap();
    assert_eq!(described.digest, registry.model(MODEL).unwrap().versions[0].digest, "of all files");
    let error = registry.load(MODEL, 1, length).unwrap_err().to_string();
    assert!(error.contains("1048576 bytes"), "the budget is named: {error}");
    let registry = folder.open(Some(4 << 20));
    assert_eq!(
        registry.load(MODEL, 1, |files| Ok((length(files)?, files.digest()))).unwrap(),
        (3 << 20, described.digest)
    );
    assert_eq!(folder.open(None).load(MODEL, 1, length).unwrap(), 3 << 20);
}

#[test]
fn what_is_put_beside_a_version_does_not_hurt_it() {
    let folder = Folder::new(10);
    let bomb = format!(
        "a: &a [{}0]\nb: &b [{}*a]\nc: [{}*b]\nflavors: {{}}\n",
        "0,".repeat(500),
        "*a,".repeat(480),
        "*b,".repeat(250)
    );
    folder.write("2/MLmodel", bomb.as_bytes());
    // a file that is claimed to be larger than any memory
    folder.write("3/MLmodel", b"flavors: {sklearn: {pickled_model: model.pkl}}");
    std::fs::File::create(folder.path("3/model.pkl")).unwrap().set_len(3 << 30).unwrap();
    (0..10_001).for_each(|i| folder.write(&format!("4/f{i}"), b""));
    folder.write("4/MLmodel", b"flavors: {}");
    let registry = folder.open(Some(1 << 20));
    assert_eq!(versions(&registry), [1, 2, 3]);
    assert_eq!(registry.load(MODEL, 1, length).unwrap(), 10);
    registry.describe(MODEL, 1).unwrap();
    assert!(registry.describe(MODEL, 2).unwrap_err().to_string().contains("alias"));
    assert!(registry.load(MODEL, 3, length).is_err());
}

/// Reading it would take an hour, and it has no bytes on the disk.
#[test]
fn a_sparse_file_of_terabytes_does_not_hold_up_the_listing() {
    let folder = Folder::new(8);
    folder.write("2/MLmodel", b"flavors: {sklearn: {pickled_model: model.pkl}}");
    std::fs::File::create(folder.path("2/model.pkl")).unwrap().set_len(2 << 40).unwrap();
    let began = Instant::now();
    let registry = folder.open(None);
    assert_eq!(versions(&registry), [1, 2]);
    assert_eq!(registry.load(MODEL, 1, length).unwrap(), 8);
    for error in [registry.load(MODEL, 2, length).unwrap_err(), registry.describe(MODEL, 2).unwrap_err()] {
        assert!(error.to_string().contains("the files of the version have more than 17179869184 bytes"), "{error}");
    }
    registry.refresh().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn no_link_leads_out_of_the_registry_and_no_error_quotes_a_file() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "TOP-SECRET-PASSWORD").unwrap();
    let folder = Folder::new(10);
    folder.write("2/MLmodel", b"flavors: {sklearn: {pickled_model: model.pkl}}");
    symlink(&secret, folder.path("2/model.pkl")).unwrap();
    symlink(outside.path(), folder.path("2/more")).unwrap();
    symlink(outside.path(), folder.path("3")).unwrap();
    // inside of the registry links are followed, as volumes of Kubernetes need it
    folder.write("..data/4/model.pkl", &[0; 7]);
    folder.write("..data/4/MLmodel", b"flavors: {sklearn: {pickled_model: model.pkl}}");
    symlink(Path::new("..data/4"), folder.path("4")).unwrap();
    let registry = folder.open(None);
    assert_eq!(versions(&registry), [1, 2, 4]);
    let error = registry.load(MODEL, 2, length).unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
    assert_eq!(registry.load(MODEL, 4, length).unwrap(), 7);

    // neither through a link nor as a copy does a text that is no registered model take the place of the listing
    let registered = folder.path("registered_model.yaml");
    std::fs::remove_file(&registered).unwrap();
    symlink(&secret, &registered).unwrap();
    let store = Store::Folder(folder.0.path().to_owned());
    let fault = store.read("m/registered_model.yaml", 1 << 20).unwrap_err();
    assert!(fault.reason.contains("leads out") && !fault.to_string().contains("SECRET"), "{fault}");
    registry.refresh().unwrap();
    std::fs::remove_file(&registered).unwrap();
    std::fs::copy(&secret, &registered).unwrap();
    registry.refresh().unwrap();
    assert_eq!(versions(&registry), [1, 2, 4], "the last listing is kept");
}

#[test]
fn links_in_circles_end_the_listing_of_their_version_alone() {
    let folder = Folder::new(10);
    folder.write("2/MLmodel", b"flavors: {}");
    (0..40).for_each(|i| symlink(".", folder.path(&format!("2/l{i}"))).unwrap());
    let began = Instant::now();
    let registry = folder.open(None);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(versions(&registry), [1]);
}

#[test]
fn a_version_that_can_no_longer_be_listed_stays_with_the_stage_and_the_tags_of_today() {
    let folder = Folder::new(10);
    let registry = folder.open(None);
    let before = registry.model(MODEL).unwrap().versions[0].clone();
    (0..40).for_each(|i| symlink(".", folder.path(&format!("1/l{i}"))).unwrap());
    folder.write("registered_model.yaml", b"{stages: {1: Archived}, tags: {1: {forebay.output: predict_proba}}}");
    registry.refresh().unwrap();
    let now = registry.model(MODEL).unwrap().versions[0].clone();
    assert_eq!((now.version, now.digest, &now.flavor), (1, before.digest, &before.flavor));
    assert_eq!((now.stage.as_deref(), now.output.as_deref()), (Some("Archived"), Some("predict_proba")));
}
