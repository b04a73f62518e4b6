//! When to read a registry: at an interval with jitter, so that replicas do not read it together, and at once when it is known
//! to have changed. Opens the registry as soon as it is available; owns no thread.

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

/// Keeps one registry open and its listing fresh.
pub struct RegistryWatch {
    open: Opener,
    every: Duration,
    registry: Option<Arc<Registry>>,
    looked: Option<Instant>,
    due: Instant,
    reported: Option<RegistryError>,
}

/// A read that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshError {
    /// Why.
    pub error: RegistryError,
    /// False when the read before failed for the same reason; each reason is logged once.
    pub is_new: bool,
}

impl RegistryWatch {
    /// Looks with `open` until it gives a registry, then refreshes that one about `every` so often. The first look is due.
    pub fn new(open: impl Fn() -> Result<Registry, RegistryError> + Send + 'static, every: Duration) -> Self {
        let open = Box::new(open);
        Self { open, every, registry: None, looked: None, due: Instant::now(), reported: None }
    }

    /// The registry, once it was there.
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.registry.clone()
    }

    /// How long until the next look.
    pub fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Whether it is time for a look.
    pub fn is_due(&self) -> bool {
        self.wait().is_zero()
    }

    /// Makes the next look due now, or as soon as the last one is a moment ago.
    pub fn hurry(&mut self) {
        let soonest = self.looked.map_or_else(Instant::now, |looked| looked + MIN_INTERVAL);
        self.due = self.due.min(soonest);
    }

    /// Opens or refreshes; blocking. The next look is planned, whatever comes of this one.
    ///
    /// # Errors
    /// [`RefreshError`]; a registry that was open stays as it was.
    pub fn look(&mut self) -> Result<Arc<Registry>, RefreshError> {
        let looked = match &self.registry {
            Some(registry) => registry.refresh().map(|()| Arc::clone(registry)),
            None => (self.open)().map(Arc::new),
        };
        let interval =
            if looked.is_ok() || self.registry.is_some() { self.every } else { self.every.min(REOPEN_INTERVAL) };
        let now = Instant::now();
        self.looked = Some(now);
        self.due = now + interval.mul_f64(rand::rng().random_range(1.0 - JITTER..1.0 + JITTER));
        match looked {
            Ok(registry) => {
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
        assert!(!watch.is_due(), "somebody who calls without end does not make us look without end");
    }

    #[test]
    fn each_trouble_is_new_once_and_a_registry_that_comes_is_opened() {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        let open = || match TRIES.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Registry::open("file:no/such/folder"),
            2 => Registry::open("elsewhere"),
            _ => Registry::open("sample"),
        };
        let mut watch = RegistryWatch::new(open, EVERY);
        let news: Vec<bool> = (0..3).map(|_| watch.look().unwrap_err().is_new).collect();
        assert_eq!(news, [true, false, true]);
        assert!(watch.wait() <= REOPEN_INTERVAL.mul_f64(1.2), "what is not there is tried sooner");
        assert!(watch.look().is_ok());
        assert!(watch.wait() > REOPEN_INTERVAL * 2);
    }
}
