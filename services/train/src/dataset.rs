//! A CSV file of numbers, read with every mistake named by line and column.

use std::collections::HashSet;
use std::io::Read;

/// Most columns accepted.
const MAX_COLUMNS: usize = 4096;
/// Most cells kept: 1 GiB.
const MAX_CELLS: usize = 1 << 27;

/// Feature columns as numbers, the target column as text.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    /// Names of the feature columns, in the file's order.
    pub(crate) features: Vec<String>,
    /// Row-major, `features.len()` wide; NaN where a cell is empty.
    pub(crate) cells: Vec<f64>,
    pub(crate) target: DatasetColumn,
}

/// The target column as the file has it.
#[derive(Debug, Clone)]
pub(crate) struct DatasetColumn {
    pub(crate) name: String,
    /// One value per row, never empty.
    pub(crate) values: Vec<String>,
    /// The line of each value in the file.
    pub(crate) lines: Vec<u64>,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatasetError {
    #[error("{0}")]
    File(String),
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
    #[error("line {line}, column {column:?}: {reason}")]
    Cell { line: u64, column: String, reason: String },
}

impl Dataset {
    /// Reads a table; `target` names the column to predict, else `target`, else the last one is taken.
    ///
    /// # Errors
    /// [`DatasetError`] for a file without header, rows or columns, a row of another length, a cell that is no number.
    pub(crate) fn read(input: impl Read, target: Option<&str>) -> Result<Self, DatasetError> {
        // lines end at \n, a \r before it is trimmed away: with CRLF as the terminator line numbers would be one too
        // low
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader.trim(csv::Trim::All).terminator(csv::Terminator::Any(b'\n')).flexible(true);
        let mut reader = reader.from_reader(input);
        let header: Vec<String> = reader.headers().map_err(|e| broken(&e))?.iter().map(str::to_owned).collect();
        let at = check_header(&header, target)?;
        let (mut cells, mut values, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(|e| broken(&e))?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.len() == 1 && record[0].is_empty() {
                continue;
            }
            if record.len() != header.len() {
                let reason = format!("has {} values, the header names {} columns", record.len(), header.len());
                return Err(DatasetError::Line { line, reason });
            }
            for (i, (text, name)) in record.iter().zip(&header).enumerate() {
                if i == at {
                    if text.is_empty() {
                        let reason = "is empty; every row needs a target".to_owned();
                        return Err(DatasetError::Cell { line, column: name.clone(), reason });
                    }
                    values.push(text.to_owned());
                    lines.push(line);
                } else {
                    cells.push(cell(text, line, name)?);
                }
            }
            if cells.len() > MAX_CELLS {
                return Err(DatasetError::Line { line, reason: format!("more than {MAX_CELLS} cells") });
            }
        }
        let mut features = header;
        let target = DatasetColumn { name: features.remove(at), values, lines };
        let table = Self { features, cells, target };
        table.check_columns()?;
        Ok(table)
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.target.values.len()
    }

    /// Row `i`, raw.
    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.cells[i * self.features.len()..(i + 1) * self.features.len()]
    }

    /// True when any cell is empty.
    pub(crate) fn has_missing(&self) -> bool {
        self.cells.iter().any(|v| v.is_nan())
    }

    /// Feature columns that hold one value in every row: harmless, but no help either.
    pub(crate) fn constant_columns(&self) -> Vec<&str> {
        let constant = |c: usize| {
            let mut values = (0..self.rows()).map(|r| self.row(r)[c]).filter(|v| !v.is_nan());
            let first = values.next();
            values.all(|v| Some(v) == first)
        };
        self.features.iter().enumerate().filter(|(c, _)| constant(*c)).map(|(_, name)| name.as_str()).collect()
    }

    fn check_columns(&self) -> Result<(), DatasetError> {
        if self.rows() == 0 {
            return Err(DatasetError::File("has a header but no rows".to_owned()));
        }
        for (c, name) in self.features.iter().enumerate() {
            if (0..self.rows()).all(|r| self.row(r)[c].is_nan()) {
                return Err(DatasetError::File(format!("column {name:?} is empty in every row")));
            }
        }
        Ok(())
    }
}

/// Index of the target column.
fn check_header(header: &[String], target: Option<&str>) -> Result<usize, DatasetError> {
    let file = |reason: String| Err(DatasetError::File(reason));
    if header.len() < 2 {
        return file(format!("has {} column, at least one feature and the target are needed", header.len()));
    }
    if header.len() > MAX_COLUMNS {
        return file(format!("has {} columns, at most {MAX_COLUMNS}", header.len()));
    }
    if header.iter().all(|name| name.parse::<f64>().is_ok()) {
        return file("line 1 holds numbers, expected the names of the columns".to_owned());
    }
    let mut seen = HashSet::new();
    for (i, name) in header.iter().enumerate() {
        if name.is_empty() {
            return file(format!("line 1: column {} has no name", i + 1));
        }
        if !seen.insert(name) {
            return file(format!("line 1: two columns are named {name:?}"));
        }
    }
    match target {
        Some(target) => match header.iter().position(|name| name == target) {
            Some(at) => Ok(at),
            None => file(format!("has no column {target:?}; its columns are {}", header.join(", "))),
        },
        None => Ok(header.iter().position(|name| name == "target").unwrap_or(header.len() - 1)),
    }
}

fn cell(text: &str, line: u64, name: &str) -> Result<f64, DatasetError> {
    if text.is_empty() {
        return Ok(f64::NAN);
    }
    let fault =
        |reason: &str| DatasetError::Cell { line, column: name.to_owned(), reason: format!("{text:?} {reason}") };
    match text.parse::<f64>() {
        Ok(v) if v.is_infinite() => Err(fault("is not finite")),
        Ok(v) => Ok(v),
        Err(_) => Err(fault("is not a number; columns of names must be encoded as numbers first")),
    }
}

fn broken(error: &csv::Error) -> DatasetError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => DatasetError::Line { line, reason: "is not UTF-8 text".to_owned() },
        _ => DatasetError::File(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Dataset, String> {
        Dataset::read(text.as_bytes(), None).map_err(|e| e.to_string())
    }

    #[test]
    fn a_plain_file() {
        let t = read("\u{feff}a, b,target\r\n1,2.5,x\r\n,\"3\",\"y\"\r\n\r\n").unwrap();
        assert_eq!(
            (t.features.as_slice(), t.rows(), t.has_missing()),
            (["a", "b"].map(str::to_owned).as_slice(), 2, true)
        );
        assert_eq!(
            (t.row(0), t.target.values.join(""), t.target.lines.clone()),
            ([1.0, 2.5].as_slice(), "xy".into(), vec![2, 3])
        );
        assert!(t.row(1)[0].is_nan());
        let t = Dataset::read("y,a\n1,7\n2,7\n".as_bytes(), Some("y")).unwrap();
        assert_eq!((t.features.as_slice(), t.constant_columns()), (["a".to_owned()].as_slice(), vec!["a"]));
    }

    #[test]
    fn every_mistake_has_a_place() {
        for (text, what) in [
            ("", "0 column"),
            ("a\n1\n", "1 column"),
            ("a,b\n", "no rows"),
            ("1,2\n3,4\n", "names of the columns"),
            ("a,a\n1,2\n", "two columns are named \"a\""),
            ("a,,b\n1,2,3\n", "column 2 has no name"),
            ("a,b\n1,2\n3\n", "line 3: has 1 values, the header names 2"),
            ("a,b\n1,2\nred,4\n", "line 3, column \"a\": \"red\" is not a number"),
            ("a,b\n1e999,2\n", "not finite"),
            ("a,b\n1,2\n3,\n", "line 3, column \"b\": is empty"),
            ("a,b\n,2\n,3\n", "column \"a\" is empty in every row"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{text:?}: {error}");
        }
        assert!(Dataset::read(b"a,b\n\xff,2\n".as_slice(), None).unwrap_err().to_string().contains("UTF-8"));
        let error = Dataset::read("a,b\n1,2\n".as_bytes(), Some("c")).unwrap_err().to_string();
        assert!(error.contains("no column \"c\"; its columns are a, b"), "{error}");
    }
}
