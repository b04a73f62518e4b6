//! Inverse transforms of a target: TransformedTargetRegressor.

use super::OutputTransform;
use crate::step::{Function, Power, Quantiles};

/// The inverse of a fitted transform of the target, in the order in which its parts are undone.
#[derive(Debug, Clone)]
pub(crate) struct Inverse {
    pub parts: Vec<Part>,
}

/// One part of an inverse; vectors have one value per output.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Function(Function),
    /// `x * scale + center`.
    Scale {
        scale: Option<Vec<f64>>,
        center: Option<Vec<f64>>,
    },
    /// `(x - min) / scale`.
    MinMax {
        scale: Vec<f64>,
        min: Vec<f64>,
    },
    Power(Power),
    Quantiles(Quantiles),
}

impl Part {
    fn of(&self, output: usize, x: f64) -> f64 {
        match self {
            Self::Function(function) => function.of(x),
            Self::Scale { scale, center } => {
                let x = scale.as_ref().map_or(x, |s| x * s[output]);
                center.as_ref().map_or(x, |c| x + c[output])
            }
            Self::MinMax { scale, min } => (x - min[output]) / scale[output],
            Self::Power(power) => power.inverse(output, x),
            Self::Quantiles(quantiles) => quantiles.inverse(output, x),
        }
    }

    /// The number of outputs that the part is for; `None` when it is for any.
    fn outputs(&self) -> Option<usize> {
        match self {
            Self::Function(_) => None,
            Self::Scale { scale, center } => scale.as_ref().or(center.as_ref()).map(Vec::len),
            Self::MinMax { scale, .. } => Some(scale.len()),
            Self::Power(power) => Some(power.lambdas.len()),
            Self::Quantiles(quantiles) => Some(quantiles.columns.len()),
        }
    }
}

impl Inverse {
    /// Checks that it is for as many outputs as `base` has.
    pub(super) fn check(&self, base: &OutputTransform) -> Result<(), String> {
        base.check()?;
        if base.task() == crate::Task::Classification {
            return Err("transforms the target of a classifier".to_owned());
        }
        match self.parts.iter().filter_map(Part::outputs).find(|n| *n != base.outputs()) {
            Some(n) => Err(format!("transforms {n} targets, the regressor has {}", base.outputs())),
            None => Ok(()),
        }
    }

    /// Replaces values, which are row-major with `outputs` in a row.
    pub(super) fn apply(&self, outputs: usize, values: &mut [f64]) {
        for part in &self.parts {
            values.iter_mut().enumerate().for_each(|(i, x)| *x = part.of(i % outputs.max(1), *x));
        }
    }
}
