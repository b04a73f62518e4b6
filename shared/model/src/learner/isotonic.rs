//! Lines between ascending points, of one column.

use forebay_artefact::Frame;

use super::{Calibrator, Learner};
use crate::{ModelError, Value};

/// An isotonic regression.
#[derive(Debug)]
pub(crate) struct Isotonic {
    /// The lines.
    pub lines: Calibrator,
    /// Outside these there is no answer (NaN); `None` if the value at the nearest end is the answer there.
    pub bounds: Option<(f64, f64)>,
}

impl Learner for Isotonic {
    fn width(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    fn name(&self) -> String {
        "Isotonic".to_owned()
    }

    fn sample(&self) -> Option<Vec<Option<Value>>> {
        self.bounds.map(|(low, _)| vec![Some(low.into())])
    }

    fn is_partial(&self) -> bool {
        self.bounds.is_some()
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let values = frame.numbers().map_err(ModelError::Row)?;
        let one = |row: &[f64]| {
            // the thresholds of single precision are ends of what x is as one
            let single = matches!(self.lines, Calibrator::IsotonicSingle { .. });
            let x = if single { f64::from(row[0] as f32) } else { row[0] };
            let inside = self.bounds.is_none_or(|(low, high)| (low..=high).contains(&x));
            if inside { self.lines.of(x) } else { f64::NAN }
        };
        Ok(values.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use forebay_artefact::matrix::Matrix;

    use super::*;

    #[test]
    fn outside_its_bounds_there_is_no_answer_unless_it_clips() {
        let of = |bounds| {
            let lines = Calibrator::Isotonic { at: vec![0.0, 2.0], values: vec![1.0, 5.0] };
            let frame = Frame::Numbers(Matrix { width: 1, data: vec![-1.0, 0.5, 2.0, 3.0] });
            Isotonic { lines, bounds }.run(&frame).unwrap()
        };
        assert_eq!(of(None), [1.0, 2.0, 5.0, 5.0]);
        let bounded = of(Some((0.0, 2.0)));
        assert_eq!(bounded[1..3], [2.0, 5.0]);
        assert!(bounded[0].is_nan() && bounded[3].is_nan());
    }
}
