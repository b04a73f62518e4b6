//! The feature rows that requests are made of, cut so that one number per request has to be formatted.

use std::fmt::Write as _;

use crate::error::LoadtestError;

const SCALED: &str = include_str!("../data/diabetes_scaled.csv");

/// A table of feature rows. Shape: n rows x `width` finite numbers; at least one of each.
#[derive(Debug)]
pub struct WorkloadRows {
    width: usize,
    rows: Vec<WorkloadRow>,
}

/// One row, with its JSON array cut around the feature that is varied from request to request.
#[derive(Debug)]
pub(crate) struct WorkloadRow {
    pub(crate) values: Vec<f64>,
    /// `[0.1,0.2,` : everything in front of the varied number.
    pub(crate) head: String,
    /// `,0.4]` : everything behind it.
    pub(crate) tail: String,
}

impl WorkloadRows {
    /// The 442 x 10 scaled diabetes rows of scikit-learn, the values that legacy clients send.
    pub fn scaled() -> Result<Self, LoadtestError> {
        Self::parse(SCALED, "embedded diabetes_scaled.csv")
    }

    /// `scaled`, or the path of a CSV file with a header line.
    pub fn open(name: &str) -> Result<Self, LoadtestError> {
        if name == "scaled" {
            return Self::scaled();
        }
        let path = std::path::Path::new(name);
        let text = std::fs::read_to_string(path).map_err(LoadtestError::file(path))?;
        Self::parse(&text, name)
    }

    /// Reads CSV text: a header line with the names, then numbers. `origin` names the text in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, LoadtestError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let width = lines.next().map_or(0, |(_, header)| header.split(',').count());
        let mut rows = Vec::new();
        for (index, line) in lines {
            let place = |what: String| LoadtestError::Input(format!("{origin}, line {}: {what}", index + 1));
            let values = line.split(',').map(|cell| number(cell).map_err(&place)).collect::<Result<Vec<_>, _>>()?;
            if values.len() != width {
                return Err(place(format!("{} values under {width} names", values.len())));
            }
            rows.push(WorkloadRow::cut(values));
        }
        if rows.is_empty() {
            return Err(LoadtestError::Input(format!("{origin}: no rows under the header line")));
        }
        Ok(Self { width, rows })
    }

    /// Features per row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true: a table without rows is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Which feature is varied to make rows distinct: the third (bmi), as the legacy generator does.
    pub(crate) fn varied(&self) -> usize {
        varied(self.width)
    }

    pub(crate) fn row(&self, index: usize) -> &WorkloadRow {
        &self.rows[index]
    }
}

fn varied(width: usize) -> usize {
    2.min(width.saturating_sub(1))
}

fn number(cell: &str) -> Result<f64, String> {
    match cell.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{cell:?} is not a finite number")),
    }
}

impl WorkloadRow {
    fn cut(values: Vec<f64>) -> Self {
        let at = varied(values.len());
        let (mut head, mut tail) = (String::from("["), String::new());
        for value in &values[..at] {
            let _infallible = write!(head, "{value},");
        }
        for value in &values[at + 1..] {
            let _infallible = write!(tail, ",{value}");
        }
        tail.push(']');
        Self { values, head, tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_rows_have_the_shape_of_the_data_set() {
        let rows = WorkloadRows::scaled().unwrap();
        assert_eq!((rows.len(), rows.width()), (442, 10));
        assert_eq!(rows.row(0).values[0].to_bits(), 0.038_075_906_433_423_026_f64.to_bits());
        for index in 0..rows.len() {
            let row = rows.row(index);
            let text = format!("{}{}{}", row.head, row.values[2], row.tail);
            let back: Vec<f64> = serde_json::from_str(&text).unwrap();
            assert_eq!(back, row.values, "row {index} does not survive its own JSON");
        }
    }

    #[test]
    fn a_wrong_cell_is_named_with_its_line() {
        let message = WorkloadRows::parse("a,b\n1,2\n3,x\n", "t.csv").unwrap_err().to_string();
        assert!(message.contains("t.csv, line 3") && message.contains("\"x\""), "{message}");
        assert!(WorkloadRows::parse("a,b\n1\n", "t.csv").unwrap_err().to_string().contains("1 values under 2 names"));
        assert!(WorkloadRows::parse("a,b\n1,inf\n", "t.csv").is_err());
        assert!(WorkloadRows::parse("a,b\n", "t.csv").unwrap_err().to_string().contains("no rows"));
    }
}
