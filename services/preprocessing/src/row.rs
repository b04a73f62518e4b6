//! The rules that a row has to satisfy, and the error messages for rows that do not.

use std::collections::BTreeMap;

use forebay_contract::{ErrorCode, Problem, list_names};

use crate::settings::{MissingValues, PreprocessingSettings};

/// Rules from the settings, which hold for the rows of every version.
#[derive(Debug, Clone)]
pub struct RowRules {
    missing: MissingValues,
    ranges: BTreeMap<String, BTreeMap<String, (f64, f64)>>,
}

impl From<&PreprocessingSettings> for RowRules {
    fn from(settings: &PreprocessingSettings) -> Self {
        Self { missing: settings.missing, ranges: settings.ranges.clone() }
    }
}

/// The shape of a version's rows.
#[derive(Debug, Clone)]
pub struct RowShape {
    names: Vec<String>,
    fills_missing: bool,
    /// `(feature, lowest, highest)`
    ranges: Vec<(usize, f64, f64)>,
}

/// Largest number of names in one message; a model may have thousands of features.
pub(crate) const NAMES_LISTED: usize = 12;
/// Largest number of characters that a message repeats of a client's text.
const QUOTED_CHARS: usize = 64;

impl RowShape {
    /// For rows of `model` with the values `names`, in this order; `accepts_missing` says whether the version fills in
    /// missing values.
    pub fn new(model: &str, names: Vec<String>, accepts_missing: bool, rules: &RowRules) -> Self {
        let own = rules.ranges.get(model);
        let range = |(index, name): (usize, &String)| own?.get(name).map(|&(low, high)| (index, low, high));
        let ranges = names.iter().enumerate().filter_map(range).collect();
        Self { fills_missing: accepts_missing && rules.missing == MissingValues::Impute, ranges, names }
    }

    /// Checks a row and puts it into the version's order. A missing value becomes NaN, always with the same bits.
    ///
    /// # Errors
    /// `invalid_features`, naming the feature.
    pub fn check(&self, values: Vec<f64>, names: &[String]) -> Result<Vec<f64>, Problem> {
        let mut row =
            if names.is_empty() || names == self.names { self.unnamed(values)? } else { self.ordered(&values, names)? };
        if !row.iter().all(|value| value.is_finite()) {
            self.check_gaps(&mut row)?;
        }
        for &(index, low, high) in &self.ranges {
            let value = row[index];
            if value < low || value > high {
                return Err(invalid(format!("feature {} is {value}, expected {low} to {high}", self.names[index])));
            }
        }
        Ok(row)
    }

    fn unnamed(&self, values: Vec<f64>) -> Result<Vec<f64>, Problem> {
        if values.len() == self.names.len() {
            return Ok(values);
        }
        let (expected, got) = (self.names.len(), values.len());
        Err(invalid(format!(
            "expected {expected} features ({}), got {got}",
            list_names(self.names.iter(), NAMES_LISTED)
        )))
    }

    fn ordered(&self, values: &[f64], names: &[String]) -> Result<Vec<f64>, Problem> {
        if values.len() != names.len() {
            return Err(invalid(format!("{} names for {} values", names.len(), values.len())));
        }
        let mut row: Vec<Option<f64>> = vec![None; self.names.len()];
        for (at, (name, &value)) in names.iter().zip(values).enumerate() {
            // a client that sends all names nearly always sends them in order
            let index =
                if self.names.get(at) == Some(name) { Some(at) } else { self.names.iter().position(|own| own == name) };
            let Some(index) = index else {
                return Err(invalid(format!(
                    "unknown feature {}, expected {}",
                    quoted(name),
                    list_names(self.names.iter(), NAMES_LISTED)
                )));
            };
            if row[index].replace(value).is_some() {
                return Err(invalid(format!("feature {} is given twice", quoted(name))));
            }
        }
        Ok(row.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }

    /// Refuses infinite values, and missing ones unless the version fills them in.
    fn check_gaps(&self, row: &mut [f64]) -> Result<(), Problem> {
        if let Some(index) = row.iter().position(|value| value.is_infinite()) {
            return Err(invalid(format!("feature {} is not finite", self.names[index])));
        }
        if !self.fills_missing {
            let missing = self.names.iter().zip(&*row).filter(|(_, value)| value.is_nan()).map(|(name, _)| name);
            return Err(Problem::missing_features(missing, NAMES_LISTED));
        }
        // equal questions must have equal bits, and NaN has many
        row.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = f64::NAN);
        Ok(())
    }
}

pub(crate) fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

/// A client's text in quotes, cut after [`QUOTED_CHARS`].
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(missing: MissingValues, accepts: bool) -> RowShape {
        let ranges = BTreeMap::from([("m".into(), BTreeMap::from([("bmi".into(), (0.0, 50.0))]))]);
        let names = ["age", "sex", "bmi"].map(str::to_owned).to_vec();
        RowShape::new("m", names, accepts, &RowRules { missing, ranges })
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn message_of(result: Result<Vec<f64>, Problem>) -> String {
        let problem = result.unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidFeatures);
        problem.message
    }

    #[test]
    fn a_sound_row_passes_as_it_is() {
        let shape = shape(MissingValues::Impute, false);
        assert_eq!(shape.check(vec![1.0, -0.0, 3.0], &[]).unwrap()[1].to_bits(), (-0.0f64).to_bits());
        let in_order = names(&["age", "sex", "bmi"]);
        assert_eq!(shape.check(vec![1.0, 2.0, 3.0], &in_order).unwrap(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_wrong_width_is_reported_with_the_names() {
        let shape = shape(MissingValues::Impute, true);
        assert_eq!(message_of(shape.check(vec![1.0; 2], &[])), "expected 3 features (age, sex, bmi), got 2");
        assert_eq!(message_of(shape.check(vec![1.0; 4], &[])), "expected 3 features (age, sex, bmi), got 4");
        assert_eq!(message_of(shape.check(vec![], &[])), "expected 3 features (age, sex, bmi), got 0");
    }

    #[test]
    fn many_names_are_cut() {
        let all: Vec<String> = (0..100).map(|i| format!("f{i}")).collect();
        let shape =
            RowShape::new("w", all, false, &RowRules { missing: MissingValues::Impute, ranges: BTreeMap::new() });
        let text = message_of(shape.check(vec![], &[]));
        assert!(text.contains("f11 and 88 more") && text.len() < 200, "{text}");
    }

    #[test]
    fn named_values_are_put_in_order() {
        let shape = shape(MissingValues::Impute, false);
        let row = shape.check(vec![3.0, 1.0, 2.0], &names(&["bmi", "age", "sex"])).unwrap();
        assert_eq!(row, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn wrong_names_are_named() {
        let shape = shape(MissingValues::Impute, false);
        let check = |given: &[&str]| message_of(shape.check(vec![1.0; given.len()], &names(given)));
        assert_eq!(check(&["age", "sex", "height"]), "unknown feature \"height\", expected age, sex, bmi");
        assert_eq!(check(&["age", "sex", "age"]), "feature \"age\" is given twice");
        assert_eq!(check(&["age", "sex"]), "feature bmi is missing and cannot be filled in");
        assert_eq!(check(&["sex"]), "features age, bmi are missing and cannot be filled in");
        assert_eq!(message_of(shape.check(vec![1.0], &names(&["age", "sex"]))), "2 names for 1 values");
        let long = "x".repeat(10_000);
        assert!(check(&[&long]).len() < 200);
    }

    #[test]
    fn missing_values_need_a_rule() {
        let gap = || vec![1.0, f64::NAN, 3.0];
        assert_eq!(
            message_of(shape(MissingValues::Impute, false).check(gap(), &[])),
            "feature sex is missing and cannot be filled in"
        );
        assert_eq!(
            message_of(shape(MissingValues::Reject, true).check(gap(), &[])),
            "feature sex is missing and cannot be filled in"
        );
        assert!(shape(MissingValues::Impute, true).check(gap(), &[]).unwrap()[1].is_nan());
        assert!(shape(MissingValues::Impute, true).check(vec![1.0, 2.0], &names(&["age", "bmi"])).unwrap()[1].is_nan());
    }

    #[test]
    fn every_nan_is_the_same() {
        let other = f64::from_bits(f64::NAN.to_bits() | 0xbeef);
        let row = shape(MissingValues::Impute, true).check(vec![1.0, other, -f64::NAN], &[]).unwrap();
        assert!(row[1..].iter().all(|value| value.to_bits() == f64::NAN.to_bits()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let shape = shape(MissingValues::Impute, true);
        assert_eq!(message_of(shape.check(vec![1.0, 2.0, 50.5], &[])), "feature bmi is 50.5, expected 0 to 50");
        assert_eq!(message_of(shape.check(vec![1.0, f64::INFINITY, 1.0], &[])), "feature sex is not finite");
        assert!(shape.check(vec![1.0, 2.0, f64::NAN], &[]).is_ok(), "a missing value is in every range");
    }
}
