//! Tests of the cache: what is evicted and what is kept.

use std::time::SystemTime;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn files(size: usize) -> ArtifactFiles {
    ArtifactFiles::from([("MLmodel".to_owned(), b"flavors: {}".to_vec()), ("a/model.pkl".to_owned(), vec![0x80; size])])
}

fn key(model: &str, version: u32) -> CachedVersionKey<'_> {
    CachedVersionKey { model, version, digest: &[7; 32] }
}

fn has(cache: &Cache, model: &str, version: u32) -> bool {
    key(model, version).folder(&cache.root).join(entry::INDEX).exists()
}

/// Sets the time of last use of a version to `by` ago.
fn age(cache: &Cache, version: u32, by: Duration) {
    let used = key("m", version).folder(&cache.root).join(entry::USED);
    fs::File::options().write(true).open(used).unwrap().set_modified(SystemTime::now() - by).unwrap();
}

#[test]
fn unused_versions_and_those_above_the_limit_are_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path(), "http://mlflow:5000", 2500);
    for version in 1..=4 {
        cache.store(&key("m", version), &files(1000)).unwrap();
        age(&cache, version, DAY * (5 - version));
    }
    cache.store(&key("m", 5), &files(5000)).unwrap();
    age(&cache, 1, DAY * 8);
    let other = dir.path().join("mine/data/set");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("index.json"), "{\"files\": []}").unwrap();
    age(&cache, 5, Duration::ZERO);
    cache.evict(SystemTime::now());
    let left: Vec<u32> = (1..=5).filter(|version| has(&cache, "m", *version)).collect();
    assert_eq!(left, [5], "the one in use stays although it alone is too much, and leaves no room");
    assert!(other.join("index.json").exists(), "what is not ours stays");

    cache.store(&key("m", 2), &files(1000)).unwrap();
    let roomy = Cache::new(dir.path(), "http://elsewhere", 1 << 20);
    roomy.evict(SystemTime::now() + DAY * 6);
    assert!(has(&cache, "m", 2) && has(&cache, "m", 5));
    cache.touch(&key("m", 5));
    roomy.evict(SystemTime::now() + DAY * 8);
    assert!(!has(&cache, "m", 2) && !has(&cache, "m", 5), "a week unused, whichever server looks");
}

#[test]
fn unfinished_folders_are_removed_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path(), "s", 1 << 20);
    let part = cache.temporary().unwrap();
    cache.evict(SystemTime::now() + DAY / 2);
    assert!(part.exists(), "another process may be writing it");
    cache.evict(SystemTime::now() + DAY * 2);
    assert!(!part.exists());
}

#[test]
fn names_stay_inside_and_servers_apart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path(), "s", 1 << 20);
    let long = "n".repeat(600);
    for model in ["..", ".", "a/b", "ü b", "", "con%2e", long.as_str()] {
        cache.store(&key(model, 1), &files(1)).unwrap();
        assert_eq!(cache.files(&key(model, 1), u64::MAX).unwrap(), Some(files(1)), "{model}");
        let listing = ListedModel { name: model.to_owned(), generation: 3, ..ListedModel::default() };
        cache.store_listing(&listing).unwrap();
        assert_eq!(cache.listing(model), Some(listing));
    }
    assert_eq!(cache.listings().len(), 7);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing outside the server's folder");
    let elsewhere = Cache::new(dir.path(), "t", 1 << 20);
    assert_eq!(elsewhere.files(&key("a/b", 1), u64::MAX).unwrap(), None);
    cache.remove_listing("a/b");
    assert_eq!(cache.listing("a/b"), None);
    let outside = ArtifactFiles::from([("../x".to_owned(), Vec::new())]);
    assert!(cache.store(&key("m", 9), &outside).is_err());
}

#[test]
fn a_turn_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path(), "s", 1 << 20);
    let held = cache.lock(&key("m", 1), Duration::ZERO).unwrap();
    assert!(cache.lock(&key("m", 1), Duration::from_millis(50)).is_none());
    assert!(cache.lock(&key("m", 2), Duration::ZERO).is_some());
    drop(held);
    assert!(cache.lock(&key("m", 1), Duration::from_secs(5)).is_some());
}
