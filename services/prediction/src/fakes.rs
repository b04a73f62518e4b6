//! Models that behave as a test sets them, and rows for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use forebay_contract::{Context, Features, Item};
use forebay_model::{
    Column, ColumnKind, LoadedVersion, Model, ModelError, Output, RowRefusal, Rows, Scores, Signature,
};
use forebay_runtime::CircuitPolicy;
use forebay_testkit::context;
use parking_lot::Mutex;

use crate::loader_commands::LoaderCommand;
use crate::metrics::ModelMetrics;
use crate::version::Version;
use crate::versions::{ModelVersions, VersionSlot, Versions, VersionsSnapshot};

pub(crate) const POLICY: CircuitPolicy = CircuitPolicy { failures: 5, open: Duration::from_secs(60) };

/// How a fake model behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Behavior {
    /// Answers with ten times the version plus the sum of the row.
    Correct,
    Nan,
    Panics,
    Fails,
    /// Panics when a row begins with this value, answers others.
    PanicsAt(f64),
    /// Gives NaN for rows that begin with this value.
    NanAt(f64),
    /// The same, as a model that has no answer to such rows.
    PartialAt(f64),
    /// Refuses rows that begin with this value.
    RefusesAt(f64),
    TooFew,
    Sleeps(Duration),
    SleepsAndFails(Duration),
}

/// A model whose behavior a test can change while it is in use.
#[derive(Debug)]
pub(crate) struct FakeModel {
    signature: Signature,
    factor: f64,
    pub behavior: Mutex<Behavior>,
    pub calls: AtomicUsize,
}

impl Model for FakeModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn is_partial(&self) -> bool {
        matches!(*self.behavior.lock(), Behavior::PartialAt(_))
    }

    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let behavior = *self.behavior.lock();
        let one = |row: &[f64]| match behavior {
            Behavior::Nan => f64::NAN,
            Behavior::NanAt(value) | Behavior::PartialAt(value) if row[0] == value => f64::NAN,
            _ => self.factor * 10.0 + row.iter().sum::<f64>(),
        };
        let mut values: Vec<f64> = rows.iter().map(one).collect();
        match behavior {
            Behavior::Panics => panic!("on purpose"),
            Behavior::PanicsAt(value) if rows.iter().any(|row| row[0] == value) => panic!("poison"),
            Behavior::Fails => return Err(ModelError::Execution("on purpose".into())),
            Behavior::RefusesAt(value) if rows.iter().any(|row| row[0] == value) => {
                return Err(ModelError::Row(RowRefusal::at(0, "has something unknown")));
            }
            Behavior::TooFew => drop(values.pop()),
            Behavior::Sleeps(time) => std::thread::sleep(time),
            Behavior::SleepsAndFails(time) => {
                std::thread::sleep(time);
                return Err(ModelError::Execution("on purpose".into()));
            }
            _ => {}
        }
        Ok(Scores::regression(values))
    }

    fn ops(&self) -> Vec<String> {
        vec!["FakeModel".into()]
    }
}

/// The versions of a model `m`, each with a fake model.
pub(crate) struct FakeVersions {
    pub versions: Arc<Versions>,
    pub fakes: BTreeMap<u32, Arc<FakeModel>>,
    pub wanted: Receiver<LoaderCommand>,
}

/// Versions of `m` that take rows of `width` values.
pub(crate) fn fake_versions(versions: &[(u32, usize)], production: u32) -> FakeVersions {
    costly_versions(versions, production, |_| None)
}

/// As [`fake_versions`], where a version needs the time `cost` for a row, if that is given.
pub(crate) fn costly_versions(
    versions: &[(u32, usize)],
    production: u32,
    cost: impl Fn(u32) -> Option<Duration>,
) -> FakeVersions {
    let (tx, wanted) = channel();
    let fake_versions = Arc::new(Versions::new(tx));
    let (mut fakes, mut model_versions) = (BTreeMap::new(), ModelVersions::default());
    for &(number, width) in versions {
        let (fake, loaded) = loaded(number, width);
        let version =
            Version::check(loaded, POLICY, ModelMetrics::default().version("m", number), fake_versions.notifier())
                .unwrap();
        let version = match cost(number) {
            Some(cost) => version.costing(cost),
            None => version,
        };
        model_versions.slots.insert(number, VersionSlot::Ready(Arc::new(version)));
        fakes.insert(number, fake);
    }
    model_versions.production = Some(production);
    fake_versions.replace(VersionsSnapshot { models: [("m".to_owned(), model_versions)].into() });
    FakeVersions { versions: fake_versions, fakes, wanted }
}

/// A fake and the version that holds it.
pub(crate) fn loaded(number: u32, width: usize) -> (Arc<FakeModel>, LoadedVersion) {
    let signature = Signature::unnamed(width);
    let (behavior, calls) = (Mutex::new(Behavior::Correct), AtomicUsize::new(0));
    let fake = Arc::new(FakeModel { signature: signature.clone(), factor: f64::from(number), behavior, calls });
    let loaded = LoadedVersion {
        name: "m".into(),
        version: number,
        digest: [number as u8; 32],
        model: fake.clone(),
        preprocessing: None,
        input_example: None,
        unread_example: None,
        expectation: None,
        accepts_missing: false,
        columns: columns(&signature),
        output: Output::Predict,
        params: Vec::new(),
        output_names: [].into(),
        signature,
    };
    (fake, loaded)
}

/// Columns of numbers.
fn columns(signature: &Signature) -> Vec<Column> {
    let column = |name: &String| Column { name: name.clone(), kind: ColumnKind::Float, optional: false };
    signature.features.iter().map(column).collect()
}

impl FakeVersions {
    pub(crate) fn set_behavior(&self, version: u32, behavior: Behavior) {
        *self.fakes[&version].behavior.lock() = behavior;
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
