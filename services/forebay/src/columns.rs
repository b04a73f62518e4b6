//! Which columns of a table are a model's features.

use std::collections::HashMap;

use forebay_contract::{ErrorCode, Problem};

/// Most names that one message lists.
const MAX_NAMES: usize = 12;

/// Where a record has the features.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns {
    /// The index of each feature's field, in the model's order.
    places: Vec<usize>,
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
    /// # Errors
    /// No header, a missing column, or one that occurs twice.
    pub(crate) fn find(header: &[String], features: &[String]) -> Result<Self, String> {
        let number = |name: &String| name.parse::<f64>().is_ok();
        if header.is_empty() {
            return Err("there is no header line: the input is empty".to_owned());
        }
        let known = |name: &&String| features.contains(name);
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
        let missing: Vec<String> = features.iter().filter(|name| !at.contains_key(name.as_str())).cloned().collect();
        let nameless = features.iter().enumerate().all(|(index, name)| *name == format!("f{index}"));
        if nameless && missing.len() == features.len() {
            if header.len() != features.len() {
                let (got, expected) = (header.len(), features.len());
                return Err(format!("{got} columns, and the model, which names none, takes {expected}"));
            }
            return Ok(Self {
                places: (0..header.len()).collect(),
                names: header.to_vec(),
                count: header.len(),
                extra: Vec::new(),
            });
        }
        if !missing.is_empty() {
            let has = name_list(header, ", ");
            let hint = if header.len() == 1 && header[0].contains([';', '\t', '|']) {
                "; --delimiter sets another one than the comma"
            } else {
                ""
            };
            return Err(format!("the header lacks {}; it has {has}{hint}", name_list(&missing, ", ")));
        }
        let places = features.iter().map(|name| at[name.as_str()]).collect();
        let extra = header.iter().filter(|name| !known(name)).cloned().collect();
        Ok(Self { places, names: features.to_vec(), count: header.len(), extra })
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
        if fields != self.count {
            return Err(invalid(format!("{fields} fields, the header has {}", self.count)));
        }
        for (place, name) in self.places.iter().zip(&self.names) {
            row.push(number(field(*place)).map_err(|why| {
                let cell = String::from_utf8_lossy(field(*place));
                let shown: String = cell.trim().chars().take(40).collect();
                invalid(format!("feature {name}: {shown:?} {why}"))
            })?);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let columns = Columns::find(&names(&["b", "note", "a"]), &names(&["a", "b"])).unwrap();
        assert_eq!(
            (columns.places.as_slice(), columns.extra.as_slice()),
            ([2, 0].as_slice(), names(&["note"]).as_slice())
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
            |header: &[&str], features: &[&str]| Columns::find(&names(header), &names(features)).unwrap_err();
        assert_eq!(error_of(&["a", "c"], &["a", "b"]), "the header lacks b; it has a, c");
        assert_eq!(error_of(&["a", "b", "a"], &["a", "b"]), "column \"a\" occurs twice in the header");
        assert!(error_of(&["1.5", "2"], &["a", "b"]).contains("a header line is needed, such as a,b"));
        assert!(error_of(&[], &["a"]).contains("empty"));
        assert!(error_of(&["a;b"], &["a", "b"]).contains("--delimiter"));
    }

    #[test]
    fn a_model_without_names_takes_columns_as_they_stand() {
        let own = names(&["f0", "f1"]);
        assert_eq!(Columns::find(&names(&["x", "y"]), &own).unwrap().places, [0, 1]);
        assert_eq!(Columns::find(&names(&["f1", "f0", "z"]), &own).unwrap().places, [1, 0]);
        assert!(Columns::find(&names(&["x"]), &own).unwrap_err().contains("takes 2"));
        assert!(Columns::find(&names(&["1", "2"]), &own).unwrap_err().contains("header line is needed"));
    }
}
