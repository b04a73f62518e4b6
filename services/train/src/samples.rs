//! Rows as a fit sees them: filled, standardised, the target as a matrix.

use forebay_model::{Prepare, TargetScale};

use crate::dataset::Dataset;
use crate::target_values::TargetValues;

/// Training rows, all in f64.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    pub(crate) width: usize,
    /// Row-major `rows x width`, filled and standardised.
    pub(crate) inputs: Vec<f64>,
    /// Columns of `outputs`: 1 for numbers, one per class else.
    pub(crate) classes: usize,
    /// Row-major `rows x classes`: the standardised number, or 1 in the class's column.
    pub(crate) outputs: Vec<f64>,
}

/// Statistics of the training rows that prepare rows for a fit.
#[derive(Debug, Clone)]
pub(crate) struct Scaling {
    pub(crate) prepare: Prepare,
    /// Mean and standard deviation of the target; `None` for classes.
    pub(crate) target: Option<TargetScale>,
}

impl Scaling {
    /// Means and standard deviations of `rows`. A column with one value is centred only.
    pub(crate) fn of(table: &Dataset, target: &TargetValues, rows: &[usize]) -> Self {
        let width = table.features.len();
        let column = |c: usize| rows.iter().map(move |r| table.row(*r)[c]);
        let fill: Vec<f64> = (0..width).map(|c| mean(column(c).filter(|v| !v.is_nan()))).collect();
        let filled = |c: usize, fill: f64| column(c).map(move |v| if v.is_nan() { fill } else { v });
        let (mut center, mut scale) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for (c, fill) in fill.iter().enumerate() {
            let m = mean(filled(c, *fill));
            center.push(m);
            scale.push(deviation(filled(c, *fill), m));
        }
        let target = match target {
            TargetValues::Numbers(numbers) => {
                let values = || rows.iter().map(|r| numbers[*r]);
                let center = mean(values());
                Some(TargetScale { scale: deviation(values(), center), center })
            }
            TargetValues::Classes { .. } => None,
        };
        Self { prepare: Prepare { fill: table.has_missing().then_some(fill), center, scale }, target }
    }

    /// Appends one raw row, prepared.
    pub(crate) fn prepare_into(&self, row: &[f64], out: &mut Vec<f64>) {
        let Prepare { fill, center, scale } = &self.prepare;
        out.extend(row.iter().enumerate().map(|(c, v)| {
            let v = if v.is_nan() { fill.as_ref().map_or(f64::NAN, |fill| fill[c]) } else { *v };
            (v - center[c]) / scale[c]
        }));
    }

    /// `rows` of the table, ready for a fit.
    pub(crate) fn samples(&self, table: &Dataset, target: &TargetValues, rows: &[usize]) -> Samples {
        let width = table.features.len();
        let mut inputs = Vec::with_capacity(rows.len() * width);
        rows.iter().for_each(|r| self.prepare_into(table.row(*r), &mut inputs));
        let (classes, outputs) = match (target, self.target) {
            (TargetValues::Classes { labels, of }, _) => {
                let mut outputs = vec![0.0; rows.len() * labels.len()];
                rows.iter().enumerate().for_each(|(i, r)| outputs[i * labels.len() + of[*r]] = 1.0);
                (labels.len(), outputs)
            }
            (TargetValues::Numbers(numbers), scale) => {
                let TargetScale { scale, center } = scale.unwrap_or(TargetScale { scale: 1.0, center: 0.0 });
                (1, rows.iter().map(|r| (numbers[*r] - center) / scale).collect())
            }
        };
        Samples { width, inputs, classes, outputs }
    }
}

impl Samples {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.outputs.len() / self.classes
    }

    /// Inputs of row `i`.
    pub(crate) fn input(&self, i: usize) -> &[f64] {
        &self.inputs[i * self.width..(i + 1) * self.width]
    }

    /// Outputs of row `i`.
    pub(crate) fn output(&self, i: usize) -> &[f64] {
        &self.outputs[i * self.classes..(i + 1) * self.classes]
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// Standard deviation of the population; 1 when the values do not differ beyond rounding.
fn deviation(values: impl Iterator<Item = f64>, mean: f64) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), v| (sum + (v - mean).powi(2), n + 1));
    let deviation = (sum / n.max(1) as f64).sqrt();
    if deviation.is_finite() && deviation > mean.abs() * 1e-12 && deviation > f64::MIN_POSITIVE {
        deviation
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_and_standardised() {
        let table = Dataset::read("a,b,y\n1,5,10\n,5,20\n5,5,30\n9,5,99.5\n".as_bytes(), None).unwrap();
        let target = TargetValues::read(&table.target, None).unwrap();
        let scaling = Scaling::of(&table, &target, &[0, 1, 2]);
        assert_eq!(scaling.prepare.fill, Some(vec![3.0, 5.0]));
        assert_eq!((scaling.prepare.center[0], scaling.prepare.scale[1]), (3.0, 1.0));
        let samples = scaling.samples(&table, &target, &[1, 2]);
        assert_eq!((samples.len(), samples.input(0)), (2, [0.0, 0.0].as_slice()));
        assert!((samples.input(1)[0] - 2.0 / (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(samples.output(0), [0.0]);
        let table = Dataset::read("a,y\n1,p\n2,q\n3,p\n4,q\n".as_bytes(), None).unwrap();
        let target = TargetValues::read(&table.target, None).unwrap();
        let scaling = Scaling::of(&table, &target, &[0, 1, 2, 3]);
        assert!(scaling.prepare.fill.is_none() && scaling.target.is_none());
        assert_eq!(scaling.samples(&table, &target, &[1]).output(0), [0.0, 1.0]);
    }
}
