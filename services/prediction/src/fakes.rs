//! Models that do as they are told, and rows for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use forebay_contract::{Context, Features, Item};
use forebay_model::{LoadedVersion, Model, ModelError, Rows, Scores, Signature};
use forebay_runtime::CircuitPolicy;
use forebay_testkit::context;
use parking_lot::Mutex;

use crate::metrics::ModelMetrics;
use crate::version::Version;
use crate::versions::{Shelf, Slot, Table, Versions, Wish};

pub(crate) const POLICY: CircuitPolicy = CircuitPolicy { failures: 5, open: Duration::from_secs(60) };

/// How a model answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    /// Ten times the version and the sum of the row.
    Well,
    Nan,
    Panics,
    Refuses,
    /// Panics when a row begins with this value, answers others.
    PanicsAt(f64),
    /// Gives NaN for rows that begin with this value.
    NanAt(f64),
    TooFew,
    Sleeps(Duration),
    SleepsAndRefuses(Duration),
}

/// A model whose mood can be changed while it is in use.
#[derive(Debug)]
pub(crate) struct Fake {
    signature: Signature,
    factor: f64,
    pub mood: Mutex<Mood>,
    pub calls: AtomicUsize,
}

impl Model for Fake {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock();
        let one = |row: &[f64]| match mood {
            Mood::Nan => f64::NAN,
            Mood::NanAt(value) if row[0] == value => f64::NAN,
            _ => self.factor * 10.0 + row.iter().sum::<f64>(),
        };
        let mut values: Vec<f64> = rows.iter().map(one).collect();
        match mood {
            Mood::Panics => panic!("told to"),
            Mood::PanicsAt(value) if rows.iter().any(|row| row[0] == value) => panic!("poison"),
            Mood::Refuses => return Err(ModelError::Execution("told to".into())),
            Mood::TooFew => drop(values.pop()),
            Mood::Sleeps(time) => std::thread::sleep(time),
            Mood::SleepsAndRefuses(time) => {
                std::thread::sleep(time);
                return Err(ModelError::Execution("told to".into()));
            }
            _ => {}
        }
        Ok(Scores::regression(values))
    }

    fn ops(&self) -> Vec<String> {
        vec!["Fake".into()]
    }
}

/// A model `m` with a fake behind each version.
pub(crate) struct Stable {
    pub versions: Arc<Versions>,
    pub fakes: BTreeMap<u32, Arc<Fake>>,
    pub wanted: Receiver<Wish>,
}

/// Versions of `m` that take rows of `width` values.
pub(crate) fn stable(versions: &[(u32, usize)], production: u32) -> Stable {
    let (tx, wanted) = channel();
    let stable = Arc::new(Versions::new(tx));
    let (mut fakes, mut shelf) = (BTreeMap::new(), Shelf::default());
    for &(number, width) in versions {
        let (fake, loaded) = loaded(number, width);
        let version =
            Version::check(loaded, POLICY, ModelMetrics::default().version("m", number), stable.bell()).unwrap();
        shelf.slots.insert(number, Slot::Ready(Arc::new(version)));
        fakes.insert(number, fake);
    }
    shelf.production = Some(production);
    stable.replace(Table { models: [("m".to_owned(), shelf)].into() });
    Stable { versions: stable, fakes, wanted }
}

/// A fake and the version that holds it.
pub(crate) fn loaded(number: u32, width: usize) -> (Arc<Fake>, LoadedVersion) {
    let signature = Signature::unnamed(width);
    let (mood, calls) = (Mutex::new(Mood::Well), AtomicUsize::new(0));
    let fake = Arc::new(Fake { signature: signature.clone(), factor: f64::from(number), mood, calls });
    let loaded = LoadedVersion {
        name: "m".into(),
        version: number,
        digest: [number as u8; 32],
        model: fake.clone(),
        preprocessing: None,
        input_example: None,
        expectation: None,
        accepts_missing: false,
        signature,
    };
    (fake, loaded)
}

impl Stable {
    pub(crate) fn mood(&self, version: u32, mood: Mood) {
        *self.fakes[&version].mood.lock() = mood;
    }

    pub(crate) fn calls(&self, version: u32) -> usize {
        self.fakes[&version].calls.load(Ordering::Relaxed)
    }
}

pub(crate) fn features(model: &str, version: u32, raw: &[f64]) -> Features {
    Features {
        model: model.into(),
        version,
        label: format!("v{version}"),
        raw: raw.to_vec(),
        key: vec![version as u8; 32].into(),
        ..Features::default()
    }
}

pub(crate) fn item(priority: i32, model: &str, version: u32, raw: &[f64]) -> Item<Features> {
    context().priority(priority).item(features(model, version, raw))
}

/// The context of an item whose time is over.
pub(crate) fn late_context() -> Context {
    context().expired().build()
}
