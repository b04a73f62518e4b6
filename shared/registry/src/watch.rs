//! Decides when to read a registry: at an interval with jitter, so that replicas do not read it together, and at once
//! when it is known to have changed. Opens the registry as soon as it is available; owns no thread.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Registry, RegistryError};

/// Longest wait between two attempts to open a registry that is not available.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest wait between two reads, however often they are requested.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// Fraction of the interval by which a read comes earlier or later.
const JITTER: f64 = 0.2;

type Opener = Box<dyn Fn() -> Result<Registry, RegistryError> + Send>;

/// Keeps one registry open and its listing up to date.
pub struct RegistryWatch {
    open: Opener,
    every: Duration,
    registry: Option<Arc<Registry>>,
    /// Models that are listed even if no setting names them.
    also: BTreeSet<String>,
    looked: Option<Instant>,
    due: Instant,
    reported: Option<RegistryError>,
}

/// A read that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshError {
    /// The reason.
    pub error: RegistryError,
    /// False when the previous read failed for the same reason, so that each reason is logged once.
    pub is_new: bool,
}

impl RegistryWatch {
    /// Calls `open` until it returns a registry, and then refreshes that registry about every `every`. The first read
    /// is due at once.
    pub fn new(open: impl Fn() -> Result<Registry, RegistryError> + Send + 'static, every: Duration) -> Self {
        let open = Box::new(open);
        Self { open, every, registry: None, also: BTreeSet::new(), looked: None, due: Instant::now(), reported: None }
    }

    /// The registry, once it has been opened.
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.registry.clone()
    }

    /// Time until the next read.
    pub fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Whether a read is due.
    pub fn is_due(&self) -> bool {
        self.wait().is_zero()
    }

    /// Makes the next read due now, or once the shortest interval since the last one has passed.
    pub fn hurry(&mut self) {
        let soonest = self.looked.map_or_else(Instant::now, |looked| looked + MIN_INTERVAL);
        self.due = self.due.min(soonest);
    }

    /// Lists these models of a server as well from the next read on, even if no setting names them; whether they are others
    /// than before.
    pub fn list_also(&mut self, models: impl IntoIterator<Item = String>) -> bool {
        let also: BTreeSet<String> = models.into_iter().collect();
        let changed = also != self.also;
        self.also = also;
        changed
    }

    /// Opens or refreshes the registry. Blocks. The next read is scheduled whether or not this one succeeds.
    ///
    /// # Errors
    /// [`RefreshError`]; a registry that is already open keeps its listing.
    pub fn look(&mut self) -> Result<Arc<Registry>, RefreshError> {
        let looked = match &self.registry {
            Some(registry) => {
                registry.list_also(&self.also);
                registry.refresh().map(|()| Arc::clone(registry))
            }
            None => (self.open)().map(Arc::new),
        };
        let incomplete = self.registry.is_none() && !self.also.is_empty();
        let interval =
            if looked.is_ok() || self.registry.is_some() { self.every } else { self.every.min(REOPEN_INTERVAL) };
        let now = Instant::now();
        self.looked = Some(now);
        self.due = now + interval.mul_f64(rand::rng().random_range(1.0 - JITTER..1.0 + JITTER));
        match looked {
            Ok(registry) => {
                if incomplete {
                    self.due = now;
                }
                self.reported = None;
                self.registry = Some(Arc::clone(&registry));
                Ok(registry)
            }
            Err(error) => {
                let is_new = self.reported.as_ref() != Some(&error);
                self.reported = Some(error.clone());
                Err(RefreshError { error, is_new })
            }
        }
    }
}

impl fmt::Debug for RegistryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryWatch")
            .field("registry", &self.registry)
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    #[test]
    fn looks_are_jittered_and_can_be_hurried() {
        let mut watch = RegistryWatch::new(|| Registry::open("sample"), EVERY);
        assert!(watch.is_due() && watch.registry().is_none());
        assert_eq!(watch.look().unwrap().location(), "sample");
        let mut waits: Vec<Duration> = (0..20)
            .map(|_| {
                watch.look().unwrap();
                watch.wait()
            })
            .collect();
        waits.sort();
        assert!(waits[0] >= EVERY.mul_f64(0.79) && waits[19] <= EVERY.mul_f64(1.2), "{waits:?}");
        assert!(waits[19] - waits[0] > EVERY.mul_f64(0.05), "{waits:?}");
        watch.hurry();
        assert!(watch.wait() <= MIN_INTERVAL);
        watch.look().unwrap();
        watch.hurry();
        assert!(!watch.is_due(), "constant requests do not cause constant reads");
    }

    #[test]
    fn each_error_is_new_once_and_a_registry_that_appears_is_opened() {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        let open = || match TRIES.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Registry::open("file:no/such/folder"),
            2 => Registry::open("elsewhere"),
            _ => Registry::open("sample"),
        };
        let mut watch = RegistryWatch::new(open, EVERY);
        let news: Vec<bool> = (0..3).map(|_| watch.look().unwrap_err().is_new).collect();
        assert_eq!(news, [true, false, true]);
        assert!(watch.wait() <= REOPEN_INTERVAL.mul_f64(1.2), "an absent registry is tried again sooner");
        assert!(watch.look().is_ok());
        assert!(watch.wait() > REOPEN_INTERVAL * 2);
    }
}
