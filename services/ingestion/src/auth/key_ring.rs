//! The API keys that count now. Readers never wait: a changed file is read aside and then swapped in.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use subtle::ConstantTimeEq as _;

use super::allowance::Limits;
use super::api_key::KeyHash;
use super::caller::{Caller, Kind};
use super::counts::Counts;
use super::key_file::{self, KeyLine};

/// The largest file of keys.
const MAX_FILE: u64 = 4 << 20;
/// No key is longer; what is longer is not hashed.
const MAX_KEY: usize = 512;

/// All keys, and where they come from.
#[derive(Debug)]
pub(super) struct KeyRing {
    path: PathBuf,
    limits: Limits,
    counts: Counts,
    /// Ascending by hash.
    keys: ArcSwap<Vec<Entry>>,
    /// Digest of the text that was read last, good or not.
    read: Mutex<blake3::Hash>,
}

#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    expires: Option<u64>,
    caller: Arc<Caller>,
}

/// What a key turned out to be.
#[derive(Debug)]
pub(super) enum Found {
    Known(Arc<Caller>),
    Expired(Arc<Caller>),
    Unknown,
}

impl KeyRing {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// What is wrong with it; never a part of a line.
    pub(super) fn open(path: PathBuf, limits: Limits, counts: Counts, now_s: u64) -> Result<Self, String> {
        let (text, lines) = lines(&path)?;
        let ring =
            Self { path, limits, counts, keys: ArcSwap::default(), read: Mutex::new(blake3::hash(text.as_bytes())) };
        ring.install(lines);
        ring.counts.watch("keys");
        ring.count(now_s);
        Ok(ring)
    }

    /// Whose key `shown` is. Takes as long for a wrong key as for a right one, but for the search by the first bytes of
    /// the hash, which nobody can choose.
    pub(super) fn find(&self, shown: &str, now_s: u64) -> Found {
        if shown.len() > MAX_KEY {
            return Found::Unknown;
        }
        let hash = KeyHash::of(shown);
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
            Some(entry) if entry.counts(now_s) => Found::Known(Arc::clone(&entry.caller)),
            Some(entry) => Found::Expired(Arc::clone(&entry.caller)),
            None => Found::Unknown,
        }
    }

    /// Looks at the file and takes over what has changed. What cannot be read leaves the keys as they are.
    pub(super) fn refresh(&self, now_s: u64) {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(reason) => return self.failed(&reason, blake3::hash(reason.as_bytes())),
        };
        let digest = blake3::hash(text.as_bytes());
        if *self.read.lock() != digest {
            match key_file::parse(&text) {
                Ok(lines) => {
                    *self.read.lock() = digest;
                    self.install(lines);
                    tracing::info!(keys = self.keys.load().len(), "api keys were read again");
                }
                Err(reason) => self.failed(&reason, digest),
            }
        }
        self.count(now_s);
    }

    fn count(&self, now_s: u64) {
        self.counts.keys(self.keys.load().iter().filter(|entry| entry.counts(now_s)).count());
    }

    /// Told once for each new reason, not at every look.
    fn failed(&self, reason: &str, digest: blake3::Hash) {
        if std::mem::replace(&mut *self.read.lock(), digest) != digest {
            self.counts.failed("keys");
            let path = self.path.display();
            tracing::error!(%path, reason, "api keys cannot be read, those read before stay in use");
        }
    }

    /// A caller whose line says the same as before stays who it is, with what it has used.
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
        let terms = &line.terms;
        let limits = Limits {
            rate: terms.rate.unwrap_or(self.limits.rate),
            burst: terms.burst.unwrap_or(self.limits.burst),
            daily_rows: terms.daily_rows.unwrap_or(self.limits.daily_rows),
        };
        match before.filter(|before| before.fits(limits, terms.models.as_ref())) {
            Some(same) => Arc::clone(same),
            None => {
                let before = before.map(AsRef::as_ref);
                Arc::new(Caller::new(&Kind::Key, &line.name, limits, terms.models.clone(), &self.counts, before))
            }
        }
    }
}

impl Entry {
    fn counts(&self, now_s: u64) -> bool {
        self.expires.is_none_or(|end| now_s < end)
    }
}

/// Reads and understands a file of keys.
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
        KeyRing::open(path, Limits::default(), Counts::default(), NOW).unwrap()
    }

    fn name(found: &Found) -> &str {
        match found {
            Found::Known(caller) => caller.name(),
            Found::Expired(_) => "(expired)",
            Found::Unknown => "(unknown)",
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
    fn a_changed_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(&folder, &(line("a", "ka", "daily_rows=10") + &line("b", "kb", "")));
        let write = |text: &str| std::fs::write(folder.path().join("keys"), text).unwrap();
        let Found::Known(a) = ring.find("ka", NOW) else { panic!() };
        a.ask("m", 9, NOW).unwrap();

        write("a sha256:broken");
        ring.refresh(NOW);
        assert_eq!((name(&ring.find("ka", NOW)), name(&ring.find("kb", NOW))), ("a", "b"));
        std::fs::remove_file(folder.path().join("keys")).unwrap();
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("kb", NOW)), "b", "a file that is away for a moment revokes nothing");

        write(&(line("a", "ka", "daily_rows=10") + &line("a", "ka2", "daily_rows=10")));
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("kb", NOW)), "(unknown)", "revoked");
        let Found::Known(again) = ring.find("ka2", NOW) else { panic!() };
        assert!(again.ask("m", 2, NOW).is_err(), "a second key has no rows of its own");
        write(&line("a", "ka2", "daily_rows=11"));
        ring.refresh(NOW);
        let Found::Known(again) = ring.find("ka2", NOW) else { panic!() };
        assert!(again.ask("m", 3, NOW).is_err() && again.ask("m", 2, NOW).is_ok(), "used rows stay used");
        write("# nobody");
        ring.refresh(NOW);
        assert_eq!(name(&ring.find("ka2", NOW)), "(unknown)");
    }
}
