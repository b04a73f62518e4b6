//! Rows with what scikit-learn predicts for them, from `data/diabetes_origin.csv` (`suites/origin.py` writes it).

use std::fmt::Write as _;

use crate::error::LoadtestError;
use crate::workload_rows::WorkloadRows;

const PREDICTIONS: &str = include_str!("../../data/diabetes_origin.csv");
/// How far apart the values of the varied feature are; `suites/origin.py` has the same number.
const STEP: f64 = 0.002;

/// The scaled diabetes rows, each with several values of one feature.
#[derive(Debug)]
pub(crate) struct OriginRows {
    rows: WorkloadRows,
    predictions: Vec<Vec<f64>>,
    steps: usize,
}

impl OriginRows {
    pub(crate) fn load() -> Result<Self, LoadtestError> {
        let wrong = |what: String| LoadtestError::Input(format!("embedded diabetes_origin.csv: {what}"));
        let numbers = |line: &str| line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>();
        let predictions = PREDICTIONS.lines().map(numbers).collect::<Result<Vec<_>, _>>();
        let predictions = predictions.map_err(|error| wrong(error.to_string()))?;
        let (rows, steps) = (WorkloadRows::scaled()?, predictions.first().map_or(0, Vec::len));
        if rows.len() != predictions.len() || steps == 0 || predictions.iter().any(|line| line.len() != steps) {
            return Err(wrong(format!("{} lines for {} rows", predictions.len(), rows.len())));
        }
        Ok(Self { rows, predictions, steps })
    }

    /// How many different rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.steps
    }

    /// Appends row `number` as a JSON array.
    pub(crate) fn write(&self, number: usize, out: &mut String) {
        let (row, step) = self.place(number);
        let row = self.rows.row(row);
        let value = row.values[self.rows.varied()] + step as f64 * STEP;
        let _infallible = write!(out, "{}{value}{}", row.head, row.tail);
    }

    /// What the origin predicts for row `number`.
    pub(crate) fn prediction(&self, number: usize) -> f64 {
        let (row, step) = self.place(number);
        self.predictions[row][step]
    }

    /// Neighbouring numbers are rows of different people.
    fn place(&self, number: usize) -> (usize, usize) {
        let number = number % self.len();
        (number % self.rows.len(), number / self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_predictions_belong_together() {
        let origin = OriginRows::load().unwrap();
        assert_eq!(origin.len(), 442 * 24);
        let mut text = String::new();
        origin.write(0, &mut text);
        let row: Vec<f64> = serde_json::from_str(&text).unwrap();
        assert_eq!((row[2], origin.prediction(0)), (0.061_696_206_518_683_294, 186.26));
        text.clear();
        origin.write(3 * 442, &mut text);
        let row: Vec<f64> = serde_json::from_str(&text).unwrap();
        assert_eq!((row[2], origin.prediction(3 * 442)), (0.061_696_206_518_683_294 + 3.0 * 0.002, 201.22));
    }

    /// The sample registry's own golden holds some of these rows.
    #[test]
    fn the_sample_registry_expects_the_same() {
        const SAMPLE: &str = include_str!("../../../shared/model/sample/diabetes-rf-model/expected.json");
        let sample: serde_json::Value = serde_json::from_str(SAMPLE).unwrap();
        let origin = OriginRows::load().unwrap();
        let known: Vec<(Vec<f64>, f64)> =
            (0..442).map(|number| (origin.rows.row(number).values.clone(), origin.prediction(number))).collect();
        let mut compared = 0;
        for (row, expected) in
            sample["rows"].as_array().unwrap().iter().zip(sample["versions"]["1"]["predict"].as_array().unwrap())
        {
            let row: Vec<f64> = serde_json::from_value(row.clone()).unwrap();
            if let Some((_, prediction)) = known.iter().find(|(values, _)| *values == row) {
                assert_eq!(Some(*prediction), expected.as_f64());
                compared += 1;
            }
        }
        assert!(compared >= 5, "{compared} of the sample's rows are among ours");
    }
}
