//! The server goes away: what is known stays usable, from memory and from disk.

use std::path::{Path, PathBuf};

use crate::bench::*;
use forebay_registry::{ModelUri, RegistryError};

/// Every kept file whose path contains `needle`.
fn kept(cache: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![cache.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_str().unwrap().contains(needle) {
                found.push(entry);
            }
        }
    }
    found
}

#[test]
fn a_registry_that_goes_away_and_comes_back() {
    let mut fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    let registry = open(&options(&fake));
    let before = registry.models();
    fake.stop();
    registry.refresh().unwrap();
    assert_eq!(registry.models(), before);
    let stale = registry.status().stale.unwrap();
    assert!(stale.contains(&fake.url()), "{stale}");
    assert!(registry.load(MODEL, 1, open_model).unwrap_err().is_unreachable(), "nothing was cached");
    fake.register(MODEL, 2, &lasso());
    fake.start_again();
    registry.refresh().unwrap();
    assert_eq!(registry.status().stale, None);
    assert_eq!(registry.model(MODEL).unwrap().versions.len(), 2);
    assert!(registry.load(MODEL, 1, open_model).is_ok());
}

#[test]
fn a_start_while_the_registry_is_down() {
    let mut fake = Fake::start();
    let cache = tempfile::tempdir().unwrap();
    fake.register(MODEL, 1, &linear());
    fake.register(MODEL, 2, &lasso());
    fake.alias(MODEL, "champion", 1);
    let registry = open(&cached(&fake, cache.path()));
    let answer = predicted(&registry.load(MODEL, 1, open_model).unwrap());
    let view = registry.models();
    fake.stop();

    let started = open(&cached(&fake, cache.path()));
    assert!(started.status().stale.is_some());
    assert_eq!(started.models(), view);
    assert_eq!(predicted(&started.load(MODEL, 1, open_model).unwrap()).to_bits(), answer.to_bits());
    assert_eq!(started.describe(MODEL, 1).unwrap().digest, view[0].versions[0].digest);
    assert!(started.load(MODEL, 2, open_model).unwrap_err().is_unreachable(), "it was never fetched");
    let uri: ModelUri = format!("models:/{MODEL}@champion").parse().unwrap();
    assert_eq!(predicted(&started.load_uri(&uri, open_model).unwrap()), answer);

    let elsewhere = tempfile::tempdir().unwrap();
    assert!(refused(&cached(&fake, elsewhere.path())).is_unreachable());
    assert!(refused(&options(&fake)).is_unreachable(), "without a cache no files are available");
    fake.start_again();
    fake.alias(MODEL, "champion", 2);
    started.refresh().unwrap();
    assert_eq!(started.status().stale, None);
    assert_eq!(started.model(MODEL).unwrap().resolve(None).unwrap().version, 2);
}

#[test]
fn files_are_fetched_once_for_all_processes_that_share_the_cache() {
    let fake = Fake::start();
    let cache = tempfile::tempdir().unwrap();
    fake.register(MODEL, 1, &linear());
    let options = cached(&fake, cache.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| open(&options).load(MODEL, 1, open_model).unwrap());
        }
    });
    assert_eq!(fake.calls("artifacts/model.pkl"), 1);
    assert!(kept(cache.path(), ".part-").is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let folder = kept(cache.path(), "index.json")[0].parent().unwrap().to_owned();
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o077, 0, "for this user alone");
    }
}

#[test]
fn kept_files_that_changed_are_not_used() {
    let mut fake = Fake::start();
    let cache = tempfile::tempdir().unwrap();
    fake.register(MODEL, 1, &linear());
    let options = cached(&fake, cache.path());
    let answer = predicted(&open(&options).load(MODEL, 1, open_model).unwrap());
    let model = kept(cache.path(), "model.pkl").remove(0);
    let whole = std::fs::read(&model).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let broken: [(&str, Vec<u8>); 4] = [
        ("flipped", flipped),
        ("short", whole[1..].to_vec()),
        ("long", [&whole[..], b"x"].concat()),
        ("empty", Vec::new()),
    ];
    for (what, bytes) in broken {
        let model = kept(cache.path(), "model.pkl").remove(0);
        std::fs::write(&model, bytes).unwrap();
        assert_eq!(predicted(&open(&options).load(MODEL, 1, open_model).unwrap()), answer, "{what}");
        assert_eq!(std::fs::read(&model).unwrap(), whole, "{what}: cached again");
    }
    let index = kept(cache.path(), "index.json").remove(0);
    std::fs::write(&index, "{\"files\": [{\"path\": \"../../x\", \"size\": 0, \"sha256\": \"\"}]}").unwrap();
    assert_eq!(predicted(&open(&options).load(MODEL, 1, open_model).unwrap()), answer);
    std::fs::write(kept(cache.path(), "model.pkl").remove(0), "broken").unwrap();
    fake.stop();
    assert!(open(&options).load(MODEL, 1, open_model).unwrap_err().is_unreachable());
    let listing = kept(cache.path(), "listing.json").remove(0);
    std::fs::write(listing, "{").unwrap();
    assert!(refused(&options).is_unreachable());
}

#[test]
fn a_cache_that_cannot_be_written_is_not_required() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    let file = tempfile::NamedTempFile::new().unwrap();
    let registry = open(&cached(&fake, file.path()));
    assert!(registry.load(MODEL, 1, open_model).is_ok());
    registry.refresh().unwrap();
}

#[test]
fn a_revoked_right_is_no_outage_at_start() {
    let fake = Fake::start();
    let cache = tempfile::tempdir().unwrap();
    fake.register(MODEL, 1, &linear());
    let options = cached(&fake, cache.path());
    let running = open(&options);
    running.load(MODEL, 1, open_model).unwrap();
    fake.content().authorization = Some("Bearer other".to_owned());
    assert!(
        matches!(refused(&options), RegistryError::Refused { status: 401, .. }),
        "a process without read access does not start"
    );
    running.refresh().unwrap();
    assert!(running.status().stale.unwrap().contains("401"), "a running process continues");
    assert!(running.load(MODEL, 1, open_model).is_ok());
}
