//! Power transforms of each column: PowerTransformer.

use super::{Missing, Transform};
use crate::matrix::Matrix;
use crate::{RowRefusal, Value};

/// Yeo-Johnson or Box-Cox with one exponent per column; then `(x - center) / scale`, if standardised.
#[derive(Debug, Clone)]
pub struct Power {
    pub lambdas: Vec<f64>,
    pub box_cox: bool,
    pub standard: Option<(Vec<f64>, Vec<f64>)>,
}

impl Power {
    fn of(&self, x: f64, column: usize) -> Result<f64, RowRefusal> {
        let lambda = self.lambdas[column];
        if x.is_nan() {
            return Ok(x);
        }
        if !self.box_cox {
            return Ok(yeo_johnson(x, lambda));
        }
        if x <= 0.0 {
            return Err(RowRefusal::at(column, format!("has {x}, the Box-Cox transform takes positive numbers")));
        }
        Ok(if lambda.abs() < 1e-19 { x.ln() } else { (lambda * x.ln()).exp_m1() / lambda })
    }

    /// The value that the transform turns into `x`: the inverse for one column.
    pub fn inverse(&self, column: usize, x: f64) -> f64 {
        let x = self.standard.as_ref().map_or(x, |(center, scale)| x * scale[column] + center[column]);
        let lambda = self.lambdas[column];
        if self.box_cox {
            return if lambda == 0.0 { x.exp() } else { ((x * lambda).ln_1p() / lambda).exp() };
        }
        if x >= 0.0 {
            return if lambda.abs() < f64::EPSILON { x.exp_m1() } else { ((x * lambda).ln_1p() / lambda).exp_m1() };
        }
        let other = 2.0 - lambda;
        if other.abs() > f64::EPSILON { -((-other * x).ln_1p() / other).exp_m1() } else { -(-x).exp_m1() }
    }
}

fn yeo_johnson(x: f64, lambda: f64) -> f64 {
    if x >= 0.0 {
        return if lambda.abs() < f64::EPSILON { x.ln_1p() } else { (lambda * x.ln_1p()).exp_m1() / lambda };
    }
    let other = 2.0 - lambda;
    if other.abs() > f64::EPSILON { -(other * (-x).ln_1p()).exp_m1() / other } else { -(-x).ln_1p() }
}

impl Transform for Power {
    fn width(&self) -> usize {
        self.lambdas.len()
    }

    fn name(&self) -> String {
        if self.box_cox { "BoxCox".to_owned() } else { "YeoJohnson".to_owned() }
    }

    fn missing(&self) -> Missing {
        Missing::Pass
    }

    fn sample(&self) -> Vec<Option<Value>> {
        if self.box_cox { vec![Some(1.0.into()); self.lambdas.len()] } else { Vec::new() }
    }

    fn source(&self, column: usize) -> Option<usize> {
        Some(column)
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        for row in m.iter_mut() {
            for (column, x) in row.iter_mut().take(self.lambdas.len()).enumerate() {
                *x = self.of(*x, column)?;
                if let Some((center, scale)) = &self.standard {
                    *x = (*x - center[column]) / scale[column];
                }
            }
        }
        Ok(())
    }
}
