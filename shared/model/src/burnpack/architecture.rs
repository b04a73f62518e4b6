//! The JSON in a file's metadata that describes a net.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Task;
use crate::mlmodel::MAX_WIDTH;
use crate::step::{Impute, Step};

/// The metadata key of the architecture.
pub const ARCHITECTURE_KEY: &str = "forebay.architecture";

/// The architecture of a net. It names the tensors; the file holds them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Architecture {
    pub(super) width: usize,
    #[serde(default, deserialize_with = "names")]
    pub(super) features: Vec<String>,
    pub(super) task: TaskName,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prepare: Option<Prepare>,
    pub(super) layers: Vec<LayerSpec>,
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub(super) layout: Layout,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<TargetScale>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TaskName {
    Regression,
    Classification,
}

/// Reads as many names as a model may have columns.
fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = from.next_element()? {
                if names.len() == MAX_WIDTH {
                    return Err(A::Error::custom(format!("more than {MAX_WIDTH} features")));
                }
                names.push(name);
            }
            Ok(names)
        }
    }
    from.deserialize_seq(Names)
}

/// The order of the axes of a linear layer's weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layout {
    /// The order in burn.
    #[default]
    InOut,
    /// The order in PyTorch.
    OutIn,
}

impl Layout {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LayerSpec {
    Linear(String),
    Activation(String),
}

/// The preparation of a raw row for the net, in f64: missing values are filled, then `(x - center) / scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// The value that replaces a missing one, per column. Without it the model rejects missing values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Vec<f64>>,
    /// The value that is subtracted, per column.
    pub center: Vec<f64>,
    /// The divisor, per column; never zero.
    pub scale: Vec<f64>,
}

/// How a regression net's output becomes the prediction: `output * scale + center`, in f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetScale {
    pub scale: f64,
    pub center: f64,
}

impl From<Task> for TaskName {
    fn from(task: Task) -> Self {
        match task {
            Task::Regression => Self::Regression,
            Task::Classification => Self::Classification,
        }
    }
}

impl Prepare {
    /// The steps of the plan.
    ///
    /// # Errors
    /// When a list is not `width` long, a value is not finite or a scale is zero.
    pub(super) fn steps(self, width: usize) -> Result<Vec<Step>, String> {
        let Self { fill, center, scale } = self;
        for (name, values) in [("fill", fill.as_ref()), ("center", Some(&center)), ("scale", Some(&scale))] {
            let Some(values) = values else { continue };
            if values.len() != width {
                return Err(format!("prepare: {name} has {} values for width {width}", values.len()));
            }
            if let Some(bad) = values.iter().find(|v| !v.is_finite() || (name == "scale" && **v == 0.0)) {
                return Err(format!("prepare: {name} holds {bad}"));
            }
        }
        let mut steps = Vec::with_capacity(2);
        if let Some(fill) = fill {
            let kept = fill.into_iter().enumerate().collect();
            steps.push(Step::Impute(Impute { missing: None, kept, indicator: Vec::new() }));
        }
        steps.push(Step::Scale { center: Some(center), scale: Some(scale), clip: None });
        Ok(steps)
    }
}

impl TargetScale {
    /// # Errors
    /// Values that are not finite, a scale of zero.
    pub(super) fn check(self) -> Result<Self, String> {
        if self.scale.is_finite() && self.scale != 0.0 && self.center.is_finite() {
            return Ok(self);
        }
        Err(format!("target: scale {} and center {}", self.scale, self.center))
    }
}
