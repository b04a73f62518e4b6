//! Which columns of a table are a model's features.

use std::collections::{HashMap, HashSet};

use forebay_contract::{ErrorCode, Problem, Value};
use forebay_model::{Column, ColumnKind};
use forebay_preprocessing::{convert_cell, near_name};

/// Most names that one message lists.
const MAX_NAMES: usize = 12;

/// Where a record has the features.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns {
    /// The index of each feature's field, in the model's order; `None` for one that the header lacks.
    places: Vec<Option<usize>>,
    /// Kinds of the features; empty when all are floats.
    kinds: Vec<ColumnKind>,
    /// Names of the features.
    names: Vec<String>,
    /// Number of fields in a record.
    count: usize,
    /// Columns that are not features of the model.
    pub(crate) extra: Vec<String>,
}

impl Columns {
    /// Finds `features` in a header, by name and in any order. Where the model has no names of its own (`f0`, `f1`,
    /// ...), columns are matched by position, and their number must be the model's.
    ///
    /// Columns that are optional may be missing.
    ///
    /// # Errors
    /// No header, a missing column, or one that occurs twice.
    pub(crate) fn find(header: &[String], model: &[Column]) -> Result<Self, String> {
        let features: &[String] = &model.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let numbers = model.iter().all(|column| column.kind == ColumnKind::Float);
        let kinds: Vec<ColumnKind> = model.iter().filter(|_| !numbers).map(|column| column.kind).collect();
        let number = |name: &String| name.parse::<f64>().is_ok();
        if header.is_empty() {
            return Err("there is no header line: the input is empty".to_owned());
        }
        let by_name: HashSet<&str> = features.iter().map(String::as_str).collect();
        let known = |name: &&String| by_name.contains(name.as_str());
        if header.iter().any(number) && !header.iter().any(|name| known(&name)) {
            return Err(format!(
                "the first line holds numbers, not names: a header line is needed, such as {}",
                name_list(features, ",")
            ));
        }
        let mut at: HashMap<&str, usize> = HashMap::new();
        let mut twice = None;
        for (index, name) in header.iter().enumerate() {
            if at.insert(name, index).is_some() && known(&name) {
                twice.get_or_insert(name);
            }
        }
        if let Some(name) = twice {
            return Err(format!("column {name:?} occurs twice in the header"));
        }
        let lacking = || model.iter().filter(|column| !at.contains_key(column.name.as_str()));
        let missing: Vec<String> =
            lacking().filter(|column| !column.optional).map(|column| column.name.clone()).collect();
        let nameless = features.iter().enumerate().all(|(index, name)| *name == format!("f{index}"));
        if nameless && lacking().count() == features.len() {
            if header.len() != features.len() {
                let (got, expected) = (header.len(), features.len());
                return Err(format!("{got} columns, and the model, which names none, takes {expected}"));
            }
            return Ok(Self {
                places: (0..header.len()).map(Some).collect(),
                kinds,
                names: header.to_vec(),
                count: header.len(),
                extra: Vec::new(),
            });
        }
        if !missing.is_empty() {
            return Err(lacks(header, &missing));
        }
        let places = features.iter().map(|name| at.get(name.as_str()).copied()).collect();
        let extra: Vec<String> = header.iter().filter(|name| !known(name)).cloned().collect();
        let near = near_name(extra.iter().map(String::as_str), lacking().map(|column| column.name.as_str()));
        if let Some((name, column)) = near {
            return Err(format!("the header lacks {column}, and has {name:?}, which is named like it"));
        }
        Ok(Self { places, kinds, names: features.to_vec(), count: header.len(), extra })
    }

    /// The index of each feature's column in the header, in the model's order; `None` for one that the header lacks.
    pub(crate) fn places(&self) -> &[Option<usize>] {
        &self.places
    }

    /// Appends a record's features to `row`; an empty cell is a missing value, NaN.
    ///
    /// # Errors
    /// `invalid_features` for a record of another width than the header, and for a cell that is no finite number.
    pub(crate) fn read<'c>(
        &self,
        fields: usize,
        field: impl Fn(usize) -> &'c [u8],
        row: &mut Vec<f64>,
    ) -> Result<(), Problem> {
        self.check_count(fields)?;
        for (place, name) in self.places.iter().zip(&self.names) {
            let cell = place.map_or(&b""[..], &field);
            row.push(number(cell).map_err(|why| {
                let cell = String::from_utf8_lossy(cell);
                let shown: String = cell.trim().chars().take(40).collect();
                invalid(format!("feature {name}: {shown:?} {why}"))
            })?);
        }
        Ok(())
    }

    /// Whether features are of other kinds than floats.
    pub(crate) fn has_kinds(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// A record's features, each of its own kind; an empty cell is a missing value.
    ///
    /// # Errors
    /// As [`Columns::read`], for a cell that is no value of its column's kind.
    pub(crate) fn read_values<'c>(
        &self,
        fields: usize,
        field: impl Fn(usize) -> &'c [u8],
    ) -> Result<Vec<Value>, Problem> {
        self.check_count(fields)?;
        let read = |((place, name), kind): ((&Option<usize>, &String), &ColumnKind)| {
            let cell = std::str::from_utf8(place.map_or(&b""[..], &field));
            let cell = cell.map_err(|_| invalid(format!("feature {name}: is not UTF-8")))?;
            convert_cell(*kind, cell).map_err(|why| invalid(format!("feature {name}: {why}")))
        };
        self.places.iter().zip(&self.names).zip(&self.kinds).map(read).collect()
    }

    fn check_count(&self, fields: usize) -> Result<(), Problem> {
        if fields == self.count {
            return Ok(());
        }
        Err(invalid(format!("{fields} fields, the header has {}", self.count)))
    }
}

/// Parses one cell.
fn number(cell: &[u8]) -> Result<f64, &'static str> {
    let cell = cell.trim_ascii();
    if cell.is_empty() {
        return Ok(f64::NAN);
    }
    let value = std::str::from_utf8(cell).ok().and_then(|text| text.parse::<f64>().ok()).ok_or("is not a number")?;
    if value.is_finite() {
        return Ok(value);
    }
    Err("is not a finite number; an empty cell stands for a missing value")
}

fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

/// Joins the first names and adds how many more there are.
pub(crate) fn name_list(names: &[String], between: &str) -> String {
    let mut text = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(between);
    if names.len() > MAX_NAMES {
        text.push_str(&format!(" and {} more", names.len() - MAX_NAMES));
    }
    text
}

/// What is said of a header that lacks columns.
fn lacks(header: &[String], missing: &[String]) -> String {
    let is_text = |c: char| c != char::REPLACEMENT_CHARACTER && (!c.is_control() || c.is_whitespace());
    if !header.iter().all(|name| name.chars().all(is_text)) {
        return "the first line is no line of names: it has characters that are no text".to_owned();
    }
    let has = name_list(header, ", ");
    let hint = if header.len() == 1 && header[0].contains([';', '\t', '|']) {
        "; --delimiter sets another one than the comma"
    } else {
        ""
    };
    format!("the header lacks {}; it has {has}{hint}", name_list(missing, ", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn column(name: &str, kind: ColumnKind, optional: bool) -> Column {
        Column { name: name.to_owned(), kind, optional }
    }

    /// Columns of numbers.
    fn numbers(names: &[&str]) -> Vec<Column> {
        names.iter().map(|name| column(name, ColumnKind::Float, false)).collect()
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let columns = Columns::find(&names(&["b", "note", "a"]), &numbers(&["a", "b"])).unwrap();
        assert_eq!(
            (columns.places.as_slice(), columns.extra.as_slice()),
            ([Some(2), Some(0)].as_slice(), names(&["note"]).as_slice())
        );
        let mut row = Vec::new();
        let cells: [&[u8]; 3] = [b" 2.5", b"anything", b""];
        columns.read(3, |i| cells[i], &mut row).unwrap();
        assert!(row[0].is_nan() && row[1] == 2.5);
        let error_of = |cell: &'static [u8]| columns.read(3, |_| cell, &mut Vec::new()).unwrap_err().message;
        assert_eq!(error_of(b"abc"), "feature a: \"abc\" is not a number");
        assert!(
            error_of(b"NaN").contains("empty cell")
                && error_of(b"-inf").contains("finite")
                && error_of(b"1e999").contains("finite")
        );
        assert_eq!(columns.read(2, |i| cells[i], &mut row).unwrap_err().message, "2 fields, the header has 3");
    }

    #[test]
    fn a_header_that_does_not_fit_is_explained() {
        let error_of =
            |header: &[&str], features: &[&str]| Columns::find(&names(header), &numbers(features)).unwrap_err();
        assert_eq!(error_of(&["a", "c"], &["a", "b"]), "the header lacks b; it has a, c");
        assert_eq!(error_of(&["a", "b", "a"], &["a", "b"]), "column \"a\" occurs twice in the header");
        assert!(error_of(&["1.5", "2"], &["a", "b"]).contains("a header line is needed, such as a,b"));
        assert!(error_of(&[], &["a"]).contains("empty"));
        assert!(error_of(&["a;b"], &["a", "b"]).contains("--delimiter"));
    }

    #[test]
    fn a_model_without_names_takes_columns_as_they_stand() {
        let own = numbers(&["f0", "f1"]);
        assert_eq!(Columns::find(&names(&["x", "y"]), &own).unwrap().places, [Some(0), Some(1)]);
        assert_eq!(Columns::find(&names(&["f1", "f0", "z"]), &own).unwrap().places, [Some(1), Some(0)]);
        assert!(Columns::find(&names(&["x"]), &own).unwrap_err().contains("takes 2"));
        assert!(Columns::find(&names(&["1", "2"]), &own).unwrap_err().contains("header line is needed"));
    }

    #[test]
    fn cells_get_the_kinds_of_their_columns() {
        let model = [
            column("id", ColumnKind::Integer, false),
            column("city", ColumnKind::Text, false),
            column("note", ColumnKind::Text, true),
        ];
        let columns = Columns::find(&names(&["city", "id"]), &model).unwrap();
        let read = |cells: [&'static [u8]; 2]| columns.read_values(2, move |i| cells[i]);
        let row = read(["Łódź".as_bytes(), b"9007199254740993"]).unwrap();
        assert_eq!(row, [Value::integer(9_007_199_254_740_993), Value::text("Łódź"), Value::MISSING]);
        assert!(read([b"x", b"1.5"]).unwrap_err().message.starts_with("feature id: expected an integer"));
        assert_eq!(read([b"\xff", b"1"]).unwrap_err().message, "feature city: is not UTF-8");
        let near = Columns::find(&names(&["city", "id", "Note"]), &model).unwrap_err();
        assert_eq!(near, "the header lacks note, and has \"Note\", which is named like it");
        assert!(Columns::find(&names(&["city", "id", "other"]), &model).is_ok());
    }
}
