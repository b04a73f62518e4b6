//! The API keys in use. Readers never wait: a changed file is parsed separately and then swapped in.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use subtle::ConstantTimeEq as _;

use super::api_key::KeyHash;
use super::caller::{Caller, CallerKind};
use super::key_file::{self, KeyLine};
use super::metrics::AuthMetrics;
use super::rate_limit::CallerLimits;

/// Maximum size of the key file, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Longer texts are not hashed, because no key is that long.
const MAX_KEY: usize = 512;

/// All keys, and the file that they come from.
#[derive(Debug)]
pub(super) struct KeyRing {
    path: PathBuf,
    limits: CallerLimits,
    metrics: AuthMetrics,
    /// Sorted by hash.
    keys: ArcSwap<Vec<Entry>>,
    /// Digest of the last read, valid or not: its content, or the error.
    last_read: Mutex<blake3::Hash>,
}

#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    expires: Option<u64>,
    caller: Arc<Caller>,
}

/// The result of looking a key up.
#[derive(Debug)]
pub(super) enum KeyLookup {
    Valid(Arc<Caller>),
    Expired(Arc<Caller>),
    Unknown,
}

impl KeyRing {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// What is wrong with it; never a part of a line.
    pub(super) fn open(path: PathBuf, limits: CallerLimits, metrics: AuthMetrics, now_s: u64) -> Result<Self, String> {
        let (text, lines) = lines(&path)?;
        let ring = Self {
            path,
            limits,
            metrics,
            keys: ArcSwap::default(),
            last_read: Mutex::new(blake3::hash(text.as_bytes())),
        };
        ring.install(lines);
        ring.metrics.init_failures("keys");
        ring.export_count(now_s);
        Ok(ring)
    }

    /// Finds the caller of the key `text`. Apart from the search by the first bytes of the hash, which no caller can choose,
    /// an invalid key takes as long as a valid one.
    pub(super) fn find(&self, text: &str, now_s: u64) -> KeyLookup {
        if text.len() > MAX_KEY {
            return KeyLookup::Unknown;
        }
        let hash = KeyHash::of(text);
        let keys = self.keys.load();
        let first = keys.partition_point(|entry| entry.hash.index() < hash.index());
        let same = keys.iter().skip(first).take_while(|entry| entry.hash.index() == hash.index());
        let mut found = None;
        for entry in same {
            if bool::from(entry.hash.0.ct_eq(&hash.0)) {
                found = Some(entry);
            }
        }
        match found {
            Some(entry) if entry.is_valid(now_s) => KeyLookup::Valid(Arc::clone(&entry.caller)),
            Some(entry) => KeyLookup::Expired(Arc::clone(&entry.caller)),
            None => KeyLookup::Unknown,
        }
    }

    /// Reloads the file if it has changed. If it is missing or invalid, the previous keys stay in use.
    pub(super) fn refresh(&self, now_s: u64) {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(reason) => return self.failed(&reason, blake3::hash(reason.as_bytes())),
        };
        let digest = blake3::hash(text.as_bytes());
        if *self.last_read.lock() != digest {
            match key_file::parse(&text) {
                Ok(lines) => {
                    *self.last_read.lock() = digest;
                    self.install(lines);
                    tracing::info!(keys = self.keys.load().len(), "api keys reloaded");
                }
                Err(reason) => self.failed(&reason, digest),
            }
        }
        self.export_count(now_s);
    }

    fn export_count(&self, now_s: u64) {
        self.metrics.set_keys(self.keys.load().iter().filter(|entry| entry.is_valid(now_s)).count());
    }

    /// Logs each new reason once, not at every check.
    fn failed(&self, reason: &str, digest: blake3::Hash) {
        if std::mem::replace(&mut *self.last_read.lock(), digest) != digest {
            self.metrics.reload_failed("keys");
            let path = self.path.display();
            tracing::error!(%path, reason, "api keys cannot be read, the previous ones stay in use");
        }
    }

    /// A caller whose line has not changed is kept, with what it has used.
    fn install(&self, lines: Vec<KeyLine>) {
        let before = self.keys.load();
        let known: FxHashMap<&str, &Arc<Caller>> =
            before.iter().map(|entry| (entry.caller.name(), &entry.caller)).collect();
        let mut callers: FxHashMap<String, Arc<Caller>> = FxHashMap::default();
        let mut entries = Vec::with_capacity(lines.len());
        for line in lines {
            let new = || self.caller(&line, known.get(line.name.as_str()).copied());
            let caller = Arc::clone(callers.entry(line.name.clone()).or_insert_with(new));
            entries.push(Entry { hash: line.hash, expires: line.expires, caller });
        }
        entries.sort_by_key(|entry| entry.hash);
        self.keys.store(Arc::new(entries));
    }

    fn caller(&self, line: &KeyLine, before: Option<&Arc<Caller>>) -> Arc<Caller> {
        let options = &line.options;
        let limits = CallerLimits {
            rate: options.rate.unwrap_or(self.limits.rate),
            burst: options.burst.unwrap_or(self.limits.burst),
            daily_rows: options.daily_rows.unwrap_or(self.limits.daily_rows),
        };
        match before.filter(|before| before.has(limits, options.models.as_ref(), options.admin)) {
            Some(same) => Arc::clone(same),
            None => {
                let before = before.map(AsRef::as_ref);
                let models = options.models.clone();
                let caller = Caller::new(&CallerKind::ApiKey, &line.name, limits, models, &self.metrics, before);
                Arc::new(caller.with_admin(options.admin))
            }
        }
    }
}

impl Entry {
    fn is_valid(&self, now_s: u64) -> bool {
        self.expires.is_none_or(|end| now_s < end)
    }
}

/// Reads and parses a key file.
///
/// # Errors
/// What is wrong with it; never a part of a line.
pub(super) fn lines(path: &std::path::Path) -> Result<(String, Vec<KeyLine>), String> {
    let text = read(path)?;
    let lines = key_file::parse(&text)?;
    Ok((text, lines))
}

fn read(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read as _;
    let wrong = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(wrong)?;
    if text.len() as u64 > MAX_FILE { Err(format!("is larger than {MAX_FILE} bytes")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn line(name: &str, key: &str, more: &str) -> String {
        format!("{name} {} {more}\n", KeyHash::of(key))
    }

    fn ring(folder: &tempfile::TempDir, text: &str) -> KeyRing {
        let path = folder.path().join("keys");
        std::fs::write(&path, text).unwrap();
        KeyRing::open(path, CallerLimits::default(), AuthMetrics::default(), NOW).unwrap()
    }

    fn name(found: &KeyLookup) -> &str {
        match found {
            KeyLookup::Valid(caller) => caller.name(),
            KeyLookup::Expired(_) => "(expired)",
            KeyLookup::Unknown => "(unknown)",
        }
    }

    #[test]
    fn each_key_is_its_caller_until_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let many: String = (0..500).map(|n| line(&format!("n{n}"), &format!("k{n}"), "")).collect();
        let ring = ring(&folder, &format!("{many}{}", line("end", "e", "expires=2027-01-15T08:00:00Z")));
        for n in 0..500 {
            assert_eq!(name(&ring.find(&format!("k{n}"), NOW)), format!("n{n}"));
        }
        assert_eq!(name(&ring.find("e", NOW - 1)), "end");
        assert_eq!(name(&ring.find("e", NOW)), "(expired)");
        for wrong in ["", "k500", "K1", "k1 ", &"k".repeat(100_000)] {
            assert_eq!(name(&ring.find(wrong, NOW)), "(unknown)");
        }
    }

    #[test]
    fn a_changed_file_is_used_and_an_invalid_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(&folder, &(line("a", "ka", "daily_rows=10") + &line("b", "kb", "")));
        let write = |text: &str| std::fs::write(folder.path().join("keys"), text).unwrap();
        let KeyLookup::Valid(a) = ring.find("ka", NOW) else { panic!() };
        a.count_rows(9, NOW).unwrap();

        write("a sha256:broken\n");
        ring.refresh(NOW);
        assert_eq!((name(&ring.find("ka", NOW)), name(&ring.find("kb", NOW))), ("a", "b"));
        write("");
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("ka", NOW)), "a", "a file that is being rewritten revokes nothing");
        std::fs::remove_file(folder.path().join("keys")).unwrap();
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("kb", NOW)), "b", "a file that is missing for a moment revokes nothing");

        write(&(line("a", "ka", "daily_rows=10") + &line("a", "ka2", "daily_rows=10")));
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("kb", NOW)), "(unknown)", "revoked");
        let KeyLookup::Valid(again) = ring.find("ka2", NOW) else { panic!() };
        assert!(again.count_rows(2, NOW).is_err(), "a second key has no separate rows");
        write(&line("a", "ka2", "daily_rows=11"));
        ring.refresh(NOW);
        let KeyLookup::Valid(again) = ring.find("ka2", NOW) else { panic!() };
        assert!(again.count_rows(3, NOW).is_err() && again.count_rows(2, NOW).is_ok(), "used rows stay used");
        assert!(!again.is_admin());
        write(&line("a", "ka2", "daily_rows=11 admin=true"));
        ring.refresh(NOW);
        let KeyLookup::Valid(again) = ring.find("ka2", NOW) else { panic!() };
        assert!(again.is_admin(), "rights follow the file");
        write("# none\n");
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("ka2", NOW)), "(unknown)");
    }
}
