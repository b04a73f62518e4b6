//! The shape of a version's rows, and the check of a row against it.

use forebay_contract::{Problem, Value, list_names};
use forebay_registry::ColumnKind;
use forebay_runtime::prometheus_client::metrics::counter::Counter;

use super::near_names::near_name;
use super::{NAMES_LISTED, RowRules, convert, invalid, quoted};
use crate::settings::MissingValues;

/// The shape of a version's rows.
#[derive(Debug, Clone)]
pub struct RowShape {
    names: Vec<String>,
    /// Empty when all columns are floats.
    kinds: Vec<ColumnKind>,
    /// Which columns may have a missing value even if the version as a whole does not accept them; empty when none.
    optional: Vec<bool>,
    accepts_missing: bool,
    imputes: bool,
    rejects_extra: bool,
    /// `(feature, lowest, highest)`
    ranges: Vec<(usize, f64, f64)>,
    extra_rows: Counter,
}

/// A row in the version's order, each value of its column's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckedRow {
    /// Doubles hold all values; a missing one is NaN, always with the same bits.
    Numbers(Vec<f64>),
    /// There is text, or an integer that no double holds.
    Values(Vec<Value>),
}

impl RowShape {
    /// For rows of `model` with the numbers `names`, in this order; `accepts_missing` says whether the version fills in
    /// missing values.
    pub fn new(model: &str, names: Vec<String>, accepts_missing: bool, rules: &RowRules) -> Self {
        let own = rules.ranges.get(model);
        let range = |(index, name): (usize, &String)| own?.get(name).map(|&(low, high)| (index, low, high));
        Self {
            ranges: names.iter().enumerate().filter_map(range).collect(),
            kinds: Vec::new(),
            optional: Vec::new(),
            accepts_missing,
            imputes: rules.missing == MissingValues::Impute,
            rejects_extra: rules.rejects_extra(),
            extra_rows: rules.extra_rows(model),
            names,
        }
    }

    /// With the kinds of the columns, and which of them may have a missing value even if the version as a whole does not
    /// accept them. Both are as long as the names, or empty.
    pub fn with_columns(mut self, kinds: Vec<ColumnKind>, optional: Vec<bool>) -> Self {
        let whole = |len: usize| len == self.names.len();
        let numbers = kinds.iter().all(|kind| *kind == ColumnKind::Float);
        self.kinds = if whole(kinds.len()) && !numbers { kinds } else { Vec::new() };
        self.optional = if whole(optional.len()) { optional } else { Vec::new() };
        self
    }

    /// Checks a row of numbers, or one of `mixed` values if there are any, and puts it into the version's order.
    ///
    /// # Errors
    /// `invalid_features`, naming the feature.
    pub fn check_row(&self, numbers: Vec<f64>, mixed: Vec<Value>, names: &[String]) -> Result<CheckedRow, Problem> {
        if self.kinds.is_empty() && mixed.is_empty() {
            return self.check(numbers, names).map(CheckedRow::Numbers);
        }
        let values = if mixed.is_empty() { numbers.into_iter().map(number).collect() } else { mixed };
        let mut row = self.in_order(values, names, Value::MISSING)?;
        for (index, value) in row.iter_mut().enumerate() {
            let kind = self.kinds.get(index).copied().unwrap_or(ColumnKind::Float);
            let converted = convert(kind, std::mem::replace(value, Value::MISSING));
            *value = converted.map_err(|why| invalid(format!("feature {}: {why}", self.names[index])))?;
        }
        let exact: Option<Vec<f64>> = row.iter().map(Value::exact_double).collect();
        let Some(numbers) = exact else {
            self.check_values(&row)?;
            return Ok(CheckedRow::Values(row));
        };
        self.check_numbers(numbers).map(CheckedRow::Numbers)
    }

    /// Checks a row of numbers and puts it into the version's order, whatever the kinds of its columns. A missing value
    /// becomes NaN, always with the same bits.
    ///
    /// # Errors
    /// `invalid_features`, naming the feature.
    pub fn check(&self, values: Vec<f64>, names: &[String]) -> Result<Vec<f64>, Problem> {
        self.check_numbers(self.in_order(values, names, f64::NAN)?)
    }

    fn check_numbers(&self, mut row: Vec<f64>) -> Result<Vec<f64>, Problem> {
        if !row.iter().all(|value| value.is_finite()) {
            if let Some(index) = row.iter().position(|value| value.is_infinite()) {
                return Err(invalid(format!("feature {} is not finite", self.names[index])));
            }
            self.check_missing(row.iter().map(|value| value.is_nan()))?;
            // equal questions must have equal bits, and NaN has many
            row.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = f64::NAN);
        }
        self.check_ranges(|index| Some(row[index]))?;
        Ok(row)
    }

    fn check_values(&self, row: &[Value]) -> Result<(), Problem> {
        let number = |value: &Value| value.exact_double().filter(|number| !number.is_nan());
        if let Some(index) = row.iter().position(|value| number(value).is_some_and(f64::is_infinite)) {
            return Err(invalid(format!("feature {} is not finite", self.names[index])));
        }
        self.check_missing(row.iter().map(Value::is_missing))?;
        self.check_ranges(|index| number(&row[index]))
    }

    fn check_ranges(&self, number: impl Fn(usize) -> Option<f64>) -> Result<(), Problem> {
        for &(index, low, high) in &self.ranges {
            if let Some(value) = number(index)
                && (value < low || value > high)
            {
                return Err(invalid(format!("feature {} is {value}, expected {low} to {high}", self.names[index])));
            }
        }
        Ok(())
    }

    /// Refuses missing values unless the version fills them in.
    fn check_missing(&self, missing: impl Iterator<Item = bool>) -> Result<(), Problem> {
        let may_be =
            |index: usize| self.imputes && (self.accepts_missing || self.optional.get(index).copied().unwrap_or(false));
        let refused = missing.enumerate().filter(|(index, missing)| *missing && !may_be(*index));
        let names: Vec<&String> = refused.map(|(index, _)| &self.names[index]).collect();
        if names.is_empty() { Ok(()) } else { Err(Problem::missing_features(names, NAMES_LISTED)) }
    }

    /// Puts values into the version's order; columns that the client left out become `missing`.
    fn in_order<T: Clone>(&self, values: Vec<T>, names: &[String], missing: T) -> Result<Vec<T>, Problem> {
        if names.is_empty() || names == self.names {
            self.unnamed(values)
        } else {
            self.ordered(values, names, missing)
        }
    }

    fn unnamed<T>(&self, values: Vec<T>) -> Result<Vec<T>, Problem> {
        if values.len() == self.names.len() {
            return Ok(values);
        }
        let (expected, got) = (self.names.len(), values.len());
        Err(invalid(format!(
            "expected {expected} features ({}), got {got}",
            list_names(self.names.iter(), NAMES_LISTED)
        )))
    }

    fn ordered<T: Clone>(&self, values: Vec<T>, names: &[String], missing: T) -> Result<Vec<T>, Problem> {
        if values.len() != names.len() {
            return Err(invalid(format!("{} names for {} values", names.len(), values.len())));
        }
        let mut row: Vec<Option<T>> = vec![None; self.names.len()];
        let mut unknown = Vec::new();
        for (at, (name, value)) in names.iter().zip(values).enumerate() {
            // a client that sends all names nearly always sends them in order
            let index =
                if self.names.get(at) == Some(name) { Some(at) } else { self.names.iter().position(|own| own == name) };
            let Some(index) = index else {
                unknown.push(name.as_str());
                continue;
            };
            if row[index].replace(value).is_some() {
                return Err(invalid(format!("feature {} is given twice", quoted(name))));
            }
        }
        if !unknown.is_empty() {
            let lacking =
                self.names.iter().zip(&row).filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str());
            self.check_extra(&unknown, unknown.len() == names.len(), lacking)?;
        }
        Ok(row.into_iter().map(|value| value.unwrap_or_else(|| missing.clone())).collect())
    }

    /// Columns that the model does not have are ignored, unless settings say otherwise, the row has no others (`only`),
    /// or one is probably a misspelt name of a column that the row lacks.
    fn check_extra<'n>(
        &self,
        unknown: &[&'n str],
        only: bool,
        lacking: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<(), Problem> {
        if let Some((name, column)) = near_name(unknown.iter().copied(), lacking) {
            let name = quoted(name);
            return Err(invalid(format!(
                "feature {column} is missing, and the unknown feature {name} is named like it"
            )));
        }
        if (self.rejects_extra || only)
            && let [name, ..] = unknown
        {
            let expected = list_names(self.names.iter(), NAMES_LISTED);
            return Err(invalid(format!("unknown feature {}, expected {expected}", quoted(name))));
        }
        self.extra_rows.inc();
        Ok(())
    }
}

/// A number of a row of numbers, which does not tell `1` from `1.0`.
fn number(value: f64) -> Value {
    // beyond 53 bits, ingestion sends integers as such
    let integer = value as i64;
    if value.abs() <= (1u64 << 53) as f64 && (integer as f64).to_bits() == value.to_bits() {
        Value::integer(integer)
    } else {
        Value::float(value)
    }
}
